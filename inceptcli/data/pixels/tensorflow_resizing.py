"""Resize images with TensorFlow 1's formulas, which do not antialias. No torch.

They are those of `tf.compat.v1.image.resize_*` with align_corners=False and
half_pixel_centers=False: pixel i of the result is sampled at i * input size / output size.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

ResizeMethod = Literal["bilinear", "nearest", "bicubic", "area"]

SHARPNESS = -0.75
"""Slope of the bicubic kernel at 1; TensorFlow 2, Pillow and Keys use -0.5."""

OFFSETS = 1024
"""TensorFlow rounds the position between two pixels to this fraction for bicubic weights."""


def resized(
    image: NDArray[Any],
    size: tuple[int, int],
    method: ResizeMethod,
    box: tuple[int, int, int, int] | None = None,
) -> NDArray[np.float32]:
    """Resize an image (H, W, C) to `size` (height, width); values keep their range.

    Only the `box` (left, top, right, bottom) of the result is computed, by default all. Bicubic
    values may lie beyond those of the image.
    """
    height, width = size
    left, top, right, bottom = box or (0, 0, width, height)
    spans = {0: (height, top, bottom), 1: (width, left, right)}
    # The smaller intermediate image first: thin images would take much memory otherwise.
    rows_first = (bottom - top) * image.shape[1] <= image.shape[0] * (right - left)
    found = np.ascontiguousarray(image)
    for axis in (0, 1) if rows_first else (1, 0):
        length, first, last = spans[axis]
        scale = np.float32(image.shape[axis]) / np.float32(length)
        edges = np.arange(first, last + 1, dtype=np.float32) * scale
        found = _weighted(found, axis, *_samples(method, image.shape[axis], edges, scale))
    return found.astype(np.float32, copy=False)


def resized_pixels(
    image: NDArray[np.uint8],
    size: tuple[int, int],
    method: ResizeMethod,
    box: tuple[int, int, int, int] | None = None,
) -> NDArray[np.uint8]:
    """Resize as `resized` does and round to 0 to 255."""
    found = resized(image, size, method, box)
    return np.rint(found, out=found).clip(0, 255, out=found).astype(np.uint8)


def _weighted(
    image: NDArray[Any], axis: int, indices: NDArray[np.intp], weights: NDArray[np.float32]
) -> NDArray[Any]:
    """Return the weighted sums of the rows or columns with these `indices` (terms, length)."""
    total: NDArray[Any] = image.take(indices[0], axis)
    if len(indices) == 1:
        return total
    shape = (-1, 1, 1) if axis == 0 else (-1, 1)
    total = total * weights[0].reshape(shape)
    for index, weight in zip(indices[1:], weights[1:], strict=True):
        total += image.take(index, axis) * weight.reshape(shape)
    return total


def _samples(
    method: ResizeMethod, size: int, edges: NDArray[np.float32], scale: np.float32
) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Return the indices (terms, length) of the pixels that each new pixel sums; their weights.

    `edges` (length + 1,) are the sampled positions in `size` pixels, `scale` apart.
    """
    first = np.floor(edges[:-1])
    between = edges[:-1] - first
    if method == "area":
        steps = np.arange(np.ceil(scale) + 1, dtype=np.float32)[:, np.newaxis]
        start = np.maximum(edges[:-1], first + steps)
        weights = np.clip(np.minimum(edges[1:], first + steps + 1) - start, 0, None) / scale
    elif method == "bilinear":
        steps = np.arange(2)[:, np.newaxis]
        weights = np.stack([1 - between, between])
    elif method == "bicubic":
        steps = np.arange(-1, 3)[:, np.newaxis]
        weights = _cubic(np.abs(np.rint(between * OFFSETS) / OFFSETS - steps))
    else:
        steps, weights = np.zeros((1, 1)), np.ones((1, len(first)))
    indices = np.clip(first + steps, 0, size - 1).astype(np.intp)
    return indices, weights.astype(np.float32)


def _cubic(distance: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the bicubic kernel at distances of 0 to 2 pixels."""
    near = ((SHARPNESS + 2) * distance - (SHARPNESS + 3)) * distance**2 + 1
    far = ((distance - 5) * distance + 8) * distance - 4
    return np.where(distance <= 1, near, SHARPNESS * far)
