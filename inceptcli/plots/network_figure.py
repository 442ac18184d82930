"""Draw a network like the paper's Figures 9 and 15: input at the bottom, softmax at the top."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from inceptcli.networks.registry import NetworkOptions
    from inceptcli.networks.state_dict import Shape
from inceptcli.networks.summary import Summary

SUFFIXES = (".svg", ".png", ".pdf")

WIDTH, ROW, BOX_HEIGHT = 7.0, 0.5, 0.32
"""Inches: width of the paper's text, row height, box height."""

BOX_LEFT, BOX_RIGHT = 1.3, 4.1
OUTPUT, PARAMETERS, MULTIPLY_ADDS = 4.3, 5.95, 6.9
MARGIN, HEADER, FOOTER = 0.12, 1.15, 0.2
DOTS_PER_INCH = 200

COLORS = {"a": "#cfe3f3", "b": "#d9ecd3", "c": "#f6dfc6", "reduction": "#e6dcef"}
PLAIN, EDGE, FAINT = "#f2f2f2", "#333333", "#666666"

STYLE: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 8.0,
    "svg.fonttype": "none",  # text stays text: searchable, small
    "svg.hashsalt": "inceptcli",  # the same file every time
    "text.parse_math": False,
}


@dataclass(frozen=True)
class Row:
    """A box of the figure with the columns beside it."""

    title: str
    figure: str
    output_shape: Shape
    parameters: int
    multiply_adds: int
    color: str


def draw_network(
    summary: Summary,
    options: NetworkOptions,
    title: str,
    file: Path,
    format: str,
    float32: Sequence[str] | None = None,
) -> None:
    """Write the figure of a network, with `title` above it, as svg, png or pdf.

    Each box has its name and number of repeats, the paper's figure that shows it, its output shape
    (channels x height x width, as in `summarize`), its parameters and its multiply-adds. For an
    int8 network, `float32` has its boxes in float32; their number is shown at their stage.
    """
    import matplotlib as mpl

    with mpl.rc_context(STYLE):
        metadata = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(format, {})
        drawn = network_figure(summary, options, title, float32)
        drawn.savefig(file, format=format, metadata=metadata)


def network_figure(
    summary: Summary, options: NetworkOptions, title: str, float32: Sequence[str] | None = None
) -> Figure:
    """Make the figure; one unit of its axes is an inch."""
    from matplotlib.figure import Figure

    rows = figure_rows(summary, options, float32 or ())
    height = HEADER + ROW * (len(rows) + 1) + FOOTER
    figure = Figure(figsize=(WIDTH, height), dpi=DOTS_PER_INCH)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, WIDTH), ylim=(0, height))
    axes.axis("off")
    precision = "" if float32 is None else ", int8"
    _draw_header(axes, summary, title, summary.layout + precision, height)
    _draw_rows(axes, summary, options, rows)
    return figure


def figure_rows(
    summary: Summary, options: NetworkOptions, float32: Sequence[str] = ()
) -> list[Row]:
    """Return the boxes in order of data flow."""
    rows = []
    for stage in summary.stages:
        title = _title(stage.name, options)
        kept = sum(box.startswith(f"{stage.name}.") for box in float32)
        rows.append(
            Row(
                title if stage.repeats == 1 else f"{stage.repeats} x {title}",
                stage.figure + (f"\n{kept} float32" if kept else ""),
                stage.output_shape,
                stage.parameters,
                stage.multiply_adds,
                _color(stage.name),
            )
        )
    return rows


def _title(name: str, options: NetworkOptions) -> str:
    """Return the name printed in Figures 9 and 15."""
    block = "Inception-resnet" if options.residual_scales else "Inception"
    letter = name[-1].upper()
    titles = {
        "stem": "Stem",
        "average_pooling": "Average Pooling",
        "dropout": f"Dropout (keep {1 - options.dropout:g})",
        "classifier": "Softmax",
        "embedding": "Embedding",
        "projection": "1x1 Conv",
    }
    if name.startswith("inception_"):
        return f"{block}-{letter}"
    return f"Reduction-{letter}" if name.startswith("reduction_") else titles[name]


def _color(name: str) -> str:
    if name.startswith("reduction_"):
        return COLORS["reduction"]
    return COLORS[name[-1]] if name.startswith("inception_") else PLAIN


def _draw_header(axes: Any, summary: Summary, title: str, layout: str, height: float) -> None:
    axes.text(MARGIN, height - 0.25, title, fontsize=11, weight="bold", va="center")
    image = "×".join(map(str, summary.image_size))
    totals = (
        f"{summary.parameters:,} parameters, {summary.multiply_adds / 1e9:.3f} G multiply-adds "
        f"at {image} pixels"
    )
    for below, line in ((0.48, layout), (0.64, totals)):
        axes.text(MARGIN, height - below, line, fontsize=7, color=FAINT, va="center")
    y = height - HEADER + 0.12
    axes.text(MARGIN, y, "Drawn in", color=FAINT, va="center")
    axes.text(OUTPUT, y, "Output, C×H×W", color=FAINT, va="center")
    axes.text(PARAMETERS, y, "Parameters", color=FAINT, va="center", ha="right")
    axes.text(MULTIPLY_ADDS, y, "Multiply-adds", color=FAINT, va="center", ha="right")


def _draw_rows(axes: Any, summary: Summary, options: NetworkOptions, rows: Sequence[Row]) -> None:
    middle, y = (BOX_LEFT + BOX_RIGHT) / 2, FOOTER + ROW / 2
    pixels = (options.in_channels, *summary.image_size)
    axes.text(middle, y, "Input", ha="center", va="center")
    axes.text(OUTPUT, y, _size(pixels), va="center")
    for row in rows:
        axes.annotate(
            "",
            (middle, y + ROW - BOX_HEIGHT / 2),
            (middle, y + BOX_HEIGHT / 2 - (0.06 if row is rows[0] else 0)),
            arrowprops={"arrowstyle": "-|>", "color": EDGE, "shrinkA": 0, "shrinkB": 0, "lw": 0.8},
        )
        y += ROW
        _draw_box(axes, row, y)


def _draw_box(axes: Any, row: Row, y: float) -> None:
    from matplotlib.patches import FancyBboxPatch

    corner = BOX_LEFT, y - BOX_HEIGHT / 2
    style = "round,pad=0,rounding_size=0.06"
    box = FancyBboxPatch(
        corner,
        BOX_RIGHT - BOX_LEFT,
        BOX_HEIGHT,
        boxstyle=style,
        facecolor=row.color,
        edgecolor=EDGE,
        linewidth=0.8,
    )
    axes.add_patch(box)
    middle = (BOX_LEFT + BOX_RIGHT) / 2
    axes.text(middle, y, row.title, ha="center", va="center", fontsize=9)
    axes.text(MARGIN, y, row.figure.replace(", ", "\n", 1), va="center", fontsize=7, color=FAINT)
    axes.text(OUTPUT, y, _size(row.output_shape), va="center")
    for x, text in (
        (PARAMETERS, f"{row.parameters:,}" if row.parameters else ""),
        (MULTIPLY_ADDS, f"{row.multiply_adds / 1e6:,.1f} M" if row.multiply_adds else ""),
    ):
        axes.text(x, y, text, va="center", ha="right")


def _size(shape: Shape) -> str:
    """Format channels x height x width."""
    return "×".join(map(str, shape))
