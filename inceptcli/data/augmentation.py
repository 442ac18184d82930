"""What happens to a training image: a random crop, a mirror image, colour; through torchvision."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.transforms import v2


def training_transform(
    image_size: tuple[int, int],
    crop_area: Sequence[float],
    crop_aspect: Sequence[float],
    mirror: float,
    brightness: float,
    contrast: float,
    saturation: float,
    hue: float,
) -> v2.Transform:
    """Image (3, H, W) uint8 -> (3, *image_size) uint8, drawing from torch's default generator.

    A crop of a random share of the area and a random aspect is resized to the network's input
    (bilinear); `mirror` is the probability of the mirror image; colours change by up to the given
    share.
    """
    steps: list[v2.Transform] = [
        v2.RandomResizedCrop(
            image_size, scale=tuple(crop_area), ratio=tuple(crop_aspect), antialias=True
        ),
        v2.RandomHorizontalFlip(mirror),
    ]
    if any((brightness, contrast, saturation, hue)):
        steps.append(v2.ColorJitter(brightness, contrast, saturation, hue))
    return v2.Compose(steps)


def augment(transform: v2.Transform, image: Tensor, seed: int) -> Tensor:
    """`transform(image)`, random by `seed` alone; the default generator stays as it was."""
    state = torch.default_generator.get_state()
    torch.default_generator.manual_seed(seed)
    try:
        augmented: Tensor = transform(image)
    finally:
        torch.default_generator.set_state(state)
    return augmented
