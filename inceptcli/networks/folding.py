"""Batch norm folded into convolutions, for networks that only answer."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from inceptcli.networks.torch_modules import ConvModule


@torch.no_grad()
def fold_batch_norm(network: nn.Module) -> None:
    """Multiply each batch norm into the convolution before it; exact but for float32 rounding.

    `network`, in evaluation mode, gives the same logits sooner and cannot be trained any more. Its
    state dict changes, so that it is for what runs a network and not for what saves one.
    """
    for module in network.modules():
        if isinstance(module, ConvModule) and isinstance(module.batch_norm, nn.BatchNorm2d):
            module.conv = fuse_conv_bn_eval(module.conv, module.batch_norm)
            module.batch_norm = nn.Identity()
