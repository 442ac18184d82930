"""Batch norm folded into convolutions, for networks that only answer."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

PAIRS = (("conv", "batch_norm"), ("conv", "bn"))
"""Names of a convolution and of what normalises its output: of our boxes, of torchvision's."""


@torch.no_grad()
def fold_batch_norm(network: nn.Module) -> None:
    """Multiply each batch norm into the convolution before it; exact but for float32 rounding.

    `network`, in evaluation mode, gives the same logits sooner and cannot be trained any more. Its
    state dict changes, so that it is for what runs a network and not for what saves one.

    Merging sibling 1x1 convolutions gains nothing on a CPU (measured), and a residual's scale costs
    nothing: its sum is taken with it.
    """
    for module in network.modules():
        for conv_name, batch_norm_name in PAIRS:
            conv = getattr(module, conv_name, None)
            batch_norm = getattr(module, batch_norm_name, None)
            if isinstance(conv, nn.Conv2d) and type(batch_norm) is nn.BatchNorm2d:
                setattr(module, conv_name, fuse_conv_bn_eval(conv, batch_norm))
                setattr(module, batch_norm_name, nn.Identity())
