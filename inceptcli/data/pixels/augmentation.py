"""What happens to training images: crop, mirror image, color, erasing, mixing; by torchvision."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate
from torchvision.transforms import v2

from inceptcli.data.pixels.distortion import Distortion

Transform = Callable[[Tensor], Tensor]

GRAY = 127
"""What erases: the middle of the pixel values, near 0 for the network."""

ATTEMPTS = 10
"""At a crop that fits into the image."""

COLORS = ("brightness", "contrast", "saturation", "hue")
"""In the order in which torchvision numbers them."""

LUMA = torch.tensor([0.2989, 0.587, 0.114])
"""The shares of red, green and blue in torchvision's gray."""


@dataclass(frozen=True)
class Augmentation:
    """How training images are varied; `training_transform` says what the fields do."""

    style: Literal["usual", "authors"]
    crop_area: Sequence[float]
    crop_aspect: Sequence[float]
    mirror: float
    brightness: float
    contrast: float
    saturation: float
    hue: float
    policy: Literal["none", "randaugment", "trivialaugment"]
    policy_operations: int
    policy_magnitude: int
    erasing: float


@dataclass(frozen=True)
class RandomCrop:
    """Image (3, H, W) -> (3, *image_size): a random part, resized.

    As torchvision's RandomResizedCrop for images whose channels lie together, as decoders write
    them: they stay together, and torch resizes such ones in a third of the time.
    """

    image_size: tuple[int, int]
    area: Sequence[float]
    aspect: Sequence[float]

    def __call__(self, image: Tensor) -> Tensor:
        """A part of `box`."""
        top, left, height, width = self.box(*image.shape[1:])
        part = image[:, top : top + height, left : left + width]
        together = part.permute(1, 2, 0)[None].contiguous().permute(0, 3, 1, 2)
        return interpolate(together, self.image_size, mode="bilinear", antialias=True)[0]

    def box(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Top, left, height and width of a part of an image, in pixels.

        Its share of the area is uniform, the logarithm of its aspect (width / height) as well. Ten
        tries; if none fits, the largest part in the middle whose aspect is allowed.
        """
        (least, most), logarithms = self.area, [math.log(aspect) for aspect in self.aspect]
        for share, exponent, down, across in torch.rand(ATTEMPTS, 4).tolist():
            pixels = height * width * (least + share * (most - least))
            aspect = math.exp(logarithms[0] + exponent * (logarithms[1] - logarithms[0]))
            high, wide = round(math.sqrt(pixels / aspect)), round(math.sqrt(pixels * aspect))
            if 0 < high <= height and 0 < wide <= width:
                return int(down * (height - high + 1)), int(across * (width - wide + 1)), high, wide
        aspect = min(max(width / height, self.aspect[0]), self.aspect[1])
        high, wide = min(height, round(width / aspect)), min(width, round(height * aspect))
        return (height - high) // 2, (width - wide) // 2, high, wide


@dataclass(frozen=True)
class Mirror:
    """An image (3, H, W) or, with this probability, its mirror image."""

    probability: float

    def __call__(self, image: Tensor) -> Tensor:
        """One of the two."""
        return image.flip(-1) if torch.rand(()).item() < self.probability else image


class ColorJitter(v2.ColorJitter):  # type: ignore[misc]
    """ColorJitter of floats with torchvision's draws and figures, in half its time.

    It works in place on one plane after the other and rounds once, to the nearest value. Images are
    (3, H, W), uint8; their channels lie together afterwards.
    """

    def forward(self, image: Tensor) -> Tensor:
        """The image in other colors."""
        return self.transform(image, self.make_params([image]))

    def transform(self, image: Tensor, params: dict[str, Any]) -> Tensor:
        """The image in the colors that `params` say."""
        pixels = torch.empty(image.shape).copy_(image)
        for place in params["fn_idx"].tolist():
            color = COLORS[place]
            factor = params[f"{color}_factor"]
            if factor is not None:
                pixels = _colored(pixels, color, factor)
                if factor > 1:  # a smaller one leaves no range
                    pixels.clamp_(0, 255)
        planes = pixels.add_(0.5).numpy().astype(np.uint8)
        return torch.from_numpy(np.stack([*planes], axis=2)).permute(2, 0, 1)


def _colored(pixels: Tensor, color: str, factor: float) -> Tensor:
    if color == "hue":
        turned: Tensor = v2.functional.adjust_hue(pixels.div_(255), factor)
        return turned.mul_(255)
    if color == "brightness":
        return pixels.mul_(factor)
    # Contrast is the distance from the mean gray, saturation from each pixel's own.
    if color == "contrast":
        gray = LUMA @ pixels.mean(dim=(1, 2))
    else:
        gray = (LUMA @ pixels.flatten(1)).view_as(pixels[0])
    return pixels.lerp_(gray, 1 - factor)


def training_transform(image_size: tuple[int, int], chosen: Augmentation) -> Transform:
    """Image (3, H, W) uint8 -> (3, *image_size) uint8, drawing from torch's default generator.

    A crop of a random share of the area and a random aspect (width / height) is resized to the
    network's input; `mirror` is the probability of the mirror image; colors change by up to the
    given share. RandAugment applies `policy_operations` of strength `policy_magnitude` (of 30),
    TrivialAugment one of any; `erasing` is the probability that a rectangle (2 to 33 % of the area)
    becomes gray.
    """
    colors = (chosen.brightness, chosen.contrast, chosen.saturation, chosen.hue)
    steps: list[Transform] = []
    if chosen.style == "authors":
        steps = [
            Distortion(image_size, chosen.crop_area, chosen.crop_aspect, chosen.mirror, *colors)
        ]
    else:
        steps = [
            RandomCrop(image_size, chosen.crop_area, chosen.crop_aspect),
            Mirror(chosen.mirror),
        ]
        if any(colors):
            steps.append(ColorJitter(*colors))
    if chosen.policy == "randaugment":
        steps.append(v2.RandAugment(chosen.policy_operations, chosen.policy_magnitude))
    if chosen.policy == "trivialaugment":
        steps.append(v2.TrivialAugmentWide())
    if chosen.erasing:
        steps.append(v2.RandomErasing(chosen.erasing, value=GRAY))

    def transform(image: Tensor) -> Tensor:
        for step in steps:
            image = step(image)
        return image

    return transform


def mixing(mixup: float, cutmix: float, num_classes: int) -> v2.Transform | None:
    """MixUp and CutMix of these alphas, each batch one of them; None when both are 0.

    Images (N, C, H, W) and labels (N,) become mixed images and shares of classes (N, num_classes).
    """
    chosen: list[v2.Transform] = []
    if mixup:
        chosen.append(v2.MixUp(alpha=mixup, num_classes=num_classes))
    if cutmix:
        chosen.append(v2.CutMix(alpha=cutmix, num_classes=num_classes))
    return v2.RandomChoice(chosen) if chosen else None


def augment(transform: Transform, image: Tensor, seed: int) -> Tensor:
    """`transform(image)`, random by `seed` alone; the default generator stays as it was."""
    state = torch.default_generator.get_state()
    torch.default_generator.manual_seed(seed)
    try:
        return transform(image)
    finally:
        torch.default_generator.set_state(state)
