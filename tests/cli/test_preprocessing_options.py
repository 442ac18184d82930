"""Options such as --image-size and --antialias replace the weights' own preprocessing."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pyarrow.parquet import read_table

import inceptcli as python
from inceptcli.data.pixels.preprocessing import Preprocessing
from inceptcli.evaluation.recorded_measures import measures_in
from inceptcli.weights.file import load_tensors, read_metadata, save
from tests.cli.conftest import check_one_line, inceptcli
from tests.prediction.conftest import IDS, draw, save_small_network

OTHER = Preprocessing((80, 96), "squash", 1.0, "bilinear", antialias=False)
FLAGS = (
    "--image-size", "80x96", "--crop-fraction", "1", "--interpolation", "bilinear",
    "--antialias", "false", "--resize", "squash",
)  # fmt: skip
RECORD = {
    "image_size": "80x96", "crop_fraction": 1.0, "interpolation": "bilinear", "resize": "squash",
    "antialias": False,
}  # fmt: skip
TEXTS = {**{key: str(value) for key, value in RECORD.items()}, "antialias": "false"}
"""The same in CSV files and on pages."""


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three pictures of 200x150 pixels in class folders."""
    root = tmp_path_factory.mktemp("photos")
    for number in range(3):
        draw(root / IDS[number] / f"{number}.png", number, (200, 150))
    return root


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another network, whose own preprocessing differs from the first one's."""
    file = save_small_network(tmp_path_factory.mktemp("b") / "b.safetensors", IDS[::-1])
    return resaved(file, file, Preprocessing((90, 90), crop_fraction=0.6))


def resaved(weights: Path, path: Path, view: Preprocessing) -> Path:
    """The same network at `path` with another preprocessing as its own."""
    own = read_metadata(weights)
    assert own.preprocessing != view
    save(path, load_tensors(weights), replace(own, preprocessing=view))
    return path


def measured(*arguments: object) -> dict[str, Any]:
    done = inceptcli("eval", *arguments, "--format", "json", "--device", "cpu")
    assert done.exit_code == 0, done.output
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def test_flags_equal_weights_with_this_preprocessing(
    photos: Path, weights: Path, second: Path, tmp_path: Path
) -> None:
    owned = [resaved(file, tmp_path / file.name, OTHER) for file in (weights, second)]
    given = measured(weights, second, "--data", photos, *FLAGS)
    expected = measured(*owned, "--data", photos)
    plain = measured(weights, second, "--data", photos)
    assert {name: given.pop(name) for name in RECORD} == RECORD
    for result in (given, expected):
        for part in (result, *result["members"]):
            del part["weights"]
    assert given == expected
    assert abs(given["loss"] - plain["loss"]) > 1e-4
    assert not plain.keys() & RECORD.keys()
    rows = [
        inceptcli("predict", photos, "--weights", file, "--format", "jsonl", *flags).stdout
        for file, flags in ((weights, FLAGS), (owned[0], ()))
    ]
    answers = [[json.loads(row) for row in text.splitlines()] for text in rows]
    assert answers[0] == [{**row, **RECORD} for row in answers[1]]


def test_one_flag_leaves_the_other_settings(photos: Path, weights: Path) -> None:
    plain = measured(weights, "--data", photos)
    results = {
        flags: measured(weights, "--data", photos, *flags)
        for flags in (
            ("--image-size", "90"),
            ("--crop-fraction", "0.5"),
            ("--interpolation", "bilinear"),
            ("--resize", "squash"),
            ("--antialias", "false"),
        )
    }
    losses = [plain["loss"], *(result["loss"] for result in results.values())]
    assert len({round(loss, 6) for loss in losses}) == 6
    assert results["--image-size", "90"]["image_size"] == "90x90"
    own = read_metadata(weights).preprocessing
    unchanged = "--crop-fraction", own.crop_fraction, "--antialias", "true"
    same = measured(weights, "--data", photos, *unchanged)
    assert {**same, "weights": ""} == {**plain, "weights": ""}  # as if they were not given


def test_every_output_of_eval_records_them(photos: Path, weights: Path, tmp_path: Path) -> None:
    files = {name: tmp_path / name for name in ("images.csv", "pairs.csv", "page.html")}
    outputs = zip(("--predictions", "--confusion", "--report"), files.values(), strict=True)
    flags = [part for pair in outputs for part in pair]
    done = inceptcli("eval", weights, "--data", photos, *FLAGS, *flags)
    words = "image_size 80x96, crop_fraction 1.0, interpolation bilinear, resize squash, "
    words += "antialias false"
    assert done.stdout.startswith(f"3 images, {words}: top-1 "), done.output
    for name in ("images.csv", "pairs.csv"):
        with files[name].open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert rows
        assert all(row[key] == value for row in rows for key, value in TEXTS.items())
    page = files["page.html"].read_text()
    assert all(f"<dt>{key}</dt><dd>{value}</dd>" in page for key, value in TEXTS.items())
    written = tmp_path / "measures.json"
    written.write_text(json.dumps(measured(weights, "--data", photos, *FLAGS)))
    assert measures_in(written, read_metadata(weights)).what == f"1 crop of each image, {words}"


def test_parts_record_them_and_only_equal_ones_are_merged(
    photos: Path, weights: Path, tmp_path: Path
) -> None:
    def part(number: int, *flags: object) -> Any:
        place = ("--shard", f"{number}/2", "--output", tmp_path / "parts")
        return inceptcli("predict", photos, "--weights", weights, *place, *flags)

    assert part(0, *FLAGS).exit_code == part(1, *FLAGS).exit_code == 0
    record = json.loads((tmp_path / "parts/part-00000-of-00002/_part.json").read_text())
    recorded = record["recorded"]
    assert (recorded["image_size"], recorded["antialias"]) == ([80, 96], False)
    whole, merged = tmp_path / "whole.parquet", tmp_path / "merged.parquet"
    assert inceptcli("merge", tmp_path / "parts", "--output", merged).exit_code == 0
    inceptcli("predict", photos, "--weights", weights, *FLAGS, "--output", whole)
    assert read_table(merged).equals(read_table(whole))
    assert read_table(whole)["crop_fraction"].to_pylist() == [1.0] * 3
    assert read_table(whole)["antialias"].to_pylist() == [False] * 3
    check_one_line(part(0), 2, "was started with --image-size 80x96, not none; give")
    size = "{}x{}".format(*read_metadata(weights).preprocessing.image_size)
    place = ("--shard", "0/1", "--output", tmp_path / "own")
    done = inceptcli("predict", photos, "--weights", weights, "--image-size", size, *place)
    assert done.exit_code == 0
    record = json.loads((tmp_path / "own/part-00000-of-00001/_part.json").read_text())
    assert record["recorded"]["image_size"] is None
    (tmp_path / "parts/part-00001-of-00002").rename(tmp_path / "away")
    part(1, *FLAGS[:-1], "short-side")
    done = inceptcli("merge", tmp_path / "parts")
    check_one_line(done, 2, "of different jobs: --resize squash, not none")
    (tmp_path / "parts/part-00001-of-00002").rename(tmp_path / "away too")
    part(1, *FLAGS, "--antialias", "true")
    done = inceptcli("merge", tmp_path / "parts")
    check_one_line(done, 2, "of different jobs: --antialias false, not none")


@pytest.mark.parametrize("command", ["eval", "predict"])
@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--image-size", "74"), "at least 75x75 pixels, got 74x74"),
        (("--image-size", "5000"), "--image-size must be 75 to 4096 pixels a side, got 5000x5000"),
        (("--image-size", "big"), "must be N or HxW pixels"),
        (("--crop-fraction", "0"), "--crop-fraction must be above 0 and at most 1, got 0.0"),
        (("--crop-fraction", "1.01"), "--crop-fraction must be above 0 and at most 1, got 1.01"),
        (("--crop-fraction", "nan"), "--crop-fraction must be above 0 and at most 1, got nan"),
        (("--crop-fraction", "1e-320"), "--crop-fraction must be 0.01 to 1, got 1e-320"),
        (("--interpolation", "nearest"), "'nearest' is not one of 'bilinear', 'bicubic'"),
        (("--antialias", "no"), "'no' is not one of 'true', 'false'"),
        (("--image-size", "80x96", "--crops", "144"), "--crops 144 is defined for a square input"),
        (("--crop-fraction", "1", "--crops", "12"), "omit --crop-fraction, or use --crops 1 or 10"),
        (("--resize", "squash", "--crops", "144"), "--crops 144 defines its own resizing"),
    ],
)
def test_values_that_no_network_takes_are_refused(
    command: str, flags: Sequence[str], said: str, photos: Path, weights: Path
) -> None:
    where = (weights, "--data", photos) if command == "eval" else (photos, "--weights", weights)
    check_one_line(inceptcli(command, *where, *flags), 2, said)


def test_the_size_of_an_onnx_file_is_fixed_and_the_rest_is_not(
    photos: Path, weights: Path, onnx_weights: Path
) -> None:
    height, width = read_metadata(weights).preprocessing.image_size
    said = f"{onnx_weights} is an ONNX file of fixed size {height}x{width}; give the weights"
    done = inceptcli("eval", weights, onnx_weights, "--data", photos, "--image-size", "99")
    check_one_line(done, 2, f"--image-size 99x99: {said}")
    flags = ("--data", photos, "--image-size", f"{height}x{width}", "--crop-fraction", 0.6)
    onnx, own = (measured(file, *flags) for file in (onnx_weights, weights))
    assert onnx["loss"] == pytest.approx(own["loss"], abs=1e-5)
    assert abs(own["loss"] - measured(weights, "--data", photos)["loss"]) > 1e-4


def test_python_takes_them_too(photos: Path, weights: Path) -> None:
    options: dict[str, Any] = {
        "interpolation": "bilinear", "resize": "squash", "antialias": False
    }  # fmt: skip
    result = python.evaluate(
        weights, photos, device="cpu", image_size=(80, 96), crop_fraction=1.0, **options
    )
    assert result.loss == measured(weights, "--data", photos, *FLAGS)["loss"]
    assert python.load(weights, image_size=90).preprocessing.image_size == (90, 90)
    for wrong in ({"image_size": 74}, {"image_size": True}, {"resize": 3}, {"antialias": 0}):
        with pytest.raises(ValueError, match=f"--{next(iter(wrong)).replace('_', '-')} must be "):
            python.load(weights, **wrong)
