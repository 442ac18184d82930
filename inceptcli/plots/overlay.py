"""Draw a heat map over its image."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from inceptcli.plots.canvas import heat_colors

SMALLEST_SIDE = 299
"""Smaller images are enlarged by an integer factor, to be recognizable."""

OPACITY = 0.55


def overlay(view: NDArray[np.uint8], heat: NDArray[np.float32]) -> Image.Image:
    """Draw an image (H, W, 3) in gray under its heat map (H, W), from dark blue to yellow.

    The colors are distinguishable with every kind of color vision and in print. A white line on
    black surrounds the hottest half. If the heat map is 0, the image is gray only.
    """
    times = -(-SMALLEST_SIDE // min(view.shape[:2]))
    size = view.shape[1] * times, view.shape[0] * times
    gray = Image.fromarray(view).convert("L").resize(size, Image.Resampling.BICUBIC)
    heat = np.asarray(Image.fromarray(heat).resize(size, Image.Resampling.BILINEAR))
    drawn = np.repeat(np.asarray(gray, np.float32)[..., None], 3, axis=2)
    if (peak := heat.max()) > 0:
        levels = np.rint(heat / peak * 255).astype(np.uint8)
        drawn = (1 - OPACITY) * drawn + OPACITY * heat_colors()[levels]
    half = hottest_half(heat)
    core = _shrunk(half)
    drawn[half & ~core] = 0
    drawn[core & ~_shrunk(core)] = 255
    return Image.fromarray(np.rint(drawn).astype(np.uint8))


def hottest_half(heat: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return the smallest set of hottest pixels with half the mass of a map (H, W); never zeros."""
    ordered = np.sort(heat, axis=None)[::-1]
    mass = np.cumsum(ordered, dtype=np.float64)
    threshold = ordered[np.searchsorted(mass, mass[-1] / 2)]
    hottest: NDArray[np.bool_] = (heat >= threshold) & (heat > 0)
    return hottest


def _shrunk(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Erode the mask by one pixel; the image border does not count as its edge."""
    padded = np.pad(mask, 1, mode="edge")
    return mask & padded[2:, 1:-1] & padded[:-2, 1:-1] & padded[1:-1, 2:] & padded[1:-1, :-2]
