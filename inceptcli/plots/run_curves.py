"""`curves.png` of a run: loss, accuracy, learning rate, throughput, dead units."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from inceptcli.plots.canvas import (
    COLORS,
    DASHES,
    FEW_POINTS,
    INK,
    MARKERS,
    canvas,
    shown,
    whole_numbers,
)
from inceptcli.plots.history import DeadUnitShares, History, read_dead_units, read_history
from inceptcli.text import tells_top5

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DARK_AND_LIGHT = (COLORS[0], COLORS[4])
"""Blue and orange are distinct in gray without dashes, which hundreds of points break up."""

SIDES = {"left": 0.06, "right": 0.95}


def draw_run_curves(folder: Path, num_classes: int) -> None:
    """Write `folder`/curves.png from the folder's metrics.csv and dead_units.csv.

    Top-5 is omitted for few classes.

    Raises:
        FileNotFoundError: metrics.csv is missing.
        UserError: A file was not written by a run.
    """
    history, dead = read_history(folder), read_dead_units(folder)
    with canvas(folder / "curves.png", 12, 7.2) as figure:
        # Fixed margins take half the time of a layout engine.
        top = figure.add_gridspec(1, 2, **SIDES, top=0.89, bottom=0.53, wspace=0.16)
        bottom = figure.add_gridspec(1, 3, **SIDES, top=0.42, bottom=0.08, wspace=0.38)
        loss = figure.add_subplot(top[0], title="Loss (cross entropy)")
        measures = _measures(history, num_classes)
        title = "Validation accuracy, %" if "val_top1" in measures else "Validation mAP and F1, %"
        accuracy = figure.add_subplot(top[1], title=title)
        rate = figure.add_subplot(bottom[0], title="Learning rate")
        speed = figure.add_subplot(bottom[1], title="Training speed, images/s")
        units = figure.add_subplot(bottom[2], title="Dead units, % of channels")
        _lines(loss, history, {"val_loss": "validation", "train_loss": "training"})
        _lines(accuracy, history, measures, factor=100)
        _mark_best(accuracy, history, *next(iter(measures.items())))
        _lines(rate, history, {"learning_rate": ""})
        _lines(speed, history, {"images_per_second": ""})
        for axes in (rate, speed):
            axes.set_ylim(0, 1.1 * axes.get_ylim()[1])
        _dead_units(units, dead)
        for axes in figure.axes:
            axes.set_xlabel("epoch")
        done = f"{history.epochs[-1]:g}" if history.epochs else "0"
        title = f"{shown(folder.resolve().name)}, epoch {done}"
        figure.suptitle(title, x=SIDES["left"], y=0.98, ha="left", size=13, weight="bold")


def _measures(history: History, num_classes: int) -> dict[str, str]:
    """Return the columns of the validation to draw with their names, first that of the best epoch.

    Those of multi-label runs are mAP and F1.
    """
    if any(value is not None for value in history.columns.get("val_average_precision", [])):
        return {"val_average_precision": "mAP", "val_micro_f1": "micro F1"}
    return {"val_top1": "top-1"} | ({"val_top5": "top-5"} if tells_top5(num_classes) else {})


def _lines(axes: Axes, history: History, names: dict[str, str], factor: float = 1) -> None:
    for index, (name, label) in enumerate(names.items()):
        values = history.columns.get(name, [])
        points = [
            (epoch, factor * value)
            for epoch, value in zip(history.epochs, values, strict=False)
            if value is not None and math.isfinite(value)
        ]
        few = len(points) <= FEW_POINTS
        axes.plot(
            [epoch for epoch, _ in points],
            [value for _, value in points],
            color=DARK_AND_LIGHT[index],
            linestyle=DASHES[index] if few else "solid",
            linewidth=1.8 if few else 1.3,
            marker=MARKERS[index] if few else "",
            label=label,
            zorder=3 - index,
            clip_on=False,
        )
    if any(names.values()):
        axes.legend()
    axes.margins(x=0.02)
    whole_numbers(axes)


def _mark_best(axes: Axes, history: History, measure: str, name: str) -> None:
    values = [value or 0 for value in history.columns.get(measure, [])]
    if not values:
        return
    best = max(values)
    epoch = history.epochs[values.index(best)]
    axes.axvline(epoch, color=INK, linewidth=0.8, linestyle=DASHES[2])
    axes.set_title(f"best {name} {best:.1%}, epoch {epoch:g}", loc="right", weight="normal", size=9)


def _dead_units(axes: Axes, dead: DeadUnitShares | None) -> None:
    """Draw one band per stage, input at the top, dark for dead; latest shares on the right."""
    axes.grid(visible=False)
    if dead is None:
        axes.text(0.5, 0.5, "not recorded", ha="center", transform=axes.transAxes)
        axes.set_yticks([])
        return
    stages = list(dead.shares)
    shares = [
        [100 * dead.shares[stage].get(epoch, math.nan) for epoch in dead.epochs] for stage in stages
    ]
    edges = [epoch - 0.5 for epoch in dead.epochs] + [dead.epochs[-1] + 0.5]
    rows = [row - 0.5 for row in range(len(stages) + 1)]
    axes.pcolormesh(edges, rows, shares, cmap="Grays", vmin=-8, vmax=108)
    axes.invert_yaxis()
    size = 9 if len(stages) <= 8 else 6
    axes.set_yticks(range(len(stages)), stages, size=size)
    axes.tick_params(axis="y", length=0)
    for row, values in enumerate(shares):
        axes.annotate(
            _percent(values[-1]),
            (1.02, row),
            xycoords=("axes fraction", "data"),
            va="center",
            size=size,
        )
    for edge in rows[1:-1]:
        axes.axhline(edge, color="white", linewidth=1.5)
    whole_numbers(axes)


def _percent(value: float) -> str:
    """Round, but never to 0 or 100 %."""
    if math.isnan(value):
        return "?"
    if 0 < value < 1:
        return "<1 %"
    return ">99 %" if 99 < value < 100 else f"{value:.0f} %"
