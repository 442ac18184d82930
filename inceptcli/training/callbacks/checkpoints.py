"""Checkpoints to resume from, atomic and only where nothing is half done; there a run may stop."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.loops.evaluation_loop import RestartStage

from inceptcli.data.loading.dataset import Batch
from inceptcli.files.atomic_file import replacing
from inceptcli.processes.signals import EXIT_STOPPED
from inceptcli.training.plan import Plan
from inceptcli.training.ranks import Agreement
from inceptcli.training.run_directory import RunDirectory
from inceptcli.training.stopping import Stopping

logger = logging.getLogger(__name__)


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes beside the target, syncs and renames; Lightning's own neither syncs nor cleans up."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        """The file is there whole or not at all."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        # Of a file opened here a failure has its reason: no space left, too large.
        with replacing(Path(path)) as temporary, temporary.open("wb") as file:
            torch.save(checkpoint, file)


class ResumeCheckpoint(Checkpoint):
    """Saves every N steps or minutes, before and after each validation; the last two are kept.

    Within an epoch it saves at the start of a batch that begins a new optimizer step: gradients are
    empty there and the last step and its averaging are behind. There, and between the batches of a
    validation, all ranks agree on whether any of them was asked to stop; then the run directory is
    marked, the SLURM job requeued if the recipe asks for it, and the process leaves with 75. A run
    that left in its validation begins with that validation.
    """

    def __init__(
        self,
        plan: Plan,
        directory: RunDirectory,
        stopping: Stopping,
    ) -> None:
        self.plan, self.settings = plan, plan.recipe.checkpoint
        self.directory, self.stopping = directory, stopping
        self.validated = True
        self.saved_step = 0
        self.saved_at = time.monotonic()
        self._ranks = Agreement()

    def state_dict(self) -> dict[str, Any]:
        """Whether the weights of a finished epoch have been validated."""
        return {"validated": self.validated}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.validated = state_dict["validated"]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count from here; begin with a validation that is due."""
        self._ranks.connect(trainer)
        self.saved_step, self.saved_at = trainer.global_step, time.monotonic()
        if not self.validated:
            # Lightning takes the validation of a finished epoch for done, except for one that was
            # left midway; this one starts over.
            validation = trainer.fit_loop.epoch_loop.val_loop
            validation.restarting = False
            validation._restart_stage = RestartStage.RESTARTED_MID_EVALUATION
        self.stopping.training = self.directory.keeps

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        """Save, or save and stop, when it is time."""
        if batch_idx % trainer.accumulate_grad_batches:
            return
        due = time.monotonic() - self.saved_at >= 60 * self.settings.every_minutes
        steps = trainer.global_step - self.saved_step
        stop = self._ranks.any(trainer, self.stopping.reason is not None)
        if steps >= self.settings.every_steps or stop or (steps and self._ranks.any(trainer, due)):
            self._save(trainer)
        if stop:
            self._leave(trainer)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the weights as trained, before the average takes their place."""
        if self.validated:
            self.validated = False
            self._write(trainer)

    def on_validation_batch_start(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Stop when asked to; only at batches that every rank has."""
        images = self.plan.num_validated(trainer.world_size) // trainer.world_size
        common = -(-images // self.plan.batch_size)
        if batch_idx < common and self._ranks.any(trainer, self.stopping.reason is not None):
            self._leave(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save after the epoch's validation."""
        self.validated = True
        self._save(trainer)

    def _save(self, trainer: Trainer) -> None:
        self._write(trainer)
        self.saved_step, self.saved_at = trainer.global_step, time.monotonic()

    def _write(self, trainer: Trainer) -> None:
        if not self.directory.keeps:
            return
        trainer.save_checkpoint(self.directory.checkpoint_path(trainer.global_step))
        if trainer.is_global_zero:
            self.directory.drop_old_checkpoints()

    def _leave(self, trainer: Trainer) -> None:
        requeue = self._ranks.any(trainer, self.stopping.may_requeue)
        if trainer.is_global_zero:
            reason = self.stopping.reason or "another process"
            before = "" if self.validated else ", before its validation"
            line = f"stopped by {reason} after step {trainer.global_step}{before}"
            self.directory.mark_stopped(line)
            logger.info(f"{line}; the same command continues")
            if requeue:
                self.stopping.requeue_job()
        trainer.strategy.barrier()  # a launcher that sees one rank leave may kill the others
        raise SystemExit(EXIT_STOPPED)
