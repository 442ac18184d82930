"""Pass metrics to the recipe's logger: each epoch's row, and the loss every 50 steps."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from operator import itemgetter
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from inceptcli.data.loading.dataset import Batch
from inceptcli.errors import UserError
from inceptcli.recipe.schema import Recipe
from inceptcli.training.callbacks.checkpoints import ResumeCheckpoint
from inceptcli.training.callbacks.loggers import build_logger
from inceptcli.training.optimizers import current_rate
from inceptcli.training.run_directory import RunDirectory

logger = logging.getLogger(__name__)

EVERY_STEPS = 50

Figures = list[tuple[int, dict[str, float | Tensor]]]
"""Figures by step."""


class LoggedFigures(Callback):
    """Callback that logs metrics once a checkpoint has their step, so a resumed run repeats none.

    Only rank 0 logs; `step/loss` is the mean over its own images of the step. Losses stay on their
    device until then, to avoid synchronization. A logger that fails is removed and the run
    continues. Recorder passes in each epoch's row.
    """

    def __init__(
        self,
        recipe: Recipe,
        directory: RunDirectory,
        checkpoint: ResumeCheckpoint,
    ) -> None:
        self.recipe, self.directory, self.checkpoint = recipe, directory, checkpoint
        self._steps: Figures = []
        self._rows: Figures = []
        self._losses: list[Tensor] = []  # of the step's batches so far
        self._learning_rate = 0.0
        self._last_step = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the recipe's logger; raise UserError when it fails."""
        self._last_step = trainer.global_step
        name = self.recipe.trainer.logger
        if name == "none" or not self.directory.writes:
            return
        try:
            trainer.logger = build_logger(name, self.directory)
            if trainer.global_step == 0:
                trainer.logger.log_hyperparams(self.recipe.as_dict())
        except Exception as error:  # each client has its own exceptions
            raise UserError(f"trainer.logger {name}: cannot start: {_reason(error)}") from error

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        """Store the learning rate of the coming step."""
        self._learning_rate = current_rate(trainer.optimizers[0])

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        """Queue loss and learning rate every EVERY_STEPS steps; log what is saved."""
        self._losses.append(outputs["batch_loss"])
        step = trainer.global_step
        if step > self._last_step:
            if step % EVERY_STEPS == 0:
                figures: dict[str, float | Tensor] = {
                    "step/loss": torch.stack(self._losses).mean(),
                    "step/learning_rate": self._learning_rate,
                }
                self._steps.append((step, figures))
            self._losses = []
        self._last_step = step
        self._log_saved(trainer)

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the steps that the checkpoint before the validation has."""
        self._log_saved(trainer)

    def keep_epoch(self, row: Mapping[str, float | str]) -> None:
        """Queue an epoch's row of metrics.csv."""
        figures = {name: float(row[name]) for name in row if name != "step" and row[name] != ""}
        self._rows.append((int(row["step"]), {**figures}))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the metrics up to the last checkpoint."""
        self._log_saved(trainer)

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Log the metrics up to the last checkpoint."""
        self._log_saved(trainer)

    def _log_saved(self, trainer: Trainer) -> None:
        ready, self._steps = _up_to(self.checkpoint.saved_step, self._steps)
        rows, self._rows = _up_to(self.checkpoint.saved_row, self._rows)
        ready += rows
        if not ready or trainer.logger is None:
            return
        try:
            for step, figures in sorted(ready, key=itemgetter(0)):
                values = {name: float(value) for name, value in figures.items()}
                trainer.logger.log_metrics(values, step)
            trainer.logger.save()
        except Exception as error:  # an unreachable service must not end the run
            name = self.recipe.trainer.logger
            logger.info(
                f"trainer.logger {name} failed: {_reason(error)}; metrics.csv is still written"
            )
            trainer.logger = None


def _up_to(step: int, queue: Figures) -> tuple[Figures, Figures]:
    """Divide a queue into the figures up to a step and those after it."""
    return (
        [entry for entry in queue if entry[0] <= step],
        [entry for entry in queue if entry[0] > step],
    )


def _reason(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
