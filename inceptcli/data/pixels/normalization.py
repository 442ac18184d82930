"""The one place where pixel values become what a network reads."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def normalize(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Pixel values of 0 to 255, uint8 (N, 3, H, W), to float32 (value / 255 - mean) / std.

    With mean and std 0.5, as these networks have it, 0 becomes -1 and 255 becomes 1. One mean alone
    means a network that reads gray images: the result is then (N, 1, H, W), their luma (ITU-R 601).
    The memory format (channels last or not) is kept, and the work is done where the images are.
    """
    pixels = images.to(torch.float32, copy=True)
    if len(mean) == 1:
        luma = _beside(images, torch.tensor([0.299, 0.587, 0.114])).view(1, 3, 1, 1)
        pixels = (pixels * luma).sum(dim=1, keepdim=True)
    if len({*mean}) == len({*std}) == 1:  # in place: new memory costs more than the sums
        return pixels.mul_(1 / (255 * std[0])).sub_(mean[0] / std[0])
    shape = (1, len(mean), 1, 1)
    scale = _beside(images, torch.tensor(std).mul(255).reciprocal()).view(shape)
    offset = _beside(images, torch.tensor(mean).div(torch.tensor(std))).view(shape)
    return torch.addcmul(-offset, pixels, scale)


def _beside(images: Tensor, constants: Tensor) -> Tensor:
    """`constants` where the images are; nothing waits for a GPU, as it would for other memory."""
    if images.device.type != "cuda":
        return constants.to(images.device)
    return constants.pin_memory().to(images.device, non_blocking=True)
