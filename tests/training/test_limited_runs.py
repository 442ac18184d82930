"""trainer.limit_batches: shorter epochs and validations, which resume exactly or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from inceptcli.data.loading.sampler import ShareSampler
from tests.cli.conftest import TINY, check_one_line, inceptcli
from tests.training.conftest import Train
from tests.training.test_resume import assert_same_run, rows, stop_at, stop_in_validation

LIMITED: dict[str, Any] = {"trainer__limit_batches": 2}


def test_a_limited_epoch_and_its_validation_have_so_many_batches(
    train: Train, steps: list[str], notices: list[str]
) -> None:
    directory = train(**LIMITED)
    assert steps == 2 * [*["training_step"] * 2, *["validation_step"] * 2]
    assert [row["step"] for row in rows(directory)] == ["2", "4"]
    assert (
        "trainer.limit_batches 2: at most 2 batches per epoch, and validation of 8 images"
        in notices
    )
    assert "effective batch 4 = 4 images x 1 device; 2 steps per epoch, 2 epochs" in notices


def test_a_limit_beyond_the_data_changes_nothing(train: Train, whole_run: Train) -> None:
    assert_same_run(train("limited", trainer__limit_batches=1000), whole_run())


@pytest.mark.parametrize("batches", [0, 1, 2, 3])
def test_a_limited_run_resumes_exactly(
    train: Train, whole_run: Train, monkeypatch: pytest.MonkeyPatch, batches: int
) -> None:
    undisturbed = whole_run(**LIMITED)
    with monkeypatch.context() as patch:
        stop_at(batches, patch)
        with pytest.raises(SystemExit):
            train("stopped", **LIMITED)
    assert_same_run(undisturbed, train("stopped", **LIMITED))


def test_a_limited_run_resumes_in_its_validation(
    train: Train, whole_run: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = whole_run(**LIMITED)
    with monkeypatch.context() as patch:
        stop_in_validation(1, 0, patch)
        with pytest.raises(SystemExit):
            train("stopped", **LIMITED)
    assert_same_run(undisturbed, train("stopped", **LIMITED))


@pytest.mark.train
def test_another_limit_of_a_run_is_refused(tmp_path: Path) -> None:
    command = ["train", *TINY, "--output", tmp_path / "run", "--set"]
    assert inceptcli(*command, "trainer.limit_batches=1").exit_code == 0
    for limit in ("2", "null"):
        done = inceptcli(*command, f"trainer.limit_batches={limit}")
        check_one_line(done, 2, "the run there has a different trainer.limit_batches")


def test_a_limited_validation_is_spread_over_all_images() -> None:
    shares = [list(ShareSampler(100, rank, 2, measured=10).indices) for rank in (0, 1)]
    assert sorted(shares[0] + shares[1]) == list(range(0, 100, 10))
    assert list(ShareSampler(5, 0, 1, measured=5).indices) == [0, 1, 2, 3, 4]


@pytest.mark.train
def test_eval_measures_all_images_of_a_limited_run(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    done = inceptcli("train", *TINY, "--set", "trainer.limit_batches=1", "--output", folder)
    assert done.exit_code == 0, done.output
    shown = inceptcli("eval", folder, "--format", "json")
    assert json.loads(shown.stdout)["images"] == 10
