"""What a weights file keeps of its calibration, and the thresholds that it gives."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from inceptcli.errors import UserError
from inceptcli.weights.calibration import (
    Calibration,
    images_for,
    kept_ranks,
    kept_scores,
    rank_for,
)
from inceptcli.weights.file import copy_with_metadata, load_tensors, read_metadata
from inceptcli.weights.stored_tensors import stored_tensors
from tests.prediction.conftest import save_small_network

NINETEEN = tuple(number / 20 for number in range(1, 20))


def calibration(scores: tuple[float, ...], **changes: Any) -> Calibration:
    return Calibration(2.0, len(scores), kept_scores(scores), "flowers", **changes)


def test_the_threshold_of_a_written_out_case() -> None:
    found = calibration(NINETEEN)
    # 20 ranks for the new image: below the lowest of 19 scores with probability 1/20.
    assert found.threshold(0.95) == 0.05
    assert found.threshold(0.9) == 0.1
    assert found.threshold(0.92) == 0.05  # rounded to the safe side
    assert found.threshold(0.5) == 0.5
    assert found.threshold(0.951) is None
    assert calibration(NINETEEN[:18]).threshold(0.95) is None


@pytest.mark.parametrize(
    ("coverage", "images"), [(0.95, 19), (0.9, 9), (0.99, 99), (0.999, 999), (0.5, 1), (0.1, 1)]
)
def test_the_fewest_images_for_a_coverage(coverage: float, images: int) -> None:
    assert images_for(coverage) == images
    assert rank_for(coverage, images) >= 1
    assert images == 1 or rank_for(coverage, images - 1) == 0


@settings(max_examples=50, deadline=None)
@given(images=some.integers(1, 60_000), coverage=some.floats(0.0005, 0.9995))
def test_the_kept_ranks_are_few_and_never_promise_too_much(images: int, coverage: float) -> None:
    ranks = kept_ranks(images)
    assert len(ranks) <= 1998
    assert 1 <= ranks[0] <= ranks[-1] <= images
    assert images > 999 or len(ranks) == images
    used = max((rank for rank in ranks if rank <= rank_for(coverage, images)), default=0)
    # The label of a new image is below the score of that rank with probability rank / (n + 1).
    assert 1 - Fraction(used, images + 1) >= Fraction(repr(coverage))


@pytest.mark.parametrize("images", [1000, 50_000])
def test_usual_coverages_are_exact_for_any_number_of_images(images: int) -> None:
    scores = tuple(number / images for number in range(images))
    found = calibration(scores)
    for thousandths in (500, 900, 950, 975, 990, 999):
        rank = (images + 1) * (1000 - thousandths) // 1000
        assert found.threshold(thousandths / 1000) == scores[rank - 1]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_small_network(tmp_path_factory.mktemp("plain") / "model.safetensors")


def test_a_file_keeps_its_calibration_and_its_tensors_bit_for_bit(
    plain: Path, tmp_path: Path
) -> None:
    metadata = read_metadata(plain)
    assert metadata.calibration is None
    expected = calibration(NINETEEN, crops=10, options={"fast_decode": True, "image_size": "9x8"})
    copy = tmp_path / "copy.safetensors"
    copy_with_metadata(plain, copy, replace(metadata, calibration=expected))
    assert read_metadata(copy) == replace(metadata, calibration=expected)
    first, second = (load_tensors(path) for path in (plain, copy))
    assert first.keys() == second.keys()
    assert all((tensor == second[key]).all() for key, tensor in first.items())
    data = copy.read_bytes()
    start = min(tensor.offset for tensor in stored_tensors(copy, metadata.network).values())
    assert start % 8 == 0
    assert plain.read_bytes().endswith(data[start:])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"temperature": 0.01}, "calibration.temperature must be greater than or equal to 0.05"),
        ({"temperature": 1e9}, "calibration.temperature must be less than or equal to 20"),
        ({"images": 20}, "calibration must have the ascending scores of 20 images"),
        ({"scores": [0.5, *NINETEEN[1:]]}, "must have the ascending scores of 19 images"),
        ({"scores": [*NINETEEN[:18], 2.0]}, "calibration.scores.18 must be less than or equal"),
        ({"crops": 3}, "calibration.crops must be 1, 10, 12 or 144"),
        ({"options": {"image_size": [9, 8]}}, "calibration.options"),
        ({"images": 2**40}, "calibration.images must be less than"),
    ],
)
def test_a_damaged_calibration_is_one_line(
    changes: dict[str, Any], said: str, plain: Path, tmp_path: Path
) -> None:
    metadata = replace(read_metadata(plain), calibration=calibration(NINETEEN))
    header = json.loads(metadata.to_header()["inceptcli"])
    header["calibration"] |= changes

    class Damaged:
        def to_header(self) -> dict[str, str]:
            return {"inceptcli": json.dumps(header)}

    copy_with_metadata(plain, tmp_path / "a.safetensors", Damaged())  # type: ignore[arg-type]
    with pytest.raises(UserError) as raised:
        read_metadata(tmp_path / "a.safetensors")
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)
