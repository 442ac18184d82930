"""--fast-dev-run: one batch of training and of validation, of which nothing stays."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from inceptcli.training.module import Classifier
from tests.cli.conftest import TINY, check_one_line, inceptcli, picture

pytestmark = pytest.mark.train

TRIED = "--fast-dev-run: trained and validated one batch; nothing was saved"


def files(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_trial_does_one_batch_of_each_and_saves_nothing(
    steps: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    output = tmp_path / "run"
    done = inceptcli("train", *TINY, "--epochs", "9", "--output", output, "--fast-dev-run")
    assert done.exit_code == 0, done.output
    assert done.stdout == ""
    assert TRIED in done.stderr
    assert "epoch 1/1: train loss" in done.stderr
    assert "weights:" not in done.stderr
    assert steps == ["training_step", "validation_step"]
    assert inceptcli("train", *TINY, "--fast-dev-run", "--quiet").stderr == ""
    assert list(tmp_path.iterdir()) == []


def test_a_trial_leaves_a_run_as_it_is(tmp_path: Path) -> None:
    output = tmp_path / "run"
    assert inceptcli("train", *TINY, "--output", output).exit_code == 0
    before = files(output)
    done = inceptcli("train", *TINY, "--seed", "7", "--output", output, "--fast-dev-run")
    assert done.exit_code == 0, done.output
    assert "continuing" not in done.stderr
    assert files(output) == before


def test_a_trial_starts_from_weights_whose_network_no_flag_names(
    weights: Path, tmp_path: Path
) -> None:
    for name in ("circle", "ring"):
        for number in range(4):
            picture(tmp_path / "data" / "train" / name / f"{number}.png", number)
            picture(tmp_path / "data" / "val" / name / f"{number}.png", number)
    words = ("--init", weights, "--data", tmp_path / "data", "--batch-size", "4")
    done = inceptcli("train", *words, "--accelerator", "cpu", "--fast-dev-run")
    assert done.exit_code == 0, done.output
    assert TRIED in done.stderr


def test_what_would_end_a_run_ends_its_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    original = Classifier.training_step

    def training_step(self: Classifier, batch: Any, batch_idx: int) -> Any:
        found = original(self, batch, batch_idx)
        return {name: value * float("nan") for name, value in found.items()}

    monkeypatch.setattr(Classifier, "training_step", training_step)
    done = inceptcli("train", *TINY, "--fast-dev-run")
    check_one_line(done, 1, "loss nan, learning rate 4e-05; try a lower --lr")
    assert list(tmp_path.iterdir()) == []


def test_a_trial_has_no_place_for_a_profile(tmp_path: Path) -> None:
    done = inceptcli(
        "train", *TINY, "--fast-dev-run", "--set", "trainer.profiler=simple",
        "--output", tmp_path / "run",
    )  # fmt: skip
    check_one_line(done, 2, "cannot be combined with trainer.profiler simple")


@pytest.mark.system
def test_a_trial_of_two_processes_saves_nothing_either(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "inceptcli", "train", *TINY, "--devices", "2", "--strategy", "ddp",
         "--fast-dev-run"],
        capture_output=True, text=True, check=False, cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr.count(TRIED) == 1
    assert "4 images x 2 devices; 1 step per epoch" in done.stderr
    assert list(tmp_path.iterdir()) == []
