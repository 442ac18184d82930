"""Folding of batch norms into convolutions, for inference."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from inceptcli.networks.torch_modules import ConvModule


@torch.no_grad()
def fold_batch_norm(network: nn.Module) -> None:
    """Fold each batch norm into the preceding convolution; exact up to float32 rounding.

    `network` must be in evaluation mode. It computes the same logits faster, but can no longer be
    trained. Do not save it: its state-dict keys change.
    """
    for module in network.modules():
        if isinstance(module, ConvModule) and isinstance(module.batch_norm, nn.BatchNorm2d):
            module.conv = fuse_conv_bn_eval(module.conv, module.batch_norm)
            module.batch_norm = nn.Identity()
