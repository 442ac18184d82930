"""Lightning's Rich progress bar on stderr: loss, top-1, images per second, time left."""

from __future__ import annotations

import time
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import RichProgressBar

from inceptcli.data.dataset import Batch


class TrainingProgress(RichProgressBar):
    """One line per epoch that moves; the figures are those of the latest refresh."""

    def __init__(self) -> None:
        super().__init__(refresh_rate=4, console_kwargs={"stderr": True})
        self._figures: dict[str, str] = {}
        self._since = time.monotonic()
        self._images = 0

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        """Look at the tensors twice a second at most: each look waits for the device."""
        self._images += len(batch.labels) * trainer.world_size
        passed = time.monotonic() - self._since
        if passed >= 0.5:
            self._figures = {
                "loss": f"{float(outputs['loss']):.3f}",
                "top-1": f"{float(outputs['top1']):.0%}",
                "images/s": f"{self._images / passed:.0f}",
            }
            self._since, self._images = time.monotonic(), 0
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def get_metrics(
        self, trainer: Trainer, pl_module: LightningModule
    ) -> dict[str, int | str | float | dict[str, float]]:
        """What stands at the right of the bar."""
        return dict(self._figures)

    def _get_train_description(self, current_epoch: int) -> str:
        return f"Epoch {current_epoch + 1}/{self.trainer.max_epochs}"
