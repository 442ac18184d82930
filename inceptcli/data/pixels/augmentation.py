"""Augment training images: crop, flip, color, policies, erasing and mixing. Uses torchvision."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate
from torchvision.transforms import v2

from inceptcli.data.pixels.distortion import Distortion
from inceptcli.data.pixels.preprocessing import Preprocessing
from inceptcli.data.pixels.tensorflow_resizing import resized_pixels

Transform = Callable[[Tensor], Tensor]

GRAY = 127
"""Fill value of erased rectangles: mid-range, near 0 after normalization."""

ATTEMPTS = 10
"""Attempts at a random crop that fits into the image."""


@dataclass(frozen=True)
class Augmentation:
    """Settings of training augmentation; `training_transform` describes the fields."""

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
    fast_mode: bool = False


@dataclass(frozen=True)
class RandomCrop:
    """Random crop resized to the input: (3, H, W) -> (3, *image_size).

    Like torchvision's RandomResizedCrop, but keeps images channels last in memory, as decoders
    return them: torch resizes these in a third of the time. Without `antialias`, pixels are sampled
    as in `Preprocessing`.
    """

    image_size: tuple[int, int]
    area: Sequence[float]
    aspect: Sequence[float]
    antialias: bool = True

    def __call__(self, image: Tensor) -> Tensor:
        """Return a random crop of the image, resized."""
        top, left, height, width = self.box(*image.shape[1:])
        part = image[:, top : top + height, left : left + width]
        if not self.antialias:
            found = resized_pixels(part.permute(1, 2, 0).numpy(), self.image_size, "bilinear")
            return torch.from_numpy(found).permute(2, 0, 1)
        together = part.permute(1, 2, 0)[None].contiguous().permute(0, 3, 1, 2)
        return interpolate(together, self.image_size, mode="bilinear", antialias=True)[0]

    def box(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Return top, left, height and width of a random crop, in pixels.

        Samples the share of the area and the logarithm of the aspect (width / height) uniformly.
        If none of ten samples fits, returns the largest center crop of an allowed aspect.
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
    """Flip an image (3, H, W) horizontally with the given probability."""

    probability: float

    def __call__(self, image: Tensor) -> Tensor:
        """Return the image or its mirror image."""
        return image.flip(-1) if torch.rand(()).item() < self.probability else image


def training_transform(
    image_size: tuple[int, int], chosen: Augmentation, antialias: bool = True
) -> Transform:
    """Return the training transform: (3, H, W) uint8 -> (3, *image_size) uint8.

    The transform draws from torch's default generator. `antialias` is for the usual style. The
    fields of `chosen`:

    - `style`: "usual" for the steps below, "authors" for TF-slim's (see `Distortion`).
    - `crop_area`, `crop_aspect`: ranges of a random crop's share of the area and its aspect
      (width / height); the crop is resized to the network's input.
    - `mirror`: probability of a horizontal flip.
    - `brightness`, `contrast`, `saturation`, `hue`: largest relative change of each.
    - `policy`: RandAugment applies `policy_operations` of strength `policy_magnitude` (0 to 30),
      TrivialAugment one of random strength.
    - `erasing`: probability that a rectangle (2 to 33 % of the area) becomes gray.
    - `fast_mode`: see `Distortion`.
    """
    colors = (chosen.brightness, chosen.contrast, chosen.saturation, chosen.hue)
    steps: list[Transform] = []
    if chosen.style == "authors":
        steps = [
            Distortion(
                image_size, chosen.crop_area, chosen.crop_aspect, chosen.mirror, *colors,
                chosen.fast_mode,
            )
        ]  # fmt: skip
    else:
        steps = [
            RandomCrop(image_size, chosen.crop_area, chosen.crop_aspect, antialias),
            Mirror(chosen.mirror),
        ]
        if any(colors):
            steps.append(v2.ColorJitter(*colors))
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


def unaugmented(preprocessing: Preprocessing) -> Transform:
    """Return the transform of `augmentation.style: none`, the crop of validation."""
    return lambda image: evaluation_crop(preprocessing, image.permute(1, 2, 0).numpy())


def evaluation_crop(preprocessing: Preprocessing, image: NDArray[np.uint8]) -> Tensor:
    """Crop an image (H, W, 3) as in `predict` and `eval`: (3, *image_size) uint8."""
    return torch.from_numpy(preprocessing.crop(image)).permute(2, 0, 1)


def mixing(mixup: float, cutmix: float, num_classes: int) -> v2.Transform | None:
    """Return MixUp, CutMix or a random choice of one per batch; None if both alphas are 0.

    Maps images (N, C, H, W) and labels (N,) to mixed images and soft labels (N, num_classes).
    """
    chosen: list[v2.Transform] = []
    if mixup:
        chosen.append(v2.MixUp(alpha=mixup, num_classes=num_classes))
    if cutmix:
        chosen.append(v2.CutMix(alpha=cutmix, num_classes=num_classes))
    return v2.RandomChoice(chosen) if chosen else None


def augment(transform: Transform, image: Tensor, seed: int) -> Tensor:
    """Return `transform(image)` with randomness from `seed`; keep the default generator's state."""
    state = torch.default_generator.get_state()
    torch.default_generator.manual_seed(seed)
    try:
        return transform(image)
    finally:
        torch.default_generator.set_state(state)
