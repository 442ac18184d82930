"""Cut 1, 10, 12 or 144 crops of an image at the network's input size. No torch."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from inceptcli.data.pixels.preprocessing import (
    FILTERS,
    MAXIMUM_WHOLE,
    Preprocessing,
    resized_part,
    scaled_size,
)
from inceptcli.data.pixels.tensorflow_resizing import resized_pixels
from inceptcli.errors import UsageError

Crops = Literal[1, 10, 12, 144]

SCALES = (256, 288, 320, 352)
"""Shorter sides of the resized image in GoogLeNet (section 7), for an input of 224 pixels."""

SCALES_FOR = 224


class CropPlace(NamedTuple):
    """A crop: `box` (left, top, right, bottom) of the image resized to `whole` (H, W).

    A box larger than the network's input is resized to it.
    """

    whole: tuple[int, int]
    box: tuple[int, int, int, int]


def cut(image: NDArray[np.uint8], preprocessing: Preprocessing, crops: Crops) -> NDArray[np.uint8]:
    """Cut crops of an RGB image: (H, W, 3) -> (crops, *image_size, 3), both uint8.

    A single crop is that of `Preprocessing.crop`. With several, the second half are horizontal
    flips of the first half, in the same order; see `places`. The image is resized once per scale.
    For very elongated images, where this would exhaust memory, each crop is resized separately;
    its values differ by at most 2 of 255.
    """
    if crops == 1:
        return preprocessing.crop(image)[np.newaxis]
    height, width = preprocessing.image_size
    found = places(image.shape[0], image.shape[1], preprocessing, crops)
    plain = np.empty((len(found), height, width, 3), np.uint8)
    number = 0
    for whole, group in groupby(found, key=lambda place: place.whole):
        for part in _parts(image, preprocessing, whole, [place.box for place in group]):
            plain[number] = _at_size(part, preprocessing)
            number += 1
    return np.concatenate([plain, plain[:, :, ::-1]])


def places(
    height: int, width: int, preprocessing: Preprocessing, crops: Literal[10, 12, 144]
) -> list[CropPlace]:
    """Return the first half of an image's crops; the second half mirrors it.

    - 10: the corners and the center of the image resized by the weights' own rule, as in
      torchvision's FiveCrop. `squash` resizes the whole image for this, ignoring its aspect.
    - 144: GoogLeNet (1409.4842, section 7): four scales with three squares each (left, center,
      right; for portraits top, center, bottom). Each square gives its corners and center at the
      network's input size, and the square itself, resized. Scales for inputs other than 224 are
      proportional and rounded: 342, 384, 427 and 470 for 299.
    - 12: the paper evaluates with 12 crops but does not define them. Our interpretation: the six
      crops of the center square at the smallest scale.

    Raises:
        UsageError: 12 or 144 crops for a network whose input is not square.
    """
    if crops == 10:
        whole = preprocessing.whole_size(height, width)
        return [CropPlace(whole, box) for box in _five((0, 0, whole[1], whole[0]), preprocessing)]
    check_crops(preprocessing, crops)
    found = []
    for side in _scales(preprocessing, crops):
        whole = scaled_size(height, width, side)
        squares = list(_squares(*whole))
        for square in squares if crops == 144 else squares[1:2]:
            found += [CropPlace(whole, box) for box in (*_five(square, preprocessing), square)]
    return found


def needed_side(preprocessing: Preprocessing, crops: Crops) -> int:
    """Return the smallest shorter side, in pixels, that these crops never enlarge.

    Raises:
        UsageError: as `places`.
    """
    if crops in (1, 10):
        return preprocessing.needed_side
    check_crops(preprocessing, crops)
    return max(_scales(preprocessing, crops))


def check_crops(preprocessing: Preprocessing, crops: Crops) -> None:
    """Raise UsageError if this number of crops is undefined for the network's input size."""
    height, width = preprocessing.image_size
    if crops in (12, 144) and height != width:
        raise UsageError(
            f"--crops {crops} is defined for a square input only, and the network takes "
            f"{height}x{width}; use --crops 1 or 10"
        )


def _scales(preprocessing: Preprocessing, crops: Crops) -> list[int]:
    """Return the shorter sides of the resized image; only the smallest for 12 crops."""
    size = preprocessing.image_size[0]
    return [round(scale * size / SCALES_FOR) for scale in (SCALES if crops == 144 else SCALES[:1])]


def _squares(height: int, width: int) -> Iterator[tuple[int, int, int, int]]:
    side = min(height, width)
    beyond = max(height, width) - side
    for first in (0, round(beyond / 2), beyond):
        left, top = (first, 0) if width > height else (0, first)
        yield left, top, left + side, top + side


def _five(
    outer: tuple[int, int, int, int], preprocessing: Preprocessing
) -> list[tuple[int, int, int, int]]:
    """Return the corner (upper left, upper right, lower left, lower right) and center crops."""
    height, width = preprocessing.image_size
    left, top, right, bottom = outer
    middle = left + round((right - left - width) / 2), top + round((bottom - top - height) / 2)
    starts = [(x, y) for y in (top, bottom - height) for x in (left, right - width)]
    return [(x, y, x + width, y + height) for x, y in (*starts, middle)]


def _parts(
    image: NDArray[np.uint8],
    preprocessing: Preprocessing,
    whole: tuple[int, int],
    boxes: list[tuple[int, int, int, int]],
) -> Iterator[NDArray[np.uint8]]:
    """Yield the boxes of the image resized to `whole`."""
    height, width = preprocessing.image_size
    if not preprocessing.antialias:
        yield from (resized_pixels(image, whole, preprocessing.interpolation, box) for box in boxes)
        return
    if whole[0] * whole[1] <= MAXIMUM_WHOLE * height * width:
        all_of_it = (0, 0, image.shape[1], image.shape[0])
        resized = resized_part(image, all_of_it, whole, preprocessing.interpolation)
        yield from (resized[top:bottom, left:right] for left, top, right, bottom in boxes)
        return
    down, across = image.shape[0] / whole[0], image.shape[1] / whole[1]
    for left, top, right, bottom in boxes:
        source = (
            left * across,
            top * down,
            min(right * across, image.shape[1]),
            min(bottom * down, image.shape[0]),
        )
        size = bottom - top, right - left
        yield resized_part(image, source, size, preprocessing.interpolation)


def _at_size(part: NDArray[np.uint8], preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """Resize a square crop to the network's input size, if it is larger."""
    height, width = preprocessing.image_size
    if part.shape[:2] == (height, width):
        return part
    if not preprocessing.antialias:
        return resized_pixels(part, (height, width), preprocessing.interpolation)
    filtered = FILTERS[preprocessing.interpolation]
    return np.asarray(Image.fromarray(part).resize((width, height), filtered))
