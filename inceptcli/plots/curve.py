"""Curves of one metric of one run against epochs, steps and hours, for `compare`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from inceptcli.plots.history import History

By = Literal["epoch", "step", "hours"]


@dataclass(frozen=True)
class Metric:
    """A metric to compare, lower is better; with unit %, accuracy is converted to error."""

    column: str
    title: str
    unit: str = ""

    @property
    def label(self) -> str:
        """The title with its unit."""
        return f"{self.title}, {self.unit}" if self.unit else self.title

    def value(self, recorded: float) -> float:
        """Convert a value of metrics.csv to the value drawn."""
        return 100 * (1 - recorded) if self.unit else recorded


METRICS = {
    "top1": Metric("val_top1", "Top-1 validation error", "%"),
    "top5": Metric("val_top5", "Top-5 validation error", "%"),
    "loss": Metric("val_loss", "Validation loss"),
    "train-loss": Metric("train_loss", "Training loss"),
}


@dataclass(frozen=True)
class Curve:
    """Values of `metric` (a key of METRICS) by rising epoch, in percent or unscaled.

    The paper's curves (`published`) have neither steps nor hours, and start after epoch 20.
    """

    name: str
    metric: str
    epochs: list[float]
    values: list[float]
    steps: list[float] | None = None
    hours: list[float] | None = None
    published: bool = False

    @property
    def source(self) -> str:
        """`run` or `paper`."""
        return "paper" if self.published else "run"

    @property
    def best_epoch(self) -> float:
        """First epoch with the lowest value."""
        return self.epochs[self.values.index(min(self.values))]

    def along(self, by: By) -> list[float]:
        """Return the epochs, steps or hours of the values."""
        found = {"epoch": self.epochs, "step": self.steps, "hours": self.hours}[by]
        assert found is not None
        return found


def curve_of(name: str, history: History, metric: str) -> Curve | None:
    """Return a run's curve; skip epochs without a finite value, None if there are no others."""
    recorded = history.columns.get(METRICS[metric].column, [])
    points = [
        (epoch, METRICS[metric].value(field), step, hours)
        for epoch, field, step, hours in zip(
            history.epochs, recorded, history.steps, history.hours, strict=False
        )
        if field is not None and math.isfinite(field)
    ]
    if not points:
        return None
    epochs, values, steps, hours = (list(column) for column in zip(*points, strict=True))
    return Curve(name, metric, epochs, values, steps, hours)


def names_of(folders: Sequence[Path]) -> list[str]:
    """Return each run's folder name, with as many parent folders as distinguish the runs."""
    parts = [folder.resolve().parts for folder in folders]
    lengths = [1] * len(folders)
    while True:
        names = ["/".join(part[-length:]) for part, length in zip(parts, lengths, strict=True)]
        alike = [index for index, name in enumerate(names) if names.count(name) > 1]
        longer = [index for index in alike if lengths[index] < len(parts[index])]
        if not longer:
            return names
        for index in longer:
            lengths[index] += 1
