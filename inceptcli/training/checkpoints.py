"""Checkpoints to resume from, atomic and only where nothing is half done; stopping by signal."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from inceptcli.atomic_file import replacing
from inceptcli.training.run_directory import RunDirectory

EXIT_STOPPED = 75
"""EX_TEMPFAIL: stopped early after saving; the same command continues."""

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes beside the target, syncs and renames; Lightning's own neither syncs nor cleans up."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        """The file is there whole or not at all."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with replacing(Path(path)) as temporary:
            torch.save(checkpoint, temporary)


class ResumeCheckpoint(Checkpoint):
    """Saves every N steps or minutes and at the end of each epoch; the last two are kept.

    Within an epoch it saves at the start of a batch that begins a new optimizer step: gradients are
    empty there and the last step, its averaging and its validation are behind. A signal (SIGTERM,
    SIGINT, SIGUSR1) only sets a flag, on which all ranks agree at the same place; then the run is
    saved and the process leaves with 75. A second SIGINT interrupts at once.
    """

    def __init__(self, directory: RunDirectory, every_steps: int, every_minutes: float) -> None:
        self.directory, self.every_steps, self.every_minutes = directory, every_steps, every_minutes
        self.saved_step = 0
        self.saved_at = time.monotonic()
        self.stopped_by: int | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count from here; take the signals from Lightning, whose handlers lose the step."""
        self.saved_step, self.saved_at = trainer.global_step, time.monotonic()
        for number in SIGNALS:
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.stopped_by == signal.SIGINT:
            raise KeyboardInterrupt
        self.stopped_by = number

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Save, or save and stop, when it is time."""
        if batch_idx % trainer.accumulate_grad_batches:
            return
        minutes = (time.monotonic() - self.saved_at) / 60
        due = minutes >= self.every_minutes
        steps = trainer.global_step - self.saved_step
        stop = self._agreed(trainer, self.stopped_by is not None)
        if steps >= self.every_steps or stop or (steps and self._agreed(trainer, due)):
            self._save(trainer)
        if stop:
            self.directory.log(f"stopped by a signal after step {trainer.global_step}")
            raise SystemExit(EXIT_STOPPED)

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
