"""What the bar of an epoch says."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from inceptcli.progress.task import Task
from inceptcli.training.callbacks import progress
from inceptcli.training.callbacks.progress import TrainingProgress


class Shown(Task):
    """Keeps what a bar would show."""

    def __init__(self) -> None:
        super().__init__(0, 12)
        self.top1: list[str] = []

    @property
    def due(self) -> bool:
        """Always."""
        return True

    def reach(self, done: float, total: float | None, figures: tuple[str, ...] = ()) -> None:
        """Keep the accuracy."""
        self.top1 += [figure for figure in figures if figure.startswith("top-1")]


def test_top1_of_the_bar_is_the_mean_of_the_epoch_so_far(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "batches_done", lambda trainer: 0)
    task = Shown()

    @contextmanager
    def shown(*_: object, **__: object) -> Iterator[Task]:
        yield task

    recipe = SimpleNamespace(trainer=SimpleNamespace(epochs=2))
    plan: Any = SimpleNamespace(
        batch_size=4, batches_per_epoch=lambda ranks: 3, recipe=recipe, is_multi_label=False
    )
    display: Any = SimpleNamespace(task=shown)
    trainer: Any = SimpleNamespace(world_size=1, current_epoch=0, global_step=0)
    callback = TrainingProgress(plan, display)
    module: Any = None
    for epoch in range(2):
        callback.on_train_epoch_start(trainer, module)
        for batch_idx, (right, images) in enumerate(((4, 4), (0, 0), (0, 4), (1, 2))):
            top1 = torch.tensor(right / images if images else float("nan"))
            outputs = {
                "batch_loss": torch.tensor(1.0),
                "accuracy": top1 if epoch == 0 else 1 - top1,
            }
            batch: Any = SimpleNamespace(labels=torch.zeros(images))
            callback.on_train_batch_end(trainer, module, outputs, batch, batch_idx)
    first = ["top-1 100%", "top-1 100%", "top-1 50%", "top-1 50%"]
    assert task.top1 == [*first, "top-1 0%", "top-1 0%", "top-1 50%", "top-1 50%"]
