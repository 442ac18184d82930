"""With a shorter side a JPEG comes out smaller and never too small; nothing else changes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some
from numpy.typing import NDArray
from PIL import Image

from inceptcli.data.pixels.decode import UnreadableImage, decode
from inceptcli.data.pixels.preprocessing import Preprocessing
from tests.data.test_decode import encoded


def picture(height: int, width: int) -> Image.Image:
    """Smooth, with edges, different everywhere."""
    levels = np.random.default_rng(0).integers(0, 256, (9, 12, 3)).astype(np.uint8)
    image = Image.fromarray(levels).resize((width, height), Image.Resampling.BICUBIC)
    image.paste((250, 30, 20), (width // 3, height // 4, width // 2, height * 2 // 3))
    return image


def jpeg(height: int, width: int, orientation: int = 1, **options: Any) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(picture(height, width), "JPEG", quality=90, exif=exif, **options)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    some.integers(1, 200),
    some.integers(1, 200),
    some.integers(1, 120),
    some.integers(1, 8),
    some.booleans(),
)
def test_a_jpeg_is_the_least_of_its_halves_that_is_large_enough(
    height: int, width: int, needed: int, orientation: int, progressive: bool
) -> None:
    file = jpeg(height, width, orientation, progressive=progressive)
    whole = decode(file)
    found = decode(file, needed)
    shorter = min(height, width)
    if shorter < 2 * needed:
        np.testing.assert_array_equal(found, whole)
        return
    factor = max(factor for factor in (2, 4, 8) if shorter >= factor * needed)
    assert min(found.shape[:2]) == math.ceil(shorter / factor) >= needed
    if shorter > 50:  # of a few pixels several scales have the same size
        assert found.shape[:2] == tuple(math.ceil(side / factor) for side in whole.shape[:2])


# Seen were means of 0.66 and 1.60, and 37 and 76 beside the hard edges: 611 is no multiple of 4, so
# that the last column is a quarter empty and the middle moves by an eighth of a pixel.
@pytest.mark.parametrize(
    ("size", "smaller", "mean"), [((300, 400), (150, 200), 0.8), ((810, 611), (203, 153), 2.0)]
)
def test_what_the_network_sees_stays_close(
    size: tuple[int, int], smaller: tuple[int, int], mean: float
) -> None:
    network = Preprocessing((128, 128))
    file = jpeg(*size)
    found = decode(file, network.needed_side)
    assert found.shape == (*smaller, 3)
    difference = np.abs(network.crop(found).astype(int) - network.crop(decode(file)))
    assert 0 < difference.mean() < mean
    assert np.percentile(difference, 95) <= 6


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_jpeg_is_upright(orientation: int) -> None:
    file = jpeg(240, 400, orientation)
    smaller, whole = decode(file, 60), decode(file)
    assert smaller.shape == ((60, 100, 3) if orientation < 5 else (100, 60, 3))
    same_size = np.array(Image.fromarray(whole).resize(smaller.shape[1::-1]))
    assert np.abs(smaller.astype(int) - same_size).mean() < 2  # 0.8; mirrored or turned, 67 or more


def no_plain_jpegs() -> dict[str, bytes]:
    image = picture(240, 320)
    formats = {name: encoded(image, name) for name in ("PNG", "BMP", "TIFF", "WEBP", "PPM", "GIF")}
    modes = {mode: encoded(image.convert(mode), "JPEG") for mode in ("L", "CMYK")}
    return formats | modes


@pytest.mark.parametrize("name", no_plain_jpegs())
def test_all_else_is_decoded_as_ever(name: str) -> None:
    file = no_plain_jpegs()[name]
    np.testing.assert_array_equal(decode(file, 20), decode(file))


def outcome(file: bytes, shorter_side: int | None) -> str | NDArray[np.uint8]:
    try:
        return decode(file, shorter_side)
    except UnreadableImage as error:
        return str(error)


@pytest.mark.parametrize("progressive", [False, True])
def test_a_damaged_jpeg_is_what_it_was(progressive: bool) -> None:
    file = jpeg(240, 320, progressive=progressive)
    start = file.index(b"\xff\xda") + 20
    torn = [file[: len(file) * part // 8] for part in range(8)]
    broken = [file[:at] + b"\xff\xc0\0\0\xff" + file[at + 5 :] for at in (start, len(file) // 2)]
    beyond = file[:-2]
    reasons = 0
    for damaged in (*torn, *broken, beyond):
        smaller, whole = outcome(damaged, 20), outcome(damaged, None)
        np.testing.assert_array_equal(smaller, whole)
        reasons += isinstance(whole, str)
    assert reasons >= len(torn)
