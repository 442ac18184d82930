"""The authors' distortion of a training image, as TF-slim's inception_preprocessing has it.

Its slow mode: crop, one of four resize methods, mirror, colors in one of four orders. Everything
random comes from torch's default generator.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import interpolate

MAXIMUM_ATTEMPTS = 100
"""At a crop; then the whole image is taken."""

RESIZE_METHODS = ("bilinear", "nearest", "bicubic", "area")

COLOR_ORDERS = (
    ("brightness", "saturation", "hue", "contrast"),
    ("saturation", "brightness", "contrast", "hue"),
    ("contrast", "hue", "brightness", "saturation"),
    ("hue", "saturation", "contrast", "brightness"),
)


@dataclass(frozen=True)
class Distortion:
    """Image (3, H, W) uint8 -> (3, *image_size) uint8.

    `crop_area` and `crop_aspect` (width / height) are ranges, `mirror` is a probability, and each
    color changes by up to its share: brightness is added, saturation and contrast are factors
    around 1, hue turns by that part of the circle. Differs from TF-slim: pixels are sampled at
    their centers, as TensorFlow 2 does it.
    """

    image_size: tuple[int, int]
    crop_area: Sequence[float]
    crop_aspect: Sequence[float]
    mirror: float
    brightness: float
    contrast: float
    saturation: float
    hue: float

    def __call__(self, image: Tensor) -> Tensor:
        """Another view of the same thing."""
        height, width = image.shape[1:]
        top, left, box_height, box_width = random_window(
            height, width, self.crop_area, self.crop_aspect
        )
        crop = image[:, top : top + box_height, left : left + box_width]
        method = RESIZE_METHODS[random_below(len(RESIZE_METHODS))]
        pixels = interpolate(crop[None].float() / 255, self.image_size, mode=method)[0]
        if between(0, 1) < self.mirror:
            pixels = pixels.flip(2)
        for color in COLOR_ORDERS[random_below(len(COLOR_ORDERS))]:
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
    """Top, left, height, width of a random part, as by TF's sample_distorted_bounding_box.

    The aspect is uniform, then the height among those that keep the area in its range; differs
    from TF-slim: there are no annotated boxes, of which it has to cover a tenth.
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
    if box_height * round(box_height * aspect) < smallest:  # rounding may have taken a row
        box_height += 1
    if box_height * round(box_height * aspect) > largest:
        box_height -= 1
    box_width = round(box_height * aspect)
    fits = 0 < box_height <= height and 0 < box_width <= width
    return (
        (box_height, box_width) if fits and smallest <= box_height * box_width <= largest else None
    )


def turn_hue(pixels: Tensor, turn: float) -> Tensor:
    """RGB (3, H, W) with the hue turned by a part of the circle; value and chroma stay."""
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
    """RGB (3, H, W) with HSV's saturation multiplied, at most to 1; hue and value stay."""
    largest = pixels.amax(0)
    chroma = largest - pixels.amin(0)
    most = largest.clamp(min=0) / chroma.where(chroma > 0, 1)
    return largest - (largest - pixels) * most.clamp(max=factor)


def scale_contrast(pixels: Tensor, factor: float) -> Tensor:
    """RGB (3, H, W) with each channel's distance from its mean multiplied."""
    mean = pixels.mean(dim=(1, 2), keepdim=True)
    return (pixels - mean) * factor + mean


def between(low: float, high: float) -> float:
    """A uniform random number."""
    return low + (high - low) * float(torch.rand(()))


def random_below(count: int) -> int:
    """A uniform random one of 0 to count - 1."""
    return int(torch.randint(count, ()))
