"""torch modules of the described figures. Shapes are (N, C, H, W).

In state-dict keys, lists of boxes are numbered from 0 and paths have the names given by the
figure's builder.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from inceptcli.networks.boxes import (
    AveragePool,
    Boxes,
    Conv,
    Fork,
    MaxPool,
    Residual,
    channels_after,
    joined_channels,
)
from inceptcli.networks.registry import Initialization, NetworkOptions


class ConvModule(nn.Module):
    """torch module of a Conv."""

    def __init__(self, in_channels: int, box: Conv, options: NetworkOptions) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            in_channels, box.channels, box.size, box.stride, box.padding, bias=False
        )
        self.batch_norm: nn.Module = batch_norm(box.channels, options)

    def forward(self, features: Tensor) -> Tensor:
        """Apply convolution, batch norm and ReLU: (N, C, H, W) -> (N, channels, H', W')."""
        return functional.relu(self.batch_norm(self.conv(features)), inplace=True)


class ForkModule(nn.Module):
    """torch module of a Fork."""

    def __init__(self, in_channels: int, fork: Fork, options: NetworkOptions) -> None:
        super().__init__()
        self.path_names = tuple(fork.paths)
        for name, path in fork.paths.items():
            self.add_module(name, module_of(path, in_channels, options))

    @property
    def paths(self) -> dict[str, nn.Module]:
        """The paths by name, in concatenation order."""
        return {name: self.get_submodule(name) for name in self.path_names}

    def forward(self, features: Tensor) -> Tensor:
        """Concatenate the paths: (N, C, H, W) -> (N, sum of the paths' channels, H', W')."""
        return torch.cat([path(features) for path in self.paths.values()], dim=1)


class ResidualModule(ForkModule):
    """torch module of a Residual."""

    def __init__(self, in_channels: int, residual: Residual, options: NetworkOptions) -> None:
        super().__init__(in_channels, residual, options)
        self.scale, self.activation = residual.scale, residual.activation
        self.shortcut = options.shortcut
        self.linear = nn.Conv2d(joined_channels(residual, in_channels), in_channels, 1)
        # Section 3.3 tried batch norm between the last sum and its ReLU against dying networks.
        self.sum_batch_norm = batch_norm(in_channels, options) if residual.batch_norm else None

    def forward(self, features: Tensor, activated: bool = True) -> Tensor:
        """Add the scaled residual; shape unchanged. Unless `activated`, leave out the ReLU."""
        residual = self.linear(super().forward(features))
        total = torch.add(features, residual, alpha=self.scale) if self.shortcut else residual
        if self.sum_batch_norm is not None:
            total = self.sum_batch_norm(total)
        return self.activate(total) if activated else total

    def activate(self, total: Tensor) -> Tensor:
        """Apply the ReLU in place; return the sum unchanged if the module has no ReLU."""
        return functional.relu(total, inplace=True) if self.activation else total


def module_of(boxes: Boxes, in_channels: int, options: NetworkOptions) -> nn.Module:
    """Build the torch module of `boxes` with torch's default initialization."""
    match boxes:
        case Conv():
            return ConvModule(in_channels, boxes, options)
        case MaxPool():
            return nn.MaxPool2d(boxes.size, boxes.stride, boxes.padding)
        case AveragePool():
            counted = options.count_padding
            return nn.AvgPool2d(boxes.size, boxes.stride, boxes.padding, count_include_pad=counted)
        case Residual():
            return ResidualModule(in_channels, boxes, options)
        case Fork():
            return ForkModule(in_channels, boxes, options)
    modules = []
    for box in boxes:
        modules.append(module_of(box, in_channels, options))
        in_channels = channels_after(box, in_channels)
    return nn.Sequential(*modules)


def batch_norm(
    width: int,
    options: NetworkOptions,
    kind: type[nn.BatchNorm1d | nn.BatchNorm2d] = nn.BatchNorm2d,
) -> nn.BatchNorm1d | nn.BatchNorm2d:
    """Build a batch norm with the network's epsilon and momentum.

    Without a trained scale, `weight` stays 1: files, folding and ONNX have it all the same.
    """
    norm = kind(width, options.batch_norm_eps, options.batch_norm_momentum)
    norm.weight.requires_grad_(options.batch_norm_scale)
    return norm


def regions(stage: nn.Module) -> list[nn.Module]:
    """Return the repeated modules of a stage in order, or the stage itself without repeats."""
    modules = list(stage.children()) if isinstance(stage, nn.Sequential) else []
    repeated = bool(modules) and all(isinstance(module, ForkModule) for module in modules)
    return modules if repeated else [stage]


def initialize(network: nn.Module, method: Initialization = "he") -> None:
    """Set initial weights; biases start at zero, batch norms at identity.

    "he" has variance 2 / fan-in before a ReLU, 1 / fan-in for linear layers. Weights are truncated
    normal, cut at two standard deviations, as by TensorFlow's variance_scaling_initializer.
    "xavier" is uniform with variance 2 / (fan-in + fan-out), as TF-slim's default for every layer
    and thus in its Inception-ResNet-v2. "he-xavier" is "he" for convolutions and "xavier" for the
    classifier, as in TF-slim's Inception-v4.
    """
    for module in network.modules():
        # Meta tensors have no values, and initializing them makes torch 2.11 import its compiler.
        if isinstance(module, nn.Conv2d | nn.Linear) and not module.weight.is_meta:
            if module.bias is not None:
                nn.init.zeros_(module.bias)
            if method == "xavier" or (method == "he-xavier" and isinstance(module, nn.Linear)):
                nn.init.xavier_uniform_(module.weight)
                continue
            before_relu = isinstance(module, nn.Conv2d) and module.bias is None
            variance = (2.0 if before_relu else 1.0) / module.weight[0].numel()
            # Truncation at two standard deviations reduces the deviation by a factor of 0.8796.
            deviation = variance**0.5 / 0.8796
            nn.init.trunc_normal_(module.weight, std=deviation, a=-2 * deviation, b=2 * deviation)
