"""A loss that is no number ends the run, says why, and leaves good checkpoints behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from inceptcli.data.loading.datamodule import batches_done
from inceptcli.errors import UserError
from inceptcli.training.module import Classifier
from tests.tiny_network import TINY_FLAGS
from tests.training.conftest import Train
from tests.training.test_resume import assert_same_run, checkpoint

Change = Callable[[Classifier, dict[str, Any]], None]


def change_from(batches: int, change: Change, monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """Change the network or the output after a batch; gives the images of all batches since."""
    original = Classifier.training_step
    seen: list[list[int]] = []

    def training_step(self: Classifier, batch: Any, batch_idx: int) -> Any:
        outputs = original(self, batch, batch_idx)
        if batches_done(self.trainer) >= batches:
            change(self, outputs)
            seen.append(batch.numbers.tolist())
        return outputs

    monkeypatch.setattr(Classifier, "training_step", training_step)
    return seen


def multiply_loss(factor: float) -> Change:
    def change(module: Classifier, outputs: dict[str, Any]) -> None:
        for name in ("loss", "batch_loss"):
            outputs[name] = outputs[name] * factor

    return change


@pytest.mark.parametrize(("factor", "said"), [(float("nan"), "nan"), (float("inf"), "inf")])
def test_a_loss_that_is_no_number_ends_the_run_with_a_diagnosis(
    train: Train, monkeypatch: pytest.MonkeyPatch, factor: float, said: str
) -> None:
    directory = train("run", trainer__epochs=1)
    with monkeypatch.context() as patch:
        seen = change_from(7, multiply_loss(factor), patch)
        with pytest.raises(UserError) as caught:
            train("run", trainer__epochs=2)
    message = str(caught.value)
    assert f"the loss is not finite at step 8, epoch 2: loss {said}" in message
    assert f"see {directory.path}/diagnosis.json" in message
    assert "\n" not in message
    report = json.loads((directory.path / "diagnosis.json").read_text(), parse_constant=pytest.fail)
    assert (report["step"], report["epoch"], report["loss"]) == (8, 2, said)
    assert report["files"] == [f"shapes/train/{number}" for number in seen[0]]
    assert report["precision"] == "32-true"
    assert report["learning_rate"] > 0
    assert [entry["step"] for entry in report["before"]] == [6, 7]
    for entry in report["before"]:
        norms = entry["gradient_norms"]
        assert set(norms) == {
            "stem", "inception_a", "reduction_a", "inception_b", "reduction_b", "inception_c",
            "classifier",
        }  # fmt: skip
        total = sum(norm**2 for norm in norms.values()) ** 0.5
        assert entry["gradient_norm"] == pytest.approx(total)
        assert 0 < total < float("inf")
    assert len(report["largest_gradient_norms"]) == 5
    assert "not finite" in (directory.path / "train.log").read_text()


def test_the_device_is_not_waited_for_at_each_batch(
    train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = change_from(0, multiply_loss(float("nan")), monkeypatch)
    with pytest.raises(UserError, match="at step 1,"):
        train()
    assert len(seen) == 5  # a whole epoch, for it has fewer than CHECK_EVERY batches


def test_no_checkpoint_holds_what_came_after(
    train: Train, whole_run: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = whole_run()
    with monkeypatch.context() as patch:
        change_from(2, multiply_loss(float("nan")), patch)
        with pytest.raises(UserError, match="at step 3"):
            train("bad", checkpoint__every_steps=1)
    directory = train("bad", trainer__epochs=2)
    assert "start from step 2" in (directory.path / "train.log").read_text()
    assert_same_run(undisturbed, directory)


def test_weights_that_are_no_numbers_are_not_saved(
    train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    def change(module: Classifier, outputs: dict[str, Any]) -> None:
        with torch.no_grad():
            module.network.classifier.bias[0] = float("inf")

    change_from(2, change, monkeypatch)
    with pytest.raises(UserError, match="the weights are not finite at step 3"):
        train("run", checkpoint__every_steps=1)
    monkeypatch.undo()
    directory = train("run", trainer__epochs=2)
    for tensor in checkpoint(directory)["current_model_state"].values():
        assert tensor.isfinite().all()


def test_a_batch_that_is_only_accumulated_has_no_norms(
    train: Train, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    change_from(2, multiply_loss(float("nan")), monkeypatch)
    with pytest.raises(UserError, match="at step 2"):
        train("run", trainer__accumulate_batches=2)
    report = json.loads((tmp_path / "run" / "diagnosis.json").read_text())
    assert report["gradient_norm"] is None
    assert [entry["gradient_norm"] is None for entry in report["before"]] == [True, False]


@pytest.mark.system
def test_all_ranks_end_together(tmp_path: Path) -> None:
    arguments = [
        *TINY_FLAGS, "--set", "data.image_size=75",
        "--set", "data.train_size=80", "--set", "data.val_size=10",
        "--set", "trainer.clip_norm=null", "--workers", "0", "--batch-size", "2", "--lr", "1e30",
        "--accelerator", "cpu", "--devices", "2", "--strategy", "ddp", "--output", "run",
    ]  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "inceptcli", "train", *arguments],
        capture_output=True, text=True, check=False, cwd=tmp_path, timeout=500,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    errors = [line for line in done.stderr.splitlines() if "Error" in line]
    assert len(errors) == 1, done.stderr
    assert "the loss is not finite at step 2, epoch 1" in errors[0]
    report = json.loads((tmp_path / "run" / "diagnosis.json").read_text())
    assert len(report["files"]) == 2
