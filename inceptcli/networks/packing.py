"""Weights of convolutions laid out as a CPU's kernels read them, for networks that only answer."""

from __future__ import annotations

import platform

import torch
from torch import Tensor, nn
from torch.nn import functional

from inceptcli.networks.blocks import ConvUnit


class PackedConvolution(nn.Module):
    """A convolution, `rectified` with its ReLU, that lays out its weights once, by its first input.

    nn.Conv2d does it at every call: with irv2-tf, 223 MB of weights for every image. These are
    oneDNN's operators as the code of torch.compile calls them
    (torch/_inductor/fx_passes/mkldnn_fusion.py); they have no gradient and no documentation.
    """

    def __init__(self, conv: nn.Conv2d, rectified: bool = False) -> None:
        super().__init__()
        self.rectified = rectified
        self.weight, self.bias = conv.weight.detach(), conv.bias
        assert isinstance(conv.padding, tuple)
        self.settings = conv.padding, conv.stride, conv.dilation, conv.groups

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, out_channels, H', W'); slowly where gradients are wanted."""
        weight, bias = self.weight, self.bias
        padding, stride, dilation, groups = self.settings
        if torch.is_grad_enabled():
            plain = weight.to_dense() if weight.is_mkldnn else weight
            found = functional.conv2d(features, plain, bias, stride, padding, dilation, groups)
            return functional.relu(found) if self.rectified else found
        if not weight.is_mkldnn:  # several threads may find it so, and do the same
            weight = self.weight = torch.ops.mkldnn._reorder_convolution_weight(
                weight, padding, stride, dilation, groups, features.shape
            )
        activation = "relu" if self.rectified else "none"
        convolved: Tensor = torch.ops.mkldnn._convolution_pointwise(
            features, weight, bias, padding, stride, dilation, groups, activation, [], ""
        )
        return convolved


def can_pack() -> bool:
    """Whether this is the kind of processor where it was measured, and torch has the operators."""
    return (
        platform.machine() in ("x86_64", "AMD64")
        and hasattr(torch.ops.mkldnn, "_reorder_convolution_weight")
        and hasattr(torch.ops.mkldnn, "_convolution_pointwise")
    )


def pack_convolutions(network: nn.Module) -> None:
    """Replace each convolution, with its ReLU where batch norm is folded; see PackedConvolution.

    `network`, in evaluation mode and float32 on a CPU, gives the same logits sooner, but for
    float32 rounding. Its state dict loses the weights.
    """
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, ConvUnit) and isinstance(child.batch_norm, nn.Identity):
                setattr(module, name, PackedConvolution(child.conv, rectified=True))
            elif isinstance(child, nn.Conv2d):
                setattr(module, name, PackedConvolution(child))
