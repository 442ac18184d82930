"""Progress reporting for training and validation."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from inceptcli.data.loading.datamodule import batches_done
from inceptcli.data.loading.dataset import Batch
from inceptcli.progress.display import Display
from inceptcli.progress.task import Task
from inceptcli.text import duration
from inceptcli.training.plan import Plan


class TrainingProgress(Callback):
    """Callback that shows progress of each epoch and validation: loss, accuracy, rate, time left.

    The loss is of the last batch; top-1 (of multi-label data: F1 of a batch) is the mean over the
    epoch's images so far in this process.
    Tensors are read only when figures are due, because each read synchronizes with the device.
    """

    def __init__(self, plan: Plan, display: Display) -> None:
        self.plan, self.display = plan, display
        self._task = Task()
        self._open = ExitStack()
        self._started, self._done_before = 0.0, 0
        self._accuracies: Tensor | float = 0.0
        self._trained = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock for the time left."""
        self._started, self._done_before = time.monotonic(), batches_done(trainer)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show the epoch, starting at the batches that an earlier process did."""
        self._accuracies, self._trained = 0.0, 0
        self._show_epoch(trainer)

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        """Advance by the batch."""
        if count := len(batch.labels):
            self._accuracies = self._accuracies + count * outputs["accuracy"]
            self._trained += count
        figures = self._figures(trainer, outputs) if self._task.due else ()
        images = self.plan.batch_size * trainer.world_size
        self._task.reach((batch_idx + 1) * images, self._task.total, figures)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show the validation."""
        self._show("validation", self.plan.num_validated(trainer.world_size))

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Advance by the batch."""
        self._task.advance(len(batch.labels) * trainer.world_size)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Hide the validation; show the rest of the epoch."""
        self._open.close()
        if not trainer.should_stop and self._batches_left(trainer):
            self._show_epoch(trainer)

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Restore the terminal."""
        self._open.close()

    def _batches_left(self, trainer: Trainer) -> int:
        return -batches_done(trainer) % self.plan.batches_per_epoch(trainer.world_size)

    def _show_epoch(self, trainer: Trainer) -> None:
        batches = self.plan.batches_per_epoch(trainer.world_size)
        images = self.plan.batch_size * trainer.world_size
        label = f"epoch {trainer.current_epoch + 1}/{self.plan.recipe.trainer.epochs}"
        self._show(label, batches * images, (batches_done(trainer) % batches) * images)

    def _show(self, label: str, total: int, done: int = 0) -> None:
        self._open.close()
        self._task = self._open.enter_context(self.display.task(label, total, done=done))

    def _figures(self, trainer: Trainer, outputs: Any) -> tuple[str, ...]:
        done = batches_done(trainer)
        total = self.plan.batches_per_epoch(trainer.world_size) * self.plan.recipe.trainer.epochs
        passed = time.monotonic() - self._started
        left = passed / max(1, done - self._done_before) * (total - done)
        return (
            f"loss {float(outputs['batch_loss']):.3f}",
            f"run {duration(left)} left",
            f"{'F1' if self.plan.is_multi_label else 'top-1'} "
            f"{float(self._accuracies) / max(1, self._trained):.0%}",
            f"step {trainer.global_step:,}",
        )
