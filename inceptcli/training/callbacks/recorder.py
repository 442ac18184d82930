"""Record each validation: best weights, a row of metrics.csv, curves and a log line."""

from __future__ import annotations

import logging
import math
import platform
import time
from typing import Any

import lightning
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from inceptcli.data.identity import ImageNumber
from inceptcli.data.loading.dataset import Batch, Skipped
from inceptcli.errors import UserError
from inceptcli.text import printable, validation_figures
from inceptcli.training.callbacks.dead_units import DeadUnits
from inceptcli.training.callbacks.logged_figures import LoggedFigures
from inceptcli.training.callbacks.utilization import model_flops_utilization
from inceptcli.training.module import Classifier
from inceptcli.training.optimizers import current_rate
from inceptcli.training.plan import Plan
from inceptcli.training.ranks import end_all, from_all_ranks
from inceptcli.training.resuming import lost_weights
from inceptcli.training.run_directory import RunDirectory
from inceptcli.weights.file import save
from inceptcli.weights.metadata import WeightsMetadata

logger = logging.getLogger(__name__)

LIST_EVERY = 50
"""Batches after which the ranks exchange their unreadable images."""


class Recorder(Callback):
    """Callback that records each validation: best weights, metrics.csv, logger, log and curves.

    It also stops the run when `trainer.patience` validations in a row were not better. Checkpoints
    contain the sums of the batches since the last validation.
    """

    def __init__(
        self,
        plan: Plan,
        directory: RunDirectory,
        dead_units: DeadUnits,
        logged: LoggedFigures,
    ) -> None:
        self.plan, self.directory, self.dead_units = plan, directory, dead_units
        self.logged = logged
        self.loss_sum: Tensor | None = None
        self.loss_count = 0
        self.train_seconds = 0.0
        self.seconds = 0.0
        self.best: float | None = None  # higher is better
        self.waited = 0  # validations since then
        self.results: dict[str, float] = {}
        self.skipped: set[ImageNumber] = set()  # listed in skipped.csv
        self._unlisted: dict[ImageNumber, str] = {}  # reasons by image
        self._counted_at = 0.0
        self._num_validated = 0
        self._cannot_draw = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock; forget the best result if the best weights are lost."""
        self.skipped = set(self.directory.skipped())
        self._counted_at = time.monotonic()
        if self.best is not None and (loss := lost_weights(self.directory)) is not None:
            self.best = None
            logger.info(f"{loss}; the best of the coming epochs replaces it")

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave out the time since the last validation: curves, and the epoch's checkpoint."""
        self._count_seconds()

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        """Record the batch's unreadable images; the wait for the batch is training time."""
        self.train_seconds += self._count_seconds()
        self._record_skipped(trainer, batch.skipped, "train")
        if trainer.world_size > 1 and (batch_idx + 1) % LIST_EVERY == 0:
            self._list_skipped(trainer)

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        """Add the batch's loss on its device, without synchronization."""
        loss = outputs["batch_loss"].double()
        self.loss_sum = loss if self.loss_sum is None else self.loss_sum + loss
        self.loss_count += 1
        self.train_seconds += self._count_seconds()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Synchronize with the device, so that its pending work counts as training time."""
        if self.loss_sum is not None and self.loss_sum.is_cuda:
            torch.cuda.synchronize(self.loss_sum.device)
        self.train_seconds += self._count_seconds()

    def on_validation_batch_start(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Count the batch's images and record the unreadable ones."""
        self._num_validated += len(batch[1])
        self._record_skipped(trainer, batch.skipped, "val")

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the validated weights if they are the best so far.

        Raises UserError if no validation image could be read.
        """
        assert isinstance(pl_module, Classifier)
        validated, self._num_validated = self._num_validated, 0
        if not any(from_all_ranks(trainer, validated)):
            self._list_skipped(trainer)
            raise UserError(
                "no validation image could be read, so there is nothing to choose the best weights "
                "by; skipped.csv in the run directory lists the images"
            )
        self.results = pl_module.validation_results()
        by = self.plan.best_by
        value = -self.results[by] if by == "val_loss" else self.results[by]
        value = -math.inf if math.isnan(value) else value
        self.waited += 1
        if self.best is None or value > self.best:
            self.best, self.waited = value, 0
            if trainer.is_global_zero and self.directory.keeps:
                self._save(trainer, pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the validation's row and log line; stop if the patience is exhausted."""
        self._count_seconds()
        self._list_skipped(trainer)
        step = trainer.global_step
        epoch = self.plan.epochs_after(step, trainer.world_size)
        assert self.loss_sum is not None
        loss = float(trainer.strategy.reduce(self.loss_sum / self.loss_count, reduce_op="mean"))
        images = self.loss_count * self.plan.batch_size * trainer.world_size
        speed = images / max(self.train_seconds, 1e-9)
        utilization = model_flops_utilization(self.plan, trainer, speed)
        row: dict[str, float | str] = {
            "epoch": epoch,
            "step": step,
            "seconds": round(self.seconds, 1),
            "learning_rate": f"{current_rate(trainer.optimizers[0]):.6g}",
            "train_loss": round(loss, 6),
            **{name: round(value, 6) for name, value in self.results.items()},
            "images_per_second": round(speed, 2),
            "model_flops_utilization": "" if utilization is None else f"{utilization:.4g}",
            "dead_units": round(self.dead_units.last_share, 6),
        }
        self.directory.append_metrics(row)
        self.logged.keep_epoch(row)
        self._draw_curves()
        logger.info(
            f"epoch {epoch}/{self.plan.recipe.trainer.epochs}: train loss {loss:.3f}, val loss "
            f"{row['val_loss']:.3f}, "
            f"{validation_figures(self.results, self.plan.network.num_classes)}, "
            f"{row['images_per_second']:.0f} images/s, {self.seconds:.0f} s"
        )
        self.loss_sum, self.loss_count, self.train_seconds = None, 0, 0.0
        self._stop_early(trainer)
        self._count_seconds()

    def _stop_early(self, trainer: Trainer) -> None:
        settings, step = self.plan.recipe.trainer, trainer.global_step
        if settings.patience is None or self.waited < settings.patience:
            return
        if step < self.plan.total_steps(trainer.world_size):
            trainer.should_stop = True
            assert self.best is not None
            logger.info(
                f"stopped early after step {step}: no better {self.plan.best_by} than "
                f"{abs(self.best):.4f} in {self.waited} validation{'s' * (self.waited > 1)} "
                "(trainer.patience)"
            )

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """List unreadable images that a resumed run will not see again; save the mean loss."""
        self._list_skipped(trainer)
        if self.loss_sum is not None:  # every rank resumes from the state of rank 0
            loss_sum = trainer.strategy.reduce(self.loss_sum.clone(), reduce_op="mean")
            checkpoint["callbacks"][self.state_key]["loss_sum"] = float(loss_sum)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Report the number of skipped images."""
        if self.skipped:
            images = "1 image" if len(self.skipped) == 1 else f"{len(self.skipped)} images"
            logger.info(f"{images} skipped{self.directory.see('skipped.csv', ', ')}")

    def state_dict(self) -> dict[str, Any]:
        """Return the sums since the last validation, and the best result so far."""
        return {
            "loss_sum": 0.0 if self.loss_sum is None else float(self.loss_sum),
            "loss_count": self.loss_count,
            "train_seconds": self.train_seconds,
            "seconds": self.seconds,
            "best": self.best,
            "waited": self.waited,
            "results": self.results,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the sums from a checkpoint."""
        loss_sum = state_dict.pop("loss_sum")
        vars(self).update(state_dict)
        self.loss_sum = torch.tensor(loss_sum, dtype=torch.float64) if self.loss_count else None

    def _count_seconds(self) -> float:
        now = time.monotonic()
        passed, self._counted_at = now - self._counted_at, now
        self.seconds += passed
        return passed

    def _record_skipped(self, trainer: Trainer, skipped: list[Skipped], part: str) -> None:
        for entry in skipped:
            self._unlisted[part, entry.number] = entry.reason
        if skipped and trainer.world_size == 1:
            self._list_skipped(trainer)

    def _list_skipped(self, trainer: Trainer) -> None:
        """List the unreadable images of all ranks; a collective call."""
        for unlisted in from_all_ranks(trainer, self._unlisted):
            for part, number in sorted(unlisted.keys() - self.skipped):
                name, reason = self.plan.part(part).name(number), unlisted[part, number]
                self.skipped.add((part, number))
                self.directory.append_skipped(name, (part, number), reason)
                logger.info(f"skipped {printable(name)}: {reason}")
        self._unlisted = {}
        total = len(self.plan.train) + len(self.plan.val)
        share = self.plan.recipe.data.max_skipped
        if len(self.skipped) > max(1, share * total):
            end_all(
                trainer,
                f"{len(self.skipped)} of {total} images could not be read, more than "
                f"data.max_skipped {share:g} allows{self.directory.see('skipped.csv')}",
            )

    def _draw_curves(self) -> None:
        """Draw the curves of all epochs so far; report a failure once."""
        if not self.directory.writes:
            return
        try:
            from inceptcli.plots.run_curves import draw_run_curves

            draw_run_curves(self.directory.path, self.plan.network.num_classes)
        except Exception as error:  # a failed plot must not end the run
            if not self._cannot_draw:
                reason = (str(error) or type(error).__name__).splitlines()[0]
                logger.info(f"curves.png could not be drawn: {reason}; training continues")
            self._cannot_draw = True

    def _save(self, trainer: Trainer, module: Classifier) -> None:
        plan = self.plan
        metadata = WeightsMetadata(
            network=plan.network,
            classes=plan.classes,
            preprocessing=plan.preprocessing,
            recipe=plan.recipe.as_dict(),
            epoch=trainer.current_epoch + 1,
            averaged=plan.recipe.averaging.decay > 0,
            metrics=self.results,
            environment=environment(trainer),
            outputs=plan.outputs,
            thresholds=module.val_measures.thresholds,
        )
        save(self.directory.weights, module.network.state_dict(), metadata)


def environment(trainer: Trainer) -> dict[str, str]:
    """Return the versions of Python, torch and Lightning, and the training devices."""
    device = trainer.strategy.root_device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "lightning": lightning.__version__,
        "devices": f"{trainer.world_size} x {name}",
    }
