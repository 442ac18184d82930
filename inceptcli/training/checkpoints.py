"""Checkpoints to resume from, atomic and only where nothing is half done; there a run may stop."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from inceptcli.atomic_file import replacing
from inceptcli.recipe.schema import Recipe
from inceptcli.training.run_directory import RunDirectory
from inceptcli.training.stopping import EXIT_STOPPED, Stopping, requeue_job


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
    """Saves every N steps or minutes and at the end of each epoch; the last two are kept.

    Within an epoch it saves at the start of a batch that begins a new optimizer step: gradients are
    empty there and the last step, its averaging and its validation are behind. At the same place
    all ranks agree on whether any of them was asked to stop; then the run is saved, the run
    directory marked, the SLURM job requeued if the recipe asks for it, and the process leaves
    with 75.
    """

    def __init__(
        self,
        directory: RunDirectory,
        recipe: Recipe,
        stopping: Stopping,
        say: Callable[[str], None],
    ) -> None:
        self.directory, self.settings, self.say = directory, recipe.checkpoint, say
        self.stopping = stopping
        self.saved_step = 0
        self.saved_at = time.monotonic()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count from here."""
        self.saved_step, self.saved_at = trainer.global_step, time.monotonic()
        self.stopping.listen()

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Save, or save and stop, when it is time."""
        if batch_idx % trainer.accumulate_grad_batches:
            return
        due = time.monotonic() - self.saved_at >= 60 * self.settings.every_minutes
        steps = trainer.global_step - self.saved_step
        stop = self._agreed(trainer, self.stopping.reason is not None)
        if steps >= self.settings.every_steps or stop or (steps and self._agreed(trainer, due)):
            self._save(trainer)
        if stop:
            self._leave(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save after the epoch's validation."""
        self._save(trainer)

    def _agreed(self, trainer: Trainer, wish: bool) -> bool:
        if trainer.world_size == 1:
            return wish
        return bool(trainer.strategy.reduce_boolean_decision(wish, all=False))

    def _save(self, trainer: Trainer) -> None:
        trainer.save_checkpoint(self.directory.checkpoint_path(trainer.global_step))
        self.saved_step, self.saved_at = trainer.global_step, time.monotonic()
        if trainer.is_global_zero:
            self.directory.drop_old_checkpoints()

    def _leave(self, trainer: Trainer) -> None:
        requeue = self.settings.requeue and self._agreed(trainer, self.stopping.may_requeue)
        if trainer.is_global_zero:
            reason = self.stopping.reason or "another process"
            line = f"stopped by {reason} after step {trainer.global_step}"
            self.directory.log(line)
            self.directory.mark_stopped(line)
            self.say(f"{line}; the same command continues")
            if requeue:
                requeue_job(self._report)
        trainer.strategy.barrier()  # a launcher that sees one rank leave may kill the others
        raise SystemExit(EXIT_STOPPED)

    def _report(self, line: str) -> None:
        self.directory.log(line)
        self.say(line)


def newest_readable(directory: RunDirectory, report: Callable[[str], None]) -> Path | None:
    """The newest checkpoint that loads; damaged ones are reported and passed over."""
    for path in reversed(directory.checkpoints()):
        try:
            torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except Exception as error:  # a damaged file can fail anywhere in the reader
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            report(f"{path} is damaged ({reason}); trying the one before it")
        else:
            return path
    return None
