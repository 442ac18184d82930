"""A heat map laid over the picture that it belongs to."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from inceptcli.plots.canvas import heat_colours

SMALLEST_SIDE = 299
"""Smaller pictures are enlarged by a whole number, so that people see something."""

OPACITY = 0.55

Pixel = TypeVar("Pixel", bound=np.generic)


def overlay(
    view: NDArray[np.uint8], heat: NDArray[np.float32], outlined: NDArray[np.bool_]
) -> Image.Image:
    """A picture (H, W, 3) in grey under its heat map (H, W) from dark blue to yellow.

    Blue and yellow, dark and bright are told apart with every kind of colour vision and in print. A
    line, white in black, goes round what is `outlined` (H, W). Where the map is 0 the picture stays
    as it is.
    """
    times = -(-SMALLEST_SIDE // min(view.shape[:2]))
    grey = np.asarray(Image.fromarray(view).convert("L"))[..., None]
    peak = heat.max()
    drawn = np.broadcast_to(grey, view.shape).astype(np.float32)
    if peak > 0:
        levels = np.rint(heat / peak * 255).astype(np.uint8)
        drawn = (1 - OPACITY) * drawn + OPACITY * heat_colours()[levels]
    enlarged = _enlarged(np.rint(drawn).astype(np.uint8), times)
    inside = _enlarged(outlined, times)
    core = _shrunk(inside)
    enlarged[inside & ~core] = 0
    enlarged[core & ~_shrunk(core)] = 255
    return Image.fromarray(enlarged)


def _enlarged(pixels: NDArray[Pixel], times: int) -> NDArray[Pixel]:
    """Each pixel as a square."""
    return pixels.repeat(times, axis=0).repeat(times, axis=1)


def _shrunk(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Without its outermost pixels; the picture's edge is no edge of the mask."""
    padded = np.pad(mask, 1, mode="edge")
    return mask & padded[2:, 1:-1] & padded[:-2, 1:-1] & padded[1:-1, 2:] & padded[1:-1, :-2]
