"""A training step never waits for its device: steps are queued while the device computes."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

import pytest
import torch
from lightning.pytorch.loops.training_epoch_loop import _TrainingEpochLoop
from torch.utils._python_dispatch import TorchDispatchMode

from inceptcli.training.callbacks import loss_guard
from inceptcli.training.module import Classifier
from tests.tiny_network import TINY_NETWORK
from tests.training.conftest import Train

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

COLORS = {"data__mean": [0.485, 0.456, 0.406], "data__std": [0.229, 0.224, 0.225]}
GRAY = {
    "network": {**TINY_NETWORK, "in_channels": 1},
    "data__mean": 0.4, "data__std": 0.3,
}  # fmt: skip


def around_each_step(
    monkeypatch: pytest.MonkeyPatch, run: Callable[[Callable[[], None]], None]
) -> None:
    """Have `run` do each step of training: fetch, copy, compute, update and all hooks."""
    original = _TrainingEpochLoop.advance

    def advance(self: _TrainingEpochLoop, data_fetcher: Any) -> None:
        run(lambda: original(self, data_fetcher))

    monkeypatch.setattr(_TrainingEpochLoop, "advance", advance)


class Looks(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes from where a value of a tensor is asked for, which waits for the tensor's device."""

    def __init__(self, places: list[str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.places = places

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default:
            self.places.append("".join(traceback.format_stack()[:-1]))
        return func(*args, **(kwargs or {}))


def looks(train: Train, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> list[str]:
    """The stacks of all looks at values of tensors in the five steps of an epoch."""
    places: list[str] = []

    def run(step: Callable[[], None]) -> None:
        with Looks(places):
            step()

    around_each_step(monkeypatch, run)
    train(data__workers=1, trainer__epochs=1, **changes)
    return places


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"optimizer": {"name": "sgd"}, "trainer__accumulate_batches": 2, **COLORS},
        {"optimizer": {"name": "rmsprop_tf"}, "trainer__precision": "bf16-mixed"},
        {"trainer__logger": "csv", **GRAY},
    ],
    ids=["adamw", "sgd", "rmsprop", "gray"],
)
def test_no_step_looks_at_a_value(
    train: Train, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    places = looks(train, monkeypatch, **changes)
    assert places == []


def test_losses_are_looked_at_from_time_to_time(
    train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loss_guard, "CHECK_EVERY", 2)
    checked: list[int] = []
    original = loss_guard.LossGuard._check

    def check(self: Any, trainer: Any, weights: Any) -> None:
        checked.append(trainer.global_step)
        original(self, trainer, weights)

    monkeypatch.setattr(loss_guard.LossGuard, "_check", check)
    train(trainer__epochs=1)
    assert checked[:3] == [2, 4, 5]


def test_a_look_would_be_noticed(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    original = Classifier.training_step

    def training_step(self: Classifier, batch: Any, batch_idx: int) -> Any:
        found = original(self, batch, batch_idx)
        assert float(found["batch_loss"]) > 0
        return found

    monkeypatch.setattr(Classifier, "training_step", training_step)
    places = looks(train, monkeypatch)
    assert len(places) == 5
    assert "test_synchronization" in places[0]


@needs_cuda
@pytest.mark.parametrize(
    "changes",
    [
        {"trainer__precision": "bf16-mixed", **COLORS},
        {"trainer__precision": "16-mixed"},
        {"trainer__precision": "32-true", "optimizer": {"name": "sgd"}, **GRAY},
        {"trainer__precision": "bf16-mixed", "optimizer": {"name": "rmsprop_tf"}},
        {"trainer__precision": "bf16-mixed", "augmentation": {"mixup": 0.2, "cutmix": 1.0}},
    ],
    ids=["adamw", "scaled", "sgd", "rmsprop", "mixed"],
)
def test_no_step_waits_for_a_gpu(
    train: Train, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    steps: list[None] = []

    def run(step: Callable[[], None]) -> None:
        steps.append(None)
        if len(steps) <= 3:  # choose algorithms, make the optimizer's state
            step()
            return
        torch.cuda.set_sync_debug_mode("error")
        try:
            step()
        finally:
            torch.cuda.set_sync_debug_mode("default")

    around_each_step(monkeypatch, run)
    train(
        trainer__epochs=1, trainer__accelerator="gpu", data__workers=2, data__train_size=48,
        **changes,
    )  # fmt: skip
    assert len(steps) == 12
