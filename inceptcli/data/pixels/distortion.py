"""The authors' distortion of training images, as in TF-slim's inception_preprocessing.

Crop, one of four resize methods, flip, colors in one of four orders; its fast mode has one method
and two colors. Random numbers come from torch's default generator.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from inceptcli.data.pixels.tensorflow_resizing import ResizeMethod, resized

MAXIMUM_ATTEMPTS = 100
"""Attempts at a random crop before the whole image is used."""

RESIZE_METHODS: tuple[ResizeMethod, ...] = ("bilinear", "nearest", "bicubic", "area")

COLOR_ORDERS = (
    ("brightness", "saturation", "hue", "contrast"),
    ("saturation", "brightness", "contrast", "hue"),
    ("contrast", "hue", "brightness", "saturation"),
    ("hue", "saturation", "contrast", "brightness"),
)

FAST_COLOR_ORDERS = (
    ("brightness", "saturation"),
    ("saturation", "brightness"),
    ("saturation", "brightness"),
    ("saturation", "brightness"),
)


@dataclass(frozen=True)
class Distortion:
    """Randomly distort an image: (3, H, W) uint8 -> (3, *image_size) uint8.

    Attributes:
        image_size: Height and width of the result, pixels.
        crop_area: Range of a crop's share of the area.
        crop_aspect: Range of a crop's aspect (width / height).
        mirror: Probability of a horizontal flip.
        brightness: Largest value added to or subtracted from all pixels, which are in [0, 1].
        contrast: Largest difference of the factor from 1.
        saturation: Largest difference of the factor from 1.
        hue: Largest rotation either way, as a fraction of the color circle.
        fast_mode: Resize bilinearly and change only brightness and saturation.
    """

    image_size: tuple[int, int]
    crop_area: Sequence[float]
    crop_aspect: Sequence[float]
    mirror: float
    brightness: float
    contrast: float
    saturation: float
    hue: float
    fast_mode: bool = False

    def __call__(self, image: Tensor) -> Tensor:
        """Return a random distortion of the image."""
        height, width = image.shape[1:]
        top, left, box_height, box_width = random_window(
            height, width, self.crop_area, self.crop_aspect
        )
        crop = image[:, top : top + box_height, left : left + box_width]
        method = "bilinear" if self.fast_mode else RESIZE_METHODS[random_below(4)]
        found = resized(crop.permute(1, 2, 0).numpy(), self.image_size, method)
        pixels = torch.from_numpy(found).permute(2, 0, 1).contiguous().div_(255)
        if between(0, 1) < self.mirror:
            pixels = pixels.flip(2)
        orders = FAST_COLOR_ORDERS if self.fast_mode else COLOR_ORDERS
        for color in orders[random_below(len(orders))]:
            pixels = self._changed(pixels, color)
        return pixels.clamp(0, 1).mul(255).round().to(torch.uint8)

    def _changed(self, pixels: Tensor, color: str) -> Tensor:
        most = getattr(self, color)
        if not most:
            return pixels
        if color == "brightness":
            return pixels + between(-most, most)
        if color == "hue":
            return turn_hue(pixels, between(-most, most))
        change: Callable[[Tensor, float], Tensor]
        change = scale_saturation if color == "saturation" else scale_contrast
        return change(pixels, between(1 - most, 1 + most))


def random_window(
    height: int, width: int, area: Sequence[float], aspect: Sequence[float]
) -> tuple[int, int, int, int]:
    """Return top, left, height, width of a random crop, as TF's sample_distorted_bounding_box.

    Samples the aspect uniformly, then a height that keeps the area in its range.
    Differs from TF-slim: there are no annotated boxes of which the crop must cover a tenth.
    """
    for _ in range(MAXIMUM_ATTEMPTS):
        size = _random_size(height, width, area, between(*aspect))
        if size is not None:
            top, left = (
                random_below(max(1, whole - part))
                for whole, part in zip((height, width), size, strict=True)
            )
            return top, left, *size
    return 0, 0, height, width


def _random_size(
    height: int, width: int, area: Sequence[float], aspect: float
) -> tuple[int, int] | None:
    smallest, largest = (share * height * width for share in area)
    tallest = min(round((largest / aspect) ** 0.5), height, int((width + 0.5) / aspect))
    low = min(round((smallest / aspect) ** 0.5), tallest)
    box_height = low + random_below(tallest - low + 1)
    if box_height * round(box_height * aspect) < smallest:  # rounding may lose a row
        box_height += 1
    if box_height * round(box_height * aspect) > largest:
        box_height -= 1
    box_width = round(box_height * aspect)
    fits = 0 < box_height <= height and 0 < box_width <= width
    return (
        (box_height, box_width) if fits and smallest <= box_height * box_width <= largest else None
    )


def turn_hue(pixels: Tensor, turn: float) -> Tensor:
    """Rotate the hue of RGB (3, H, W) by a fraction of the circle; keep value and chroma."""
    red, green, blue = pixels
    largest, smallest = pixels.amax(0), pixels.amin(0)
    chroma = largest - smallest
    divisor = chroma.where(chroma > 0, 1)
    sixths = torch.where(
        largest == red,
        (green - blue) / divisor,
        torch.where(largest == green, 2 + (blue - red) / divisor, 4 + (red - green) / divisor),
    )
    offsets = torch.tensor([0.0, 4.0, 2.0]).view(3, 1, 1)
    share = ((sixths + 6 * turn + offsets) % 6 - 3).abs().sub(1).clamp(0, 1)
    return smallest + chroma * share


def scale_saturation(pixels: Tensor, factor: float) -> Tensor:
    """Multiply the HSV saturation of RGB (3, H, W), at most to 1; keep hue and value."""
    largest = pixels.amax(0)
    chroma = largest - pixels.amin(0)
    most = largest.clamp(min=0) / chroma.where(chroma > 0, 1)
    return largest - (largest - pixels) * most.clamp(max=factor)


def scale_contrast(pixels: Tensor, factor: float) -> Tensor:
    """Multiply each channel's distance from its mean in RGB (3, H, W)."""
    mean = pixels.mean(dim=(1, 2), keepdim=True)
    return (pixels - mean) * factor + mean


def between(low: float, high: float) -> float:
    """Return a uniform random number from `low` to `high`."""
    return low + (high - low) * float(torch.rand(()))


def random_below(count: int) -> int:
    """Return a uniform random integer from 0 to count - 1."""
    return int(torch.randint(count, ()))
