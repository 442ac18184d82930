"""One, ten, twelve or 144 crops of an image, in the network's input size; no torch."""

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
from inceptcli.errors import UsageError

Crops = Literal[1, 10, 12, 144]

SCALES = (256, 288, 320, 352)
"""Shorter sides that GoogLeNet's section 7 gives an image for a network that takes 224 pixels."""

SCALES_FOR = 224


class CropPlace(NamedTuple):
    """Where a crop lies: a box (left, top, right, bottom) of the image resized to `whole` (H, W).

    A box that is larger than the network's input is resized to it.
    """

    whole: tuple[int, int]
    box: tuple[int, int, int, int]


def cut(image: NDArray[np.uint8], preprocessing: Preprocessing, crops: Crops) -> NDArray[np.uint8]:
    """Crops of an RGB image: (H, W, 3) -> (crops, *image_size, 3), both uint8.

    One is Preprocessing.crop. Of several the second half mirrors the first, left to right, in the
    same order; see `places`. The image is resized once for each scale, unless it is so thin that
    the whole would fill the memory: of such a one only the crops are made, within 2 of 255 of the
    same.
    """
    if crops == 1:
        return preprocessing.crop(image)[np.newaxis]
    height, width = preprocessing.image_size
    found = places(image.shape[0], image.shape[1], preprocessing, crops)
    plain = np.empty((len(found), height, width, 3), np.uint8)
    number = 0
    for whole, group in groupby(found, key=lambda place: place.whole):
        for part in _parts(image, preprocessing, whole, [place.box for place in group]):
            if part.size != (width, height):
                part = part.resize((width, height), FILTERS[preprocessing.interpolation])
            plain[number] = np.asarray(part)
            number += 1
    return np.concatenate([plain, plain[:, :, ::-1]])


def places(
    height: int, width: int, preprocessing: Preprocessing, crops: Literal[10, 12, 144]
) -> list[CropPlace]:
    """The first half of the crops of an image of this size; the second half mirrors it.

    - 10: the corners and the center of the image resized by the weights' own rule, as torchvision's
      FiveCrop cuts them. `squash` resizes all of the image for this, without its aspect.
    - 144: GoogLeNet (1409.4842, section 7): four scales, three squares each (left, center, right;
      of a portrait top, center, bottom), of each square the corners and the center in the network's
      input size and the square itself, resized. Scales for inputs that are not 224 are in
      proportion and rounded: 342, 384, 427 and 470 for 299.
    - 12: the paper evaluates with 12 crops and defines them nowhere. Here, by our own reading: of
      the smallest scale the center square, its six crops.

    Raises UsageError for 12 and 144 when the network's input is not square.
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
    """Shorter side, pixels, from which on no image is enlarged for these crops.

    Raises as `places`.
    """
    if crops in (1, 10):
        return preprocessing.needed_side
    check_crops(preprocessing, crops)
    return max(_scales(preprocessing, crops))


def check_crops(preprocessing: Preprocessing, crops: Crops) -> None:
    """UsageError when there is no such number of crops for the network's input size."""
    height, width = preprocessing.image_size
    if crops in (12, 144) and height != width:
        raise UsageError(
            f"--crops {crops} is defined for a square input only, and the network takes "
            f"{height}x{width}; use --crops 1 or 10"
        )


def _scales(preprocessing: Preprocessing, crops: Crops) -> list[int]:
    """Shorter sides of the resized image, of 12 crops the smallest alone."""
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
    """Corners (upper left, upper right, lower left, lower right) and center of a box."""
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
) -> Iterator[Image.Image]:
    """The boxes of the image resized to `whole`."""
    height, width = preprocessing.image_size
    if whole[0] * whole[1] <= MAXIMUM_WHOLE * height * width:
        all_of_it = (0, 0, image.shape[1], image.shape[0])
        resized = resized_part(image, all_of_it, whole, preprocessing.interpolation)
        yield from (Image.fromarray(resized).crop(box) for box in boxes)
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
        part = resized_part(image, source, size, preprocessing.interpolation)
        yield Image.fromarray(part)
