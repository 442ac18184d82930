"""Real pictures, which tests need where drawn ones do not tell networks apart."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from matplotlib.cbook import get_sample_data
from numpy.typing import NDArray
from sklearn.datasets import load_sample_images

from inceptcli.data.pixels.decode import decode


def photographs(count: int) -> list[NDArray[np.uint8]]:
    """Different parts of three photographs, the same ones each time: (height, width, 3).

    Their sides are from a third to the whole of the photograph's, 200 to 640 pixels.
    """
    generator = np.random.default_rng(0)
    parts = []
    for number in range(count):
        whole = _whole()[number % 3]
        sides = [int(generator.integers(side // 3, side + 1)) for side in whole.shape[:2]]
        top, left = (
            int(generator.integers(0, side - part + 1))
            for side, part in zip(whole.shape[:2], sides, strict=True)
        )
        parts.append(whole[top : top + sides[0], left : left + sides[1]].copy())
    return parts


@cache
def _whole() -> list[NDArray[np.uint8]]:
    """A temple, a flower and a woman, which scikit-learn and matplotlib ship."""
    woman = get_sample_data("grace_hopper.jpg", asfileobj=False)
    return [*load_sample_images().images, decode(Path(woman))]
