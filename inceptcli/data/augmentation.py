"""What happens to training images: crop, mirror image, colour, erasing, mixing; by torchvision."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torchvision.transforms import v2

from inceptcli.data.distortion import Distortion

Transform = Callable[[Tensor], Tensor]

GREY = 127
"""What erases: the middle of the pixel values, near 0 for the network."""


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


class RandomCrop(v2.RandomResizedCrop):  # type: ignore[misc]  # torchvision has no types
    """RandomResizedCrop for images whose channels lie together, as decoders write them.

    They stay together, and torch resizes such ones in a third of the time.
    """

    def transform(self, image: Tensor, params: dict[str, int]) -> Tensor:
        """The part (3, H, W) that `params` say, uint8 or float -> (3, *size)."""
        part = v2.functional.crop(image, **params).permute(1, 2, 0)[None].contiguous()
        resized: Tensor = v2.functional.resize(
            part.permute(0, 3, 1, 2), self.size, self.interpolation, antialias=self.antialias
        )
        return resized[0]


def training_transform(image_size: tuple[int, int], chosen: Augmentation) -> Transform:
    """Image (3, H, W) uint8 -> (3, *image_size) uint8, drawing from torch's default generator.

    A crop of a random share of the area and a random aspect (width / height) is resized to the
    network's input; `mirror` is the probability of the mirror image; colours change by up to the
    given share. RandAugment applies `policy_operations` of strength `policy_magnitude` (of 30),
    TrivialAugment one of any; `erasing` is the probability that a rectangle (2 to 33 % of the area)
    becomes grey.
    """
    colours = (chosen.brightness, chosen.contrast, chosen.saturation, chosen.hue)
    steps: list[Transform] = []
    if chosen.style == "authors":
        steps = [
            Distortion(image_size, chosen.crop_area, chosen.crop_aspect, chosen.mirror, *colours)
        ]
    else:
        area, aspect = tuple(chosen.crop_area), tuple(chosen.crop_aspect)
        steps = [
            RandomCrop(image_size, scale=area, ratio=aspect, antialias=True),
            v2.RandomHorizontalFlip(chosen.mirror),
        ]
        if any(colours):  # of bytes it takes twice as long, and rounds after every change
            steps += [
                torch.Tensor.contiguous,
                v2.ToDtype(torch.float32, scale=True),
                v2.ColorJitter(*colours),
                v2.ToDtype(torch.uint8, scale=True),
            ]
    if chosen.policy == "randaugment":
        steps.append(v2.RandAugment(chosen.policy_operations, chosen.policy_magnitude))
    if chosen.policy == "trivialaugment":
        steps.append(v2.TrivialAugmentWide())
    if chosen.erasing:
        steps.append(v2.RandomErasing(chosen.erasing, value=GREY))
    composed: Transform = v2.Compose(steps)
    return composed


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
