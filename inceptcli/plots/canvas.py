"""What every picture shares: how it looks, and how it reaches the disk. No pyplot, no window."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from inceptcli.files.atomic_file import replacing
from inceptcli.text import printable

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito (2008): told apart with every kind of color vision."""

DASHES = ("solid", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)), (0, (3, 1, 1, 1, 1, 1)))
"""Told apart in a gray print."""

MARKERS = ("o", "s", "^", "D", "v", "P", "X")

INK, PALE = "#222222", "#8a8a8a"

FEW_POINTS = 40
"""Up to so many points each one is marked."""

LONGEST_NAME = 44

STYLE = {
    "axes.edgecolor": PALE,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.labelcolor": INK,
    "axes.labelsize": 9,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "figure.constrained_layout.h_pad": 0.08,
    "figure.constrained_layout.w_pad": 0.12,
    "figure.dpi": 120,
    "font.size": 9,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.7,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "legend.handlelength": 2.8,
    "lines.linewidth": 1.7,
    "lines.markersize": 4.5,
    "text.color": INK,
    "text.parse_math": False,  # a folder's name is no formula
    "xtick.color": PALE,
    "xtick.labelcolor": INK,
    "ytick.color": PALE,
    "ytick.labelcolor": INK,
}


def quiet_matplotlib() -> None:
    """Ask, before it is imported, for no notice of its cache of fonts."""
    logging.getLogger("matplotlib").setLevel(logging.ERROR)


@contextmanager
def canvas(
    path: Path, width: float, height: float, layout: Literal["constrained"] | None = None
) -> Iterator[Figure]:
    """A figure of `width` x `height` inches; at the block's end it is the PNG at `path`.

    A matplotlibrc of the user's has no say. Nothing is printed: no notice of a font cache, none of
    a letter that the font lacks.
    """
    quiet_matplotlib()
    with warnings.catch_warnings(), ExitStack() as stack:
        warnings.simplefilter("ignore")
        import matplotlib.style
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        stack.enter_context(matplotlib.style.context(["default", STYLE]))
        figure = Figure(figsize=(width, height), layout=layout)
        FigureCanvasAgg(figure)
        yield figure
        with replacing(path) as temporary:
            figure.savefig(temporary, format="png", metadata={"Software": None})


def heat_colors() -> NDArray[np.float32]:
    """256 colors (256, 3), 0 to 255, for 0 to the most: cividis, from dark blue to yellow.

    Made by Nunez, Anderton and Renslow (2018) to look alike with and without red-green blindness.
    """
    quiet_matplotlib()
    import numpy as np
    from matplotlib import colormaps

    colors: NDArray[np.float32] = colormaps["cividis"](np.arange(256))[:, :3] * 255
    return colors


def shown(name: str) -> str:
    """A name from the disk as a label: on one line, shortened in its middle."""
    name = printable(name)
    if len(name) > LONGEST_NAME:
        half = (LONGEST_NAME - 1) // 2
        name = f"{name[:half]}…{name[-half:]}"
    return name


def whole_numbers(axes: Axes) -> None:
    """Ticks at whole numbers only."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(
        MaxNLocator(nbins=6, integer=True, min_n_ticks=1, steps=[1, 2, 5, 10])
    )
