"""Atomic checkpoints at points where a run can stop and resume exactly."""

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
    """Checkpoint IO that writes a temporary file, syncs it and renames it.

    Lightning's own neither syncs nor removes partial files.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        """Write `checkpoint` to `path`, completely or not at all."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        # torch hides the reason of a failure (no space left) for files that it opens itself.
        with replacing(Path(path)) as temporary, temporary.open("wb") as file:
            torch.save(checkpoint, file)


class ResumeCheckpoint(Checkpoint):
    """Callback that saves every N steps or minutes and around each validation; keeps two.

    Within an epoch, checkpoints are saved at the start of a batch that begins an optimizer step,
    where no gradients are accumulated and the average is up to date. At these points and between
    validation batches, all ranks agree on whether any of them must stop. If so, the run directory
    is marked, the SLURM job is requeued if the recipe asks for it, and the process exits with 75.
    A run that stopped during validation resumes with that validation.
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
        self.num_ranks = 0
        self.saved_step = self.saved_row = 0
        self.saved_at = time.monotonic()
        self._ranks = Agreement()

    def state_dict(self) -> dict[str, Any]:
        """Return whether the validation after the step, if one is due, is done; number of ranks."""
        return {"validated": self.validated, "ranks": self.num_ranks}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state from a checkpoint."""
        self.validated = state_dict["validated"]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the save interval; run the pending validation of a resumed run first."""
        self._ranks.connect(trainer)
        self.num_ranks = trainer.world_size
        self._set_saved(trainer)
        if not self.validated:
            # Lightning skips the validation of a finished epoch unless it was interrupted midway.
            validation = trainer.fit_loop.epoch_loop.val_loop
            validation.restarting = False
            validation._restart_stage = RestartStage.RESTARTED_MID_EVALUATION
        self.stopping.training = self.directory.keeps

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        """Save if the interval has passed; save and exit if any rank must stop."""
        if batch_idx % trainer.accumulate_grad_batches:
            return
        due = time.monotonic() - self.saved_at >= 60 * self.settings.every_minutes
        steps = trainer.global_step - self.saved_step
        stop = self._ranks.any(trainer, self.stopping.reason is not None)
        if steps >= self.settings.every_steps or stop or (steps and self._ranks.any(trainer, due)):
            self._save(trainer)
        if stop:
            self._exit(trainer)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the raw weights before the average replaces them."""
        if self.validated:
            self.validated = False
            self._save(trainer)

    def on_validation_batch_start(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Exit if any rank must stop; checked only at batches that every rank has."""
        images = self.plan.num_validated(trainer.world_size) // trainer.world_size
        common = -(-images // self.plan.batch_size)
        if batch_idx < common and self._ranks.any(trainer, self.stopping.reason is not None):
            self._exit(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save after a validation within an epoch; after others the end of the epoch is saved."""
        self.validated = True
        if not self._at_end_of_epoch(trainer):
            self._save(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the end of the epoch, unless the run stops early within it."""
        if self._at_end_of_epoch(trainer):
            self._save(trainer)

    def _at_end_of_epoch(self, trainer: Trainer) -> bool:
        return trainer.global_step % self.plan.steps_per_epoch(trainer.world_size) == 0

    def _save(self, trainer: Trainer) -> None:
        if self.directory.keeps:
            trainer.save_checkpoint(self.directory.checkpoint_path(trainer.global_step))
            if trainer.is_global_zero:
                self.directory.drop_old_checkpoints()
        self._set_saved(trainer)

    def _set_saved(self, trainer: Trainer) -> None:
        self.saved_step, self.saved_at = trainer.global_step, time.monotonic()
        self.saved_row = self.saved_step if self.validated else self.saved_step - 1

    def _exit(self, trainer: Trainer) -> None:
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
