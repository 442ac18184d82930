"""Thumbnails that are embedded in a page."""

from __future__ import annotations

from base64 import b64encode
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

QUALITY = 75


def thumbnail(pixels: NDArray[np.uint8], longest_side: int) -> str:
    """Return an image (H, W, 3) as a data: URI of a JPEG; never enlarge it."""
    image = Image.fromarray(pixels)
    image.thumbnail((longest_side, longest_side))
    file = BytesIO()
    image.save(file, "JPEG", quality=QUALITY, optimize=True)
    return f"data:image/jpeg;base64,{b64encode(file.getvalue()).decode()}"
