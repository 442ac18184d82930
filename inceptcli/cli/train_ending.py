"""What `inceptcli train` says at the end. No torch."""

from __future__ import annotations

from shlex import quote
from typing import TYPE_CHECKING

from inceptcli.text import duration

if TYPE_CHECKING:
    from inceptcli.training.run_directory import RunDirectory


def ending(directory: RunDirectory) -> list[str]:
    """What came out, where it is, and a command to go on with, ready to copy."""
    from inceptcli.weights.file import read_metadata

    rows = directory.read_metrics()
    lines = []
    if rows:
        best = read_metadata(directory.weights)
        figures = best.metrics
        lines.append(
            f"best of {rows[-1]['epoch']} epochs: {best.epoch}, "
            f"top-1 {figures['val_top1']:.2%}, top-5 {figures['val_top5']:.2%}, "
            f"val loss {figures['val_loss']:.3f}; {duration(float(rows[-1]['seconds']))}"
        )
    run = quote(str(directory.path))
    skipping = " --skip-unreadable" * bool(directory.skipped())
    return [*lines, f"weights: {directory.weights}", f"next: inceptcli eval {run}{skipping}"]
