"""One measure of one run against its epochs, steps and hours: what `compare` lays side by side."""

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
    """A measure to compare, smaller is better; `unit` is % where accuracy is turned into error."""

    column: str
    title: str
    unit: str = ""

    @property
    def label(self) -> str:
        """The title with its unit."""
        return f"{self.title}, {self.unit}" if self.unit else self.title

    def value(self, recorded: float) -> float:
        """What is drawn for a field of metrics.csv."""
        return 100 * (1 - recorded) if self.unit else recorded


METRICS = {
    "top1": Metric("val_top1", "Top-1 validation error", "%"),
    "top5": Metric("val_top5", "Top-5 validation error", "%"),
    "loss": Metric("val_loss", "Validation loss"),
    "train-loss": Metric("train_loss", "Training loss"),
}


@dataclass(frozen=True)
class Curve:
    """Values of `metric` (a key of METRICS), in percent or as they are, by rising epoch.

    The paper's curves (`published`) know neither steps nor hours and begin late.
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
        """Where it comes from: `run` or `paper`."""
        return "paper" if self.published else "run"

    @property
    def best_epoch(self) -> float:
        """Where the value is smallest, for the first time."""
        return self.epochs[self.values.index(min(self.values))]

    def along(self, by: By) -> list[float]:
        """Where the values stand: epochs, steps or hours."""
        found = {"epoch": self.epochs, "step": self.steps, "hours": self.hours}[by]
        assert found is not None
        return found


def curve_of(name: str, history: History, metric: str) -> Curve | None:
    """A run's curve; epochs without a finite value are left out, None when no epoch has one."""
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
    """Each run's folder name, with as many folders above it as tell the runs apart."""
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
