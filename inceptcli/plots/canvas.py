"""Common style and output of all figures. No pyplot, no window."""

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
"""Okabe and Ito (2008): distinguishable with every kind of color vision."""

DASHES = ("solid", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)), (0, (3, 1, 1, 1, 1, 1)))
"""Distinguishable in a gray print."""

MARKERS = ("o", "s", "^", "D", "v", "P", "X")

INK, PALE = "#222222", "#8a8a8a"

FEW_POINTS = 40
"""Up to this many points, each point is marked."""

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
    "text.parse_math": False,  # folder names may contain $
    "xtick.color": PALE,
    "xtick.labelcolor": INK,
    "ytick.color": PALE,
    "ytick.labelcolor": INK,
}


def quiet_matplotlib() -> None:
    """Silence the notice of its font cache; call before matplotlib is imported."""
    logging.getLogger("matplotlib").setLevel(logging.ERROR)


@contextmanager
def canvas(
    path: Path,
    width: float,
    height: float,
    layout: Literal["constrained"] | None = None,
    dpi: int | None = None,
) -> Iterator[Figure]:
    """Yield a figure of `width` x `height` inches; write it as PNG to `path` on exit.

    The user's matplotlibrc is ignored. Nothing is printed, neither about the font cache nor about
    missing glyphs.
    """
    quiet_matplotlib()
    with warnings.catch_warnings(), ExitStack() as stack:
        warnings.simplefilter("ignore")
        import matplotlib.style
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        stack.enter_context(matplotlib.style.context(["default", STYLE]))
        figure = Figure(figsize=(width, height), layout=layout, dpi=dpi)
        FigureCanvasAgg(figure)
        yield figure
        with replacing(path) as temporary:
            figure.savefig(temporary, format="png", metadata={"Software": None})


def heat_colors() -> NDArray[np.float32]:
    """Return the 256 colors (256, 3), 0 to 255, of the colormap cividis, from dark blue to yellow.

    Nunez, Anderton and Renslow (2018) designed it to look alike with and without red-green color
    blindness.
    """
    quiet_matplotlib()
    import numpy as np
    from matplotlib import colormaps

    colors: NDArray[np.float32] = colormaps["cividis"](np.arange(256))[:, :3] * 255
    return colors


def shown(name: str) -> str:
    """Format a name from disk as a label: one line, shortened in the middle."""
    name = printable(name)
    if len(name) > LONGEST_NAME:
        half = (LONGEST_NAME - 1) // 2
        name = f"{name[:half]}…{name[-half:]}"
    return name


def whole_numbers(axes: Axes) -> None:
    """Put ticks at whole numbers only."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(
        MaxNLocator(nbins=6, integer=True, min_n_ticks=1, steps=[1, 2, 5, 10])
    )
