"""Evaluation preprocessing: the part of a decoded image that a network sees, and its scale."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from inceptcli.data.pixels.tensorflow_resizing import resized_pixels

ResizeRule = Literal["short-side", "squash"]
Interpolation = Literal["bilinear", "bicubic"]

Region = tuple[float, float, float, float]
"""Left, top, right, bottom in pixels of the source image."""

FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}

MAXIMUM_WHOLE = 16
"""Maximum number of pixels of a whole resized image, as a multiple of the crop's."""


@dataclass(frozen=True)
class Preprocessing:
    """How images are resized, cropped and normalized for a network.

    `short-side` follows timm: the image is scaled until its shorter side is
    floor(size / crop_fraction), keeping its aspect, and the center is cropped. If `image_size` is
    not square, the scaled image just covers it. `squash` follows TensorFlow slim: the central
    `crop_fraction` of each side is resized to `image_size`, ignoring its aspect. Downscaling is
    antialiased, as in Pillow. Without `antialias`, pixels are sampled as in TensorFlow 1, on which
    slim trains and evaluates.

    Attributes:
        image_size: Height and width of the network's input, pixels.
        resize: `short-side` or `squash`.
        crop_fraction: Fraction of the shorter side, or of each side, that is kept; above 0, at
            most 1.
        interpolation: `bilinear` or `bicubic`: Pillow's filter, or TensorFlow 1's formula without
            `antialias`.
        mean: Subtracted from red, green and blue in [0, 1]; a single value stands for a network
            with gray input.
        std: Divides the difference; as many values as `mean`.
        antialias: Whether downscaling averages all pixels of the image.
    """

    image_size: tuple[int, int]
    resize: ResizeRule = "short-side"
    crop_fraction: float = 0.875
    interpolation: Interpolation = "bicubic"
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.5, 0.5, 0.5)
    antialias: bool = True

    def __post_init__(self) -> None:
        """Validate the fields.

        Raises:
            ValueError: a value is of the wrong type or out of range.
        """
        _check("image_size", self.image_size, 2, "whole numbers of at least 1", _is_count)
        channels = 1 if isinstance(self.mean, tuple) and len(self.mean) == 1 else 3
        _check("mean", self.mean, channels, "finite numbers", _is_finite)
        positive = "finite numbers above 0"
        _check("std", self.std, channels, positive, lambda v: _is_finite(v) and v > 0)
        _check_choice("resize", self.resize, get_args(ResizeRule))
        _check_choice("interpolation", self.interpolation, get_args(Interpolation))
        fraction = self.crop_fraction
        if not _is_finite(fraction) or not 0 < fraction <= 1:
            raise ValueError(f"crop_fraction must be above 0 and at most 1, got {fraction!r}")
        if not isinstance(self.antialias, bool):
            raise ValueError(f"antialias must be true or false, got {self.antialias!r}")

    def crop(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Resize and crop an RGB image: (H, W, 3) -> (*image_size, 3), both uint8.

        Resizes the whole image and crops it, as torchvision does. For very elongated images, where
        this would exhaust memory, only the crop is resized; values differ by at most 2 of 255.
        Without `antialias`, only the crop is computed, with the same values.
        """
        height, width = self.image_size
        if not self.antialias and self.resize == "squash":
            left, top, right, bottom = map(int, self.source_box(*image.shape[:2]))
            part = image[top:bottom, left:right]
            return resized_pixels(part, self.image_size, self.interpolation)
        whole_height, whole_width = self.whole_size(*image.shape[:2])
        top, left = round((whole_height - height) / 2), round((whole_width - width) / 2)
        inner = left, top, left + width, top + height
        if not self.antialias:
            return resized_pixels(image, (whole_height, whole_width), self.interpolation, inner)
        if self.resize == "squash" or whole_height * whole_width > MAXIMUM_WHOLE * height * width:
            box = self.source_box(*image.shape[:2])
            return resized_part(image, box, self.image_size, self.interpolation)
        filtered = FILTERS[self.interpolation]
        whole = Image.fromarray(image).resize((whole_width, whole_height), filtered)
        return np.array(whole.crop(inner))

    def source_box(self, height: int, width: int) -> Region:
        """Return the part of an image of this size that the network sees."""
        if self.resize == "squash":
            trimmed_left = int((width - width * self.crop_fraction) / 2)
            trimmed_top = int((height - height * self.crop_fraction) / 2)
            return (trimmed_left, trimmed_top, width - trimmed_left, height - trimmed_top)
        scaled_height, scaled_width = self.whole_size(height, width)
        top, bottom = _center(height, scaled_height, self.image_size[0])
        left, right = _center(width, scaled_width, self.image_size[1])
        return (left, top, right, bottom)

    def whole_size(self, height: int, width: int) -> tuple[int, int]:
        """Return the height and width of the whole resized image, rounded as in timm."""
        target_height, target_width = self._covered_size()
        if self.resize == "squash":
            return target_height, target_width
        if target_height == target_width:
            return scaled_size(height, width, target_height)
        ratio = min(height / target_height, width / target_width)
        return round(height / ratio), round(width / ratio)

    @property
    def needed_side(self) -> int:
        """Smallest shorter side, in pixels, that is never enlarged, for any aspect."""
        return max(self._covered_size())

    def _covered_size(self) -> tuple[int, int]:
        height, width = self.image_size
        return math.floor(height / self.crop_fraction), math.floor(width / self.crop_fraction)

    def as_dict(self) -> dict[str, Any]:
        """Return the attributes as JSON values, by name."""
        fields = dataclasses.asdict(self)
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in fields.items()
        }

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Preprocessing:
        """Create from the result of `as_dict`; all fields are required.

        Raises:
            ValueError: a field is missing, unknown, of the wrong type or out of range.
        """
        names = [field.name for field in dataclasses.fields(cls)]
        if not isinstance(fields, Mapping) or set(fields) != set(names):
            raise ValueError(f"preprocessing must have the fields {', '.join(names)}, got {fields}")
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in fields.items()
        }
        return cls(**values)

    def in_words(self) -> list[str]:
        """Describe the preprocessing: one sentence on resizing, one on pixel values."""
        size = "x".join(map(str, self.image_size))
        how = self.interpolation if self.antialias else f"{self.interpolation}, not antialiased"
        black = [-mean / std for mean, std in zip(self.mean, self.std, strict=True)]
        white = [(1 - mean) / std for mean, std in zip(self.mean, self.std, strict=True)]
        return [
            self._resizing_in_words(size, how),
            f"Pixel values 0 and 255 become {_channels(black)} and {_channels(white)}.",
        ]

    def _resizing_in_words(self, size: str, how: str) -> str:
        if self.resize == "squash":
            kept = f"The central {self.crop_fraction * 100:g} % of each side"
            return f"{kept} is resized to {size} ({how}), ignoring its aspect."
        height, width = self._covered_size()
        if height == width:
            scaled = f"The shorter side is resized to {height} pixels ({how})"
        else:
            scaled = f"The image is resized to just cover {height}x{width} ({how})"
        return f"{scaled}, then the central {size} is cropped."


def scaled_size(height: int, width: int, shorter_side: int) -> tuple[int, int]:
    """Return height and width scaled so that the shorter side has `shorter_side` pixels.

    The other side is rounded down, as in torchvision and timm.
    """
    if width <= height:
        return int(shorter_side * height / width), shorter_side
    return shorter_side, int(shorter_side * width / height)


def resized_part(
    image: NDArray[np.uint8], box: Region, size: tuple[int, int], interpolation: Interpolation
) -> NDArray[np.uint8]:
    """Resize a box of an image (H, W, 3) to `size` (height, width) without a larger copy."""
    height, width = size
    left, top, right, bottom = box
    # The filter reads beyond the box: bicubic, two pixels of the coarser grid.
    beyond = math.ceil(2 * max(1, (bottom - top) / height)) + 1
    first = max(0, math.floor(top) - beyond)
    rows = Image.fromarray(image[first : math.ceil(bottom) + beyond])
    top, bottom = top - first, bottom - first
    # Horizontal, then vertical, as Pillow did before version 13 and mostly does. The order matters
    # where the first pass clips. If left to Pillow, it would depend on the size of the crop.
    passes = [
        ((width, rows.height), (left, 0, right, rows.height)),
        ((width, height), (0, top, width, bottom)),
    ]
    if right - left < width and bottom - top > height:  # `squash` only: less intermediate data
        passes = [
            ((rows.width, height), (0, top, rows.width, bottom)),
            ((width, height), (left, 0, right, height)),
        ]
    for size, box in passes:
        rows = rows.resize(size, FILTERS[interpolation], box)
    return np.array(rows)


def _center(length: int, scaled: int, cropped: int) -> tuple[float, float]:
    """Return the edges, in source pixels, of the central `cropped` of `scaled` pixels."""
    first = round((scaled - cropped) / 2)
    scale = length / scaled
    return first * scale, min((first + cropped) * scale, length)


def _channels(values: list[float]) -> str:
    """Format one number if red, green and blue agree, else three."""
    shown = [f"{value + 0:.4g}" for value in values]
    return shown[0] if len(set(shown)) == 1 else f"({', '.join(shown)})"


def _check(name: str, values: Any, length: int, rule: str, holds: Callable[[Any], bool]) -> None:
    if not isinstance(values, tuple) or len(values) != length or not all(map(holds, values)):
        raise ValueError(f"{name} must be {length} {rule}, got {values!r}")


def _check_choice(name: str, value: Any, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name} must be {' or '.join(choices)}, got {value!r}")


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _is_finite(value: Any) -> bool:
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and -math.inf < value < math.inf
    )
