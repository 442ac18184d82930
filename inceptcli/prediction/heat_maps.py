"""Grad-CAM: the evidence for a class at each place in an image."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from inceptcli.data.pixels.normalization import normalize
from inceptcli.data.pixels.preprocessing import Region
from inceptcli.networks.network import Network
from inceptcli.plots.canvas import quiet_matplotlib
from inceptcli.plots.overlay import hottest_half
from inceptcli.prediction.engines.torch_engine import TorchEngine

MINIMUM_GRID = 5
"""Shortest side of a stage's output that still resolves places.

On images of two halves, grids of 3x3 and 4x4 put 78 % of the mass on the right half, 5x5 to 7x7 put
81 to 93 % there.
"""

ROUNDING = 1e-6
"""Pixels by which an edge may miss a whole number."""


class HeatMapFocus(NamedTuple):
    """Center of a heat map's mass, and bounding box of its hottest half, in pixels."""

    center: tuple[float, float]
    box: tuple[int, int, int, int]


class HeatMaps:
    """Grad-CAM (Selvaraju et al. 2017, arXiv 1610.02391) of one network, with captum.

    It uses the last stage whose output is at least 5x5: the last stage of all at 299x299, an
    earlier one for small images.
    """

    def __init__(self, engine: TorchEngine) -> None:
        quiet_matplotlib()  # captum imports it
        from captum.attr import LayerGradCam

        assert isinstance(engine.network, Network)
        self.network, self.device = engine.network.requires_grad_(False), engine.device
        self.preprocessing = engine.preprocessing
        self.stage = self._last_grid()
        self._grad_cam = LayerGradCam(self.network, self.network.get_submodule(self.stage))

    def heat(self, view: NDArray[np.uint8], index: int) -> NDArray[np.float32]:
        """Return the evidence for a class, (H, W), at least 0, in a crop (H, W, 3).

        It is 0 everywhere if there is no evidence.
        """
        found = self._grad_cam.attribute(self._images(view), index, relu_attributions=True)
        grid = found[0, 0].detach().float().cpu().numpy()
        height, width = view.shape[:2]
        smooth = Image.fromarray(grid).resize((width, height), Image.Resampling.BILINEAR)
        return np.asarray(smooth)

    def _images(self, view: NDArray[np.uint8]) -> torch.Tensor:
        pixels = torch.tensor(view, device=self.device).permute(2, 0, 1)[None]
        return normalize(pixels, self.preprocessing.mean, self.preprocessing.std)

    def _last_grid(self) -> str:
        height, width = self.preprocessing.image_size
        black = np.zeros((height, width, 3), np.uint8)
        with torch.inference_mode():
            outputs = list(self.network.forward_stages(self._images(black)))
        fine = [name for name, output in outputs if min(output.shape[-2:]) >= MINIMUM_GRID]
        return fine[-1]


def locate(heat: NDArray[np.float32], seen: Region) -> HeatMapFocus | None:
    """Locate a heat map's mass in the image, of which the network saw the box `seen`.

    Return None if the map is 0.
    """
    total = heat.sum(dtype=np.float64)
    if total == 0:
        return None
    left, top, right, bottom = seen
    down, across = (bottom - top) / heat.shape[0], (right - left) / heat.shape[1]
    by_column, by_row = heat.sum(axis=0, dtype=np.float64), heat.sum(axis=1, dtype=np.float64)
    x = (np.arange(heat.shape[1]) + 0.5) @ by_column / total
    y = (np.arange(heat.shape[0]) + 0.5) @ by_row / total
    ys, xs = np.nonzero(hottest_half(heat))
    first_x, first_y = left + xs.min() * across, top + ys.min() * down
    last_x, last_y = left + (xs.max() + 1) * across, top + (ys.max() + 1) * down
    box = (
        math.floor(first_x + ROUNDING),
        math.floor(first_y + ROUNDING),
        math.ceil(last_x - ROUNDING),
        math.ceil(last_y - ROUNDING),
    )
    return HeatMapFocus((left + x * across, top + y * down), box)
