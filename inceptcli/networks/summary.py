"""Sizes of a network by stage and by layer, on the meta device: no memory, no computing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from inceptcli.networks.blocks import Residual
from inceptcli.networks.registry import NETWORKS, NetworkOptions, build

Shape = tuple[int, ...]

REPEATED_STAGES = ("inception_a", "inception_b", "inception_c")
"""The stages that an option's `repeats` are for, in this order."""


@dataclass(frozen=True)
class LayerSummary:
    """One box of a figure: a convolution with its batch norm and ReLU, a Linear, a pool.

    `name` is the module's; shapes are (C, H, W) or (C,); only convolutions and linear layers count
    as multiply-adds.
    """

    name: str
    kind: str
    output_shape: Shape
    parameters: int
    multiply_adds: int


@dataclass(frozen=True)
class StageSummary:
    """One box of the overall figure, and `figure`, where it is drawn; sums over its layers.

    It holds `repeats` modules of one kind, which the names of its layers number from 0.
    """

    name: str
    figure: str
    repeats: int
    output_shape: Shape
    parameters: int
    multiply_adds: int
    layers: list[LayerSummary]


@dataclass(frozen=True)
class Summary:
    """A whole network at one image size (height, width); the stages sum to the totals."""

    name: str
    layout: str
    num_classes: int
    image_size: tuple[int, int]
    parameters: int
    multiply_adds: int
    stages: list[StageSummary]


def summarize(options: NetworkOptions, image_size: tuple[int, int]) -> Summary:
    """Count the network that `options` describe, for one image of (height, width) pixels.

    Raises:
        ValueError: an unknown network, or a side under 75 pixels.
    """
    with torch.device("meta"):
        network = build(options).eval()
        images = torch.empty(1, options.in_channels, *image_size)
    shapes: dict[str, Shape] = {}
    for name, module in network.named_modules():
        module.register_forward_hook(_note_shape(shapes, name))
    with torch.no_grad():
        network(images)
    sums = _residual_sums(network)
    last_stage = list(network.figures)[-1]
    shapes["average_pooling"] = shapes[last_stage][:1]  # the one box that is no module
    layers = [
        _layer(name, module, shapes[name], sums.get(name, ""))
        for name, module in _boxes("", network)
        if name in shapes  # torchvision's Inception-v3 has a pool that is not called
    ]
    repeats = dict(zip(REPEATED_STAGES, options.repeats or (), strict=False))
    stages = [
        _stage(name, figure, repeats.get(name, 1), shapes[name], layers)
        for name, figure in (network.figures | network.head_figures).items()
    ]
    return Summary(
        options.name,
        NETWORKS[options.name].layout,
        options.num_classes,
        image_size,
        sum(stage.parameters for stage in stages),
        sum(stage.multiply_adds for stage in stages),
        stages,
    )


def _note_shape(shapes: dict[str, Shape], name: str) -> Callable[[nn.Module, object, Tensor], None]:
    def note(_module: nn.Module, _inputs: object, output: Tensor) -> None:
        shapes[name] = tuple(output.shape[1:])

    return note


def _boxes(name: str, module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The innermost modules that hold nothing but layers of torch's own, with their names."""
    if not any(list(child.children()) for child in module.children()):
        yield name, module
        return
    for child_name, child in module.named_children():
        yield from _boxes(f"{name}.{child_name}".lstrip("."), child)


def _residual_sums(network: nn.Module) -> dict[str, str]:
    """How what leaves a Linear is added, by the Linear's name."""
    return {
        f"{name}.linear": (f", scale {module.scale:g}" if module.shortcut else ", no shortcut")
        + ("" if module.activation else ", no ReLU after the sum")
        for name, module in network.named_modules()
        if isinstance(module, Residual)
    }


def _stage(
    name: str, figure: str, repeats: int, shape: Shape, layers: list[LayerSummary]
) -> StageSummary:
    own = [layer for layer in layers if layer.name == name or layer.name.startswith(f"{name}.")]
    parameters = sum(layer.parameters for layer in own)
    return StageSummary(
        name, figure, repeats, shape, parameters, sum(layer.multiply_adds for layer in own), own
    )


def _layer(name: str, module: nn.Module, shape: Shape, remark: str) -> LayerSummary:
    positions = torch.Size(shape[1:]).numel()
    weights = sum(
        part.weight.numel() for part in module.modules() if isinstance(part, nn.Conv2d | nn.Linear)
    )
    parameters = sum(parameter.numel() for parameter in module.parameters())
    return LayerSummary(name, _kind(module) + remark, shape, parameters, weights * positions)


def _kind(module: nn.Module) -> str:
    """What the figures print in the box, in words."""
    layer = next(part for part in module.modules() if not list(part.children()))
    if isinstance(layer, nn.Conv2d):
        height, width = layer.kernel_size
        kind = f"{height}x{width} {'linear' if layer is module else 'conv'}"
        valid = layer.padding == (0, 0) and (height, width) != (1, 1)
        return (
            kind + (", stride 2" if layer.stride == (2, 2) else "") + (", valid" if valid else "")
        )
    if isinstance(layer, nn.MaxPool2d):
        return "3x3 max pool, stride 2, valid"
    if isinstance(layer, nn.AvgPool2d):
        return "3x3 average pool"
    if isinstance(layer, nn.BatchNorm2d):
        return "batch norm"
    return "dropout" if isinstance(layer, nn.Dropout) else "linear"
