"""Batches that accumulate: a step is the mean over its images, and so is the loss reported."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from inceptcli.data.loading.datamodule import batches_done
from inceptcli.errors import UserError
from inceptcli.training.callbacks import logged_figures
from inceptcli.training.module import Classifier
from inceptcli.training.run_directory import RunDirectory
from inceptcli.weights.file import load_tensors
from tests.cli.conftest import inceptcli
from tests.tiny_network import TINY_NETWORK
from tests.training.conftest import Train, random_weights
from tests.training.test_loggers import csv_logger
from tests.training.test_resume import assert_same_run, stop_at

STILL = {"name": "sgd", "learning_rate": 1e-30, "momentum": 0.0, "weight_decay": 0.0}
"""Leaves the weights as they are, so that batches differ in nothing but how they accumulate."""

HEAD_ALONE: dict[str, Any] = {
    "network": {
        **TINY_NETWORK, "freeze": "all-but-head", "dropout": 0.0
    },
    "optimizer": {"name": "sgd", "learning_rate": 0.5, "momentum": 0.0},
    "averaging": {"decay": 0.0},
    "trainer__epochs": 1,
}  # fmt: skip
"""Images do not depend on their batch: batch norm is frozen, and nothing is dropped out."""

Gradients = list[Tensor]


@pytest.fixture
def gradients(train: Train, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Gradients]:
    """The gradient of each optimizer step of a run, as one vector."""
    steps: Gradients = []

    def keep(self: Classifier, optimizer: Any) -> None:
        parts = [p.grad.flatten() for p in self.network.parameters() if p.grad is not None]
        steps.append(torch.cat(parts).clone())

    monkeypatch.setattr(Classifier, "on_before_optimizer_step", keep)

    def of(accumulate: int, **changes: Any) -> Gradients:
        steps.clear()
        train(f"run-{accumulate}", trainer__accumulate_batches=accumulate, **changes)
        return list(steps)

    return of


@pytest.mark.parametrize("precision", ["32-true", "16-mixed"])
def test_each_step_is_the_mean_over_its_batches_the_last_one_too(
    gradients: Callable[..., Gradients], precision: str
) -> None:
    changes = {"optimizer": STILL, "trainer__epochs": 1, "trainer__precision": precision}
    alone = gradients(1, **changes)
    assert len(alone) == 5
    tolerance = 1e-5 if precision == "32-true" else 0.05
    for accumulate, windows in (
        (2, [(0, 2), (2, 4), (4, 5)]),
        (3, [(0, 3), (3, 5)]),
        (100, [(0, 5)]),
    ):
        steps = gradients(accumulate, **changes)
        assert len(steps) == len(windows)
        for step, (first, last) in zip(steps, windows, strict=True):
            expected = torch.stack(alone[first:last]).mean(0)
            assert (step - expected).norm() < tolerance * expected.norm()


@pytest.mark.parametrize("clip_norm", [None, 0.1])
def test_accumulated_batches_train_as_one_batch_of_all_their_images(
    train: Train, tmp_path: Path, clip_norm: float | None
) -> None:
    start_from = {"network__init": str(random_weights(tmp_path / "start.safetensors"))}
    changes = {**HEAD_ALONE, **start_from, "trainer__clip_norm": clip_norm}
    whole = load_tensors(train("whole", data__batch_size=20, **changes).weights)
    start = load_tensors(train("start", **{**changes, "optimizer": STILL}).weights)
    for accumulate in (5, 17):
        parts = load_tensors(
            train(str(accumulate), trainer__accumulate_batches=accumulate, **changes).weights
        )
        for key, tensor in whole.items():
            assert torch.allclose(parts[key].double(), tensor.double(), atol=1e-6), key
    moved = [key for key, tensor in whole.items() if not torch.equal(tensor, start[key])]
    assert moved == ["classifier.bias", "classifier.weight"]


def test_the_reported_loss_does_not_depend_on_how_many_batches_accumulate(
    train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logged_figures, "EVERY_STEPS", 1)
    told: dict[int, tuple[str, str, list[float]]] = {}
    for accumulate in (1, 2, 4):
        directory = train(
            str(accumulate), optimizer=STILL, trainer__accumulate_batches=accumulate,
            trainer__epochs=1, trainer__logger="csv",
        )  # fmt: skip
        (row,) = directory.read_metrics()
        (line,) = re.findall(r"train loss ([\d.]+)", (directory.path / "train.log").read_text())
        steps = [loss for _, loss in csv_logger(directory)["step/loss"]]
        told[accumulate] = row["train_loss"], line, steps
    losses = told[1][2]
    assert {figures[:2] for figures in told.values()} == {told[1][:2]}
    assert float(told[1][0]) == pytest.approx(sum(losses) / 5, rel=1e-5)
    assert told[2][2] == pytest.approx(
        [sum(losses[:2]) / 2, sum(losses[2:4]) / 2, losses[4]], rel=1e-5
    )
    assert told[4][2] == pytest.approx([sum(losses[:4]) / 4, losses[4]], rel=1e-5)


def test_the_diagnosis_tells_of_undivided_losses(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Classifier.training_step

    def training_step(self: Classifier, batch: Any, batch_idx: int) -> Any:
        found = original(self, batch, batch_idx)
        if batches_done(self.trainer) == 4:
            return {name: value * torch.nan for name, value in found.items()}
        return found

    monkeypatch.setattr(Classifier, "training_step", training_step)
    before = []
    for accumulate in (1, 4):
        with pytest.raises(UserError, match="the loss is not finite"):
            train(str(accumulate), optimizer=STILL, trainer__accumulate_batches=accumulate)
        report = json.loads((tmp_path / str(accumulate) / "diagnosis.json").read_text())
        before.append([entry["loss"] for entry in report["before"]])
    assert before[0] == pytest.approx(before[1])


def test_a_run_stopped_between_steps_ends_with_the_same_short_last_step(
    train: Train, whole_run: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = whole_run(trainer__accumulate_batches=3)
    with monkeypatch.context() as patch:
        stop_at(1, patch)  # in the first step; the second has two batches
        with pytest.raises(SystemExit):
            train("stopped", trainer__accumulate_batches=3)
    assert_same_run(undisturbed, train("stopped", trainer__accumulate_batches=3))


@pytest.mark.parametrize(
    ("accumulate", "said"),
    [
        (2, "effective batch 8 = 4 images x 1 device x 2 accumulated; 3 steps per epoch, the "
            "last of 4 images, 1 epoch"),
        (5, "effective batch 20 = 4 images x 1 device x 5 accumulated; 1 step per epoch, 1 ep"),
        (100, "effective batch 20 = 4 images x 1 device x 5 accumulated; 1 step per epoch, 1 e"),
    ],
)  # fmt: skip
def test_the_effective_batch_is_one_that_is_trained(
    train: Train, accumulate: int, said: str, notices: list[str]
) -> None:
    train("run", trainer__accumulate_batches=accumulate, trainer__epochs=1)
    assert said in "\n".join(notices)
    left = "each epoch leaves out 2 of 22 training images, too few for another batch"
    assert left in notices


@pytest.mark.system
def test_two_processes_accumulate_to_the_same_steps(tmp_path: Path) -> None:
    """Five batches of eight images in steps of three and two, by one process and by two.

    Classes are sampled and weighted, and each of these steps is validated.
    """
    weights = random_weights(tmp_path / "start.safetensors")
    each_step = ["--set", "trainer.validate_every=1steps"]
    for name, flags in (
        ("one", ["--batch-size", "8", *each_step]),
        ("two", ["--batch-size", "4", "--devices", "2", "--strategy", "ddp", *each_step]),
        ("divided", ["--batch-size", "8", "--set", "trainer.accumulate_batches=1"]),
    ):
        words = [
            "train", "--recipe", "demo", "--epochs", "1", "--init", str(weights), "--image-size",
            "75", "--freeze", "all-but-head", "--set", "network.dropout=0", "--set",
            "averaging.decay=0", "--set", "optimizer.name=sgd", "--lr", "0.5", "--accelerator",
            "cpu", "--set", "data.train_size=44", "--set", "data.val_size=4", "--set",
            "trainer.accumulate_batches=3", "--set", "data.sampling=balanced", "--set",
            "loss.class_weights=[.5,1,1,1,1,1,1,1,1,4]", "--set", "loss.focal_gamma=1",
            "--output", str(tmp_path / name), *flags,
        ]  # fmt: skip
        if name != "two":
            assert inceptcli(*words).exit_code == 0
            continue
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        subprocess.run([sys.executable, "-m", "inceptcli", *words], env=environment, check=True)
    one, two, divided = (
        load_tensors(RunDirectory(tmp_path / name).weights)["classifier.weight"]
        for name in ("one", "two", "divided")
    )
    assert torch.allclose(one, two, atol=1e-5)
    assert not torch.allclose(one, divided, atol=1e-3)
    runs = [RunDirectory(tmp_path / name).read_metrics() for name in ("one", "two")]
    for name in ("epoch", "step", "train_loss", "val_loss"):
        alone, together = ([float(row[name]) for row in run] for run in runs)
        assert alone == pytest.approx(together, rel=1e-4)
        assert len(alone) == 2


@pytest.mark.system
def test_two_devices_train_as_two_accumulated_batches(tmp_path: Path) -> None:
    """The batches, and so their statistics and gradients, are the same ones."""
    for name, flags in (
        ("devices", ["--devices", "2", "--strategy", "ddp"]),
        ("accumulated", ["--set", "trainer.accumulate_batches=2"]),
    ):
        words = [
            "train", "--recipe", "demo", "--arch", "irv1", "--epochs", "1", "--batch-size", "4",
            "--image-size", "75", "--accelerator", "cpu", "--set", "data.train_size=24", "--set",
            "data.val_size=4", "--set", "network.width=0.25", "--set", "network.repeats=[1,1,1]",
            "--set", "network.dropout=0", "--set", "averaging.decay=0", "--set",
            "optimizer.name=sgd", "--lr", "0.1", "--set", "trainer.batch_norm_updates=2",
            "--output", str(tmp_path / name), *flags,
        ]  # fmt: skip
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        subprocess.run([sys.executable, "-m", "inceptcli", *words], env=environment, check=True)
    devices, accumulated = (
        load_tensors(RunDirectory(tmp_path / name).weights) for name in ("devices", "accumulated")
    )
    for name, tensor in devices.items():
        if name.endswith("num_batches_tracked"):
            continue  # three on each device
        is_statistic = ".running_" in name  # whose batches come in another order
        tolerance = 0.02 if is_statistic else 1e-5
        assert torch.allclose(tensor, accumulated[name], rtol=tolerance, atol=tolerance), name
