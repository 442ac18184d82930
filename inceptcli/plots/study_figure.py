"""`study.png` of a study: learning curves and results by arm, a map of a grid, or a trend."""

from __future__ import annotations

import math
import statistics
import textwrap
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inceptcli.plots.canvas import COLORS, INK, MARKERS, PALE, canvas, shown, whole_numbers
from inceptcli.text import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Result = Mapping[str, Any]
"""What `study --format json` prints."""

WIDTH, DOTS_PER_INCH = 4.8, 220
"""Inches; text stays legible in a column of 3.3 inches."""

LINE, TITLE_LINE = 0.145, 0.21
"""Inches of a line of the caption and of the title."""

LETTERS, TITLE_LETTERS = 84, 56
"""Letters of a line of the caption and of the title."""

LEGEND_COLUMNS, LONGEST_LABEL = 3, 24
HIGHEST = 40
"""Inches of a panel; a study may have thousands of arms."""

EVALUATED = "evaluated-error"
MEASURES = {
    "mean-error": ("mean_error", "Top-1 validation error, mean of the epochs, %"),
    "last-error": ("last_error", "Top-1 validation error, last epoch, %"),
    "best-error": ("best_error", "Top-1 validation error, best epoch, %"),
    "dead-units": ("dead_units", "Dead units in the last stage, %"),
    EVALUATED: ("", "Top-1 validation error of the evaluations, %"),
}
"""Field of a run, and title, of each measure."""

SIZES = {
    "multiply-adds": ("multiply_adds", 1e9, "G multiply-adds"),
    "parameters": ("parameters", 1e6, "million parameters"),
    "filters": ("filters", 1, "filters of the widest stage"),
}
"""Field of a run, unit and label of each property of a network."""


def draw_study(path: Path, result: Result, caption: Sequence[str]) -> None:
    """Write a PNG with the question as title and `caption`, the verdicts, below.

    A grid of two axes is a map of each measure, a trend is drawn over the size of the networks.
    Other studies, and comparisons of arms outside of a grid, have a row for each arm with a point
    for each seed. There are learning curves if there are several epochs and nothing else to draw.
    """
    with canvas(path, WIDTH, 3, layout="constrained", dpi=DOTS_PER_INCH) as figure:
        lay_out(figure, result, caption)


def lay_out(figure: Figure, result: Result, caption: Sequence[str]) -> None:
    """Draw on an empty figure, and give it the height that its panels and lines need."""
    panels = _panels(result)
    question = textwrap.shorten(printable(result["question"]), 4 * TITLE_LETTERS, placeholder=" …")
    title = textwrap.wrap(question, TITLE_LETTERS)
    lines = [part for line in caption for part in textwrap.wrap(printable(line), LETTERS)]
    heights = [height for height, _ in panels]
    height = sum(heights) + TITLE_LINE * len(title) + LINE * (len(lines) + 1) + 0.15
    figure.set_size_inches(WIDTH, height)
    figure.suptitle("\n".join(title), x=0.02, ha="left", size=10.5, weight="bold")
    figure.supxlabel("\n".join(lines), x=0.02, ha="left", size=7.5)
    axes = figure.subplots(len(panels), 1, height_ratios=heights, squeeze=False)
    for place, (_, draw) in zip(axes[:, 0], panels, strict=True):
        draw(place)


def _panels(result: Result) -> list[tuple[float, Callable[[Axes], None]]]:
    """Return the height in inches of each panel, and the function that draws it."""
    panels: list[tuple[float, Callable[[Axes], None]]] = []
    grid, mapped = result["grid"], set()
    if grid and len(grid["axes"]) == 2:
        mapped = {cell["arm"] for cell in grid["cells"]}
        height = 0.75 + 0.3 * len(grid["axes"][1]["values"])
        for measure in dict.fromkeys(["dead-units", _error_of(result)]):
            panels.append((height, partial(_map, result=result, measure=measure)))
    for trend in result["trends"]:
        height = 2.6 + 0.18 * math.ceil(len(trend["arms"]) / LEGEND_COLUMNS)
        panels.append((height, partial(_trend, result=result, trend=trend)))
    arms = [arm for arm in result["arms"] if arm not in mapped]
    if panels and not (arms and result["verdicts"]):
        return panels
    has_curves = result["measure"] != EVALUATED  # evaluations have none
    if not panels and has_curves and max(len(run["errors"]) for run in result["runs"]) > 1:
        panels.append((2.4, partial(_curves, result=result)))
    height = min(0.75 + 0.22 * len(arms), HIGHEST)
    return [*panels, (height, partial(_points, result=result, arms=arms))]


def _error_of(result: Result) -> str:
    measure: str = result["measure"]
    return "last-error" if measure in ("dead-units", EVALUATED) else measure


def _figures(result: Result, arm: str, measure: str) -> list[float]:
    """Return the values of an arm in percent, one for each seed; those of failed runs are 100."""
    if measure == EVALUATED:
        return [100 * value for value in result["arms"][arm]]
    field, _ = MEASURES[measure]
    runs = [run for run in result["runs"] if run["arm"] == arm]
    return [100.0 if run["failure"] else 100 * run[field] for run in runs]


def _look(number: int) -> dict[str, Any]:
    """Return a color and a marker, which no two of the first 49 numbers share."""
    turn, color = divmod(number, len(COLORS))
    return {"color": COLORS[color], "marker": MARKERS[(color + turn) % len(MARKERS)]}


def _hollow(number: int) -> dict[str, Any]:
    return {**_look(number), "linestyle": "none", "markerfacecolor": "none"}


def _curves(axes: Axes, result: Result) -> None:
    """Draw the error by epoch: a thin line for each seed, a thick one for their mean."""
    axes.set_title("Top-1 validation error by epoch, %")
    for number, arm in enumerate(result["arms"]):
        look = _look(number)
        runs = [run["errors"] for run in result["runs"] if run["arm"] == arm]
        for errors in runs:
            epochs = range(1, len(errors) + 1)
            axes.plot(epochs, [100 * error for error in errors], color=look["color"], linewidth=0.5)
        means = [100 * statistics.fmean(each) for each in zip(*runs, strict=False)]
        spacing = max(1, len(means) // 9)
        axes.plot(range(1, len(means) + 1), means, **look, markevery=spacing)
    axes.set_xlabel("epoch")
    axes.margins(x=0.02)
    whole_numbers(axes)


def _points(axes: Axes, result: Result, arms: Sequence[str]) -> None:
    """Draw a row for each of `arms`: a point for each seed, and a line at their mean."""
    measure = result["measure"]
    axes.set_title(MEASURES[measure][1])
    for row, arm in enumerate(arms):
        values = _figures(result, arm, measure)
        axes.plot(values, [row] * len(values), **_hollow(row))
        axes.vlines(statistics.fmean(values), row - 0.3, row + 0.3, color=INK, linewidth=1.2)
    labels = ["\n".join(textwrap.wrap(shown(arm), LONGEST_LABEL)) for arm in arms]
    long = any("\n" in label for label in labels)
    axes.set_yticks(range(len(arms)), labels, size=6.5 if long else 9)
    axes.set_ylim(len(arms) - 0.5, -0.5)
    axes.grid(visible=True, axis="x")
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)


def _trend(axes: Axes, result: Result, trend: Mapping[str, Any]) -> None:
    """Draw a measure over a property of the networks, and the line of the mean slope."""
    field, unit, label = SIZES[trend["over"]]
    axes.set_title(MEASURES[trend["measure"]][1])
    points = []
    for number, arm in enumerate(trend["arms"]):
        values = _figures(result, arm, trend["measure"])
        size = next(run[field] for run in result["runs"] if run["arm"] == arm) / unit
        points.append((math.log2(size), statistics.fmean(values)))
        sizes = [size] * len(values)
        axes.plot(sizes, values, **_hollow(number), label=shown(arm))
    slope = 100 * statistics.fmean(trend["slopes"])
    x, y = (statistics.fmean(each) for each in zip(*points, strict=True))
    ends = min(points)[0], max(points)[0]
    line = [y + slope * (end - x) for end in ends]
    axes.plot([2**end for end in ends], line, color=PALE, zorder=2)
    _log_axis(axes, 2 ** ends[0], 2 ** ends[1])
    axes.set_xlabel(label)
    axes.margins(x=0.08, y=0.1)
    axes.legend(
        loc="upper center", bbox_to_anchor=(0.45, -0.22), ncols=LEGEND_COLUMNS, columnspacing=1.2
    )


def _log_axis(axes: Axes, low: float, high: float) -> None:
    """Make the x axis logarithmic, with ticks at round numbers, also within a decade."""
    from matplotlib.ticker import MaxNLocator

    decades = math.log10(high / low)
    axes.set_xscale("log")
    axes.set_xticks([], minor=True)
    if decades < 1.5:
        nice = MaxNLocator(nbins=6, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
        axes.set_xticks([tick for tick in nice if tick > 0])
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_formatter("")


def _map(axes: Axes, result: Result, measure: str) -> None:
    """Draw the mean over the seeds of each cell; a line marks the threshold in each row."""
    from matplotlib import colormaps

    across, up = result["grid"]["axes"]
    axes.set_title(MEASURES[measure][1])
    means = [[math.nan] * len(across["values"]) for _ in up["values"]]
    for cell in result["grid"]["cells"]:
        column, row = cell["at"]
        means[row][column] = statistics.fmean(_figures(result, cell["arm"], measure))
    low, high = (0.0, 100.0) if measure == "dead-units" else _range(means)
    axes.pcolormesh(means, cmap="cividis", vmin=low, vmax=high, edgecolors="white", linewidth=1)
    for row, values in enumerate(means):
        for column, value in enumerate(values):
            red, green, blue, _ = colormaps["cividis"]((value - low) / (high - low or 1))
            dark = 0.2126 * red + 0.7152 * green + 0.0722 * blue < 0.45
            axes.text(
                column + 0.5, row + 0.5, f"{value:.0f}", ha="center", va="center",
                color="white" if dark else "black", size=9 if len(values) <= 12 else 6,
            )  # fmt: skip
    places = [each + 0.5 for each in range(len(across["names"]))]
    turned = 30 if sum(map(len, across["names"])) > LETTERS / 2 else 0
    axes.set_xticks(places, across["names"], rotation=turned)
    axes.set_yticks([each + 0.5 for each in range(len(up["names"]))], up["names"])
    axes.set_xlabel(across["label"])
    axes.set_ylabel(up["label"])
    axes.tick_params(length=0)
    axes.grid(visible=False)
    threshold = result["threshold"]
    if threshold and threshold["measure"] == measure:
        _mark_threshold(axes, result, threshold)


def _range(means: Sequence[Sequence[float]]) -> tuple[float, float]:
    values = [value for row in means for value in row]
    return min(values), max(values)


def _mark_threshold(axes: Axes, result: Result, threshold: Mapping[str, Any]) -> None:
    """Draw a line before the first cell above the threshold, counted from the smallest value."""
    across, down = result["grid"]["axes"]
    at = {cell["arm"]: cell["at"] for cell in result["grid"]["cells"]}
    for found in threshold["found"]:
        if found["arm"] is not None:
            column, row = at[found["arm"]]
            is_across = threshold["along"] == across["key"]
            values = (across if is_across else down)["values"]
            descends = values[0] > values[-1]
            column, row = column + (is_across and descends), row + (not is_across and descends)
            ends = [column, column + (not is_across)], [row, row + is_across]
            axes.plot(*ends, color=COLORS[1], linewidth=3.5, solid_capstyle="butt", clip_on=False)
