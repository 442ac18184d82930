"""Pictures of TensorFlow's figures and of the tests that read them, drawn with NumPy alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

RESIZES = {"smaller": ((23, 31), (6, 7)), "larger": ((5, 7), (9, 8))}
"""Height and width of each picture, and of its resized one."""

EVALUATED = (61, 40), (9, 10)
"""Height and width of the picture of the evaluation crop, and of the crop."""


def picture(size: tuple[int, int]) -> NDArray[np.uint8]:
    """Draw slopes and sharp edges, different in red, green and blue: (H, W, 3)."""
    rows, columns = np.indices(size)
    planes = [37 * rows + 11 * columns, 5 * rows * columns, 255 * ((rows // 2 + columns // 3) % 2)]
    return (np.stack(planes, axis=-1) % 256).astype(np.uint8)
