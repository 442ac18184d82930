"""Compare runs: the figure of `compare` and its CSV."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from inceptcli.files.atomic_file import replacing
from inceptcli.plots.canvas import (
    COLORS,
    DASHES,
    FEW_POINTS,
    MARKERS,
    canvas,
    shown,
    whole_numbers,
)
from inceptcli.plots.curve import METRICS, By, Curve
from inceptcli.text import defused, printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

COLUMNS = ("curve", "source", "metric", "epoch", "step", "hours", "value")

SIZES = {1: (7.5, 5.2), 2: (12, 5.2), 3: (12, 9), 4: (12, 9)}
"""Inches, by number of panels."""

GRAY = "#777777"

MARKED_POINTS = 9
"""Approximate number of marked points of a long curve."""


def write_comparison_csv(path: Path, curves: Sequence[Curve]) -> None:
    """Write every point of every curve; errors in percent. The paper's have no step and hours."""
    with replacing(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for curve in curves:
            head = (defused(printable(curve.name)), curve.source, curve.metric)
            for index, (epoch, value) in enumerate(zip(curve.epochs, curve.values, strict=True)):
                step = "" if curve.steps is None else f"{curve.steps[index]:.0f}"
                hours = "" if curve.hours is None else f"{curve.hours[index]:.5f}"
                writer.writerow((*head, f"{epoch:g}", step, hours, round(value, 6)))


def draw_comparison(path: Path, curves: Sequence[Curve], metrics: Sequence[str], by: By) -> None:
    """Draw a PNG with one panel per metric; a curve looks the same in all panels.

    Panels with the paper's curves, which are long, share one horizontal axis, the others another.
    """
    names = list(dict.fromkeys(curve.name for curve in curves))
    own = list(dict.fromkeys(curve.name for curve in curves if not curve.published))
    columns = min(2, len(metrics))
    lines: dict[str, Line2D] = {}
    published = {curve.metric for curve in curves if curve.published}
    first: dict[bool, Axes] = {}
    with canvas(path, *SIZES[len(metrics)], layout="constrained") as figure:
        for index, metric in enumerate(metrics, start=1):
            shared = first.get(metric in published)
            axes = figure.add_subplot(-(-len(metrics) // columns), columns, index, sharex=shared)
            first.setdefault(metric in published, axes)
            axes.set_title(METRICS[metric].label)
            axes.set_xlabel("hours of training" if by == "hours" else by)
            for curve in curves:
                if curve.metric == metric:
                    number = names.index(curve.name)
                    lines[curve.name] = _draw(axes, curve, by, number, aside=bool(own))
            if by != "hours":
                whole_numbers(axes)
            axes.margins(x=0.02)
        figure.legend(
            [lines[name] for name in names],
            [shown(name) for name in names],
            loc="outside lower center",
            ncols=min(len(names), 2 * columns),
        )


def _draw(axes: Axes, curve: Curve, by: By, number: int, aside: bool) -> Line2D:
    """Draw a curve in its own color and marker; the paper's are gray and hollow beside runs.

    Curves of few points are dashed. Many points would break up the dashes, so some are marked
    instead.
    """
    gray = curve.published and aside
    few = len(curve.values) <= FEW_POINTS
    spacing = max(1, len(curve.values) // MARKED_POINTS)
    (line,) = axes.plot(
        curve.along(by),
        curve.values,
        color=GRAY if gray else COLORS[number % len(COLORS)],
        linestyle=DASHES[number % len(DASHES)] if few else "solid",
        linewidth=0.9 if gray else 1.8 if few else 1.4,
        marker=MARKERS[number % len(MARKERS)],
        markerfacecolor="white" if gray else None,
        markevery=1 if few else (number * spacing // 4 % spacing, spacing),
        zorder=2 if gray else 3,
    )
    return line
