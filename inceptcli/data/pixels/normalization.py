"""Normalize pixel values for a network."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def normalize(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Return (value / 255 - mean) / std as float32 for images (N, 3, H, W), uint8.

    With the usual mean and std of 0.5, 0 becomes -1 and 255 becomes 1. A single mean stands for a
    network with gray input: the result is the luma (ITU-R 601), (N, 1, H, W). Keeps the memory
    format and the device of the images.
    """
    pixels = images.to(torch.float32, copy=True)
    if len(mean) == 1:
        luma = _beside(images, torch.tensor([0.299, 0.587, 0.114])).view(1, 3, 1, 1)
        pixels = (pixels * luma).sum(dim=1, keepdim=True)
    if len({*mean}) == len({*std}) == 1:  # in place: allocation costs more than the arithmetic
        return pixels.mul_(1 / (255 * std[0])).sub_(mean[0] / std[0])
    shape = (1, len(mean), 1, 1)
    scale = _beside(images, torch.tensor(std).mul(255).reciprocal()).view(shape)
    offset = _beside(images, torch.tensor(mean).div(torch.tensor(std))).view(shape)
    return torch.addcmul(-offset, pixels, scale)


def _beside(images: Tensor, constants: Tensor) -> Tensor:
    """Return `constants` on the images' device, copied from pinned memory without waiting."""
    if images.device.type != "cuda":
        return constants.to(images.device)
    return constants.pin_memory().to(images.device, non_blocking=True)
