"""The one place where pixel values become what a network reads."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def normalize(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Pixel values of 0 to 255, uint8 (N, 3, H, W), to float32 (value / 255 - mean) / std.

    With mean and std 0.5, as these networks have it, 0 becomes -1 and 255 becomes 1.
    The memory format (channels last or not) is kept, and the work is done where the images are.
    """
    shape = (1, len(mean), 1, 1)
    scale = torch.tensor(std, device=images.device).mul(255).reciprocal().view(shape)
    offset = torch.tensor(mean, device=images.device).div(torch.tensor(std).to(images.device))
    return torch.addcmul(-offset.view(shape), images.float(), scale)
