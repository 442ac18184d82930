"""Run directories as `train` leaves them, without training."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from inceptcli.training.run_directory import RunDirectory

STAGES = ("stem", "inception_a", "reduction_a", "inception_b", "reduction_b", "inception_c")


def write_run(folder: Path, top1_errors: Sequence[float], hours_per_epoch: float = 0.5) -> Path:
    """A run whose epochs, of 100 steps each, ended with these top-1 errors in percent."""
    folder.mkdir(parents=True, exist_ok=True)
    directory = RunDirectory(folder)
    for epoch, error in enumerate(top1_errors, start=1):
        directory.append_metrics(
            {
                "epoch": epoch,
                "step": 100 * epoch,
                "seconds": 3600 * hours_per_epoch * epoch,
                "learning_rate": 0.045 * 0.94**epoch,
                "train_loss": error / 20,
                "val_loss": error / 25,
                "val_top1": 1 - error / 100,
                "val_top5": 1 - error / 400,
                "images_per_second": 50,
                "dead_units": 0.01,
            }
        )
        directory.append_dead_units(epoch, 100 * epoch, dict.fromkeys(STAGES, 0.01))
    return folder


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))
