from __future__ import annotations

from base64 import b64decode
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from inceptcli.pages.thumbnail import thumbnail


def opened(uri: str) -> Image.Image:
    kind, content = uri.split(",")
    assert kind == "data:image/jpeg;base64"
    return Image.open(BytesIO(b64decode(content, validate=True)))


@pytest.mark.parametrize(
    ("height", "width", "size"),
    [(300, 600, (160, 80)), (600, 300, (80, 160)), (20, 30, (30, 20)), (1, 5000, (160, 1))],
)
def test_it_keeps_its_shape_and_is_never_enlarged(
    height: int, width: int, size: tuple[int, int]
) -> None:
    pixels = np.full((height, width, 3), (200, 100, 0), np.uint8)
    small = opened(thumbnail(pixels, 160))
    assert (small.format, small.size) == ("JPEG", size)
    assert np.abs(np.asarray(small, int) - (200, 100, 0)).max() < 8


def test_noise_of_160_pixels_takes_less_than_20_kilobytes() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (1000, 1000, 3)).astype(np.uint8)
    assert len(thumbnail(noise, 160)) < 20_000
