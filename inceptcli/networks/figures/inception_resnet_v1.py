"""Inception-ResNet-v1 as the paper prints it (Figures 7 and 10-15)."""

from __future__ import annotations

from inceptcli.networks.boxes import Box, Conv, Description, Fork, MaxPool, Residual, Stage
from inceptcli.networks.figures.shared_figures import reduction_a
from inceptcli.networks.registry import NetworkOptions


def describe(options: NetworkOptions) -> Description:
    """Figure 15, the overall schema, with this network's printed sizes at 299x299."""
    assert options.repeats is not None
    assert options.residual_scales is not None
    a, b, c = options.repeats
    scale_a, scale_b, scale_c = options.residual_scales
    stages = [
        Stage("stem", "Figure 14", stem()),  # 35x35x256
        Stage("inception_a", "Figure 10", [inception_resnet_a(scale_a)] * a),  # 35x35x256
        Stage("reduction_a", "Figure 7", reduction_a(k=192, l=192, m=256, n=384)),  # 17x17x896
        Stage("inception_b", "Figure 11", [inception_resnet_b(scale_b)] * b),  # 17x17x896
        Stage("reduction_b", "Figure 12", reduction_b()),  # 8x8x1792
        Stage("inception_c", "Figure 13", [inception_resnet_c(scale_c)] * c),  # 8x8x1792
    ]
    return Description(options, stages, overall_figure="Figure 15")


def stem() -> list[Box]:
    """Figure 14: 299x299x3 -> 35x35x256."""
    return [
        Conv("3x3", 32, stride=2, valid=True),
        Conv("3x3", 32, valid=True),
        Conv("3x3", 64),
        MaxPool(),
        Conv("1x1", 80),
        Conv("3x3", 192, valid=True),
        Conv("3x3", 256, stride=2, valid=True),
    ]


def inception_resnet_a(scale: float) -> Residual:
    """Figure 10, the 35x35 module; shape unchanged."""
    return Residual(
        scale,
        direct=[Conv("1x1", 32)],
        once=[Conv("1x1", 32), Conv("3x3", 32)],
        twice=[Conv("1x1", 32), Conv("3x3", 32), Conv("3x3", 32)],
    )


def inception_resnet_b(scale: float) -> Residual:
    """Figure 11, the 17x17 module; shape unchanged."""
    return Residual(
        scale,
        direct=[Conv("1x1", 128)],
        deep=[Conv("1x1", 128), Conv("1x7", 128), Conv("7x1", 128)],
    )


def reduction_b() -> Fork:
    """Figure 12, 17x17x896 -> 8x8x1792."""
    return Fork(
        short=[Conv("1x1", 256), Conv("3x3", 384, stride=2, valid=True)],
        once=[Conv("1x1", 256), Conv("3x3", 256, stride=2, valid=True)],
        twice=[Conv("1x1", 256), Conv("3x3", 256), Conv("3x3", 256, stride=2, valid=True)],
        pooled=[MaxPool()],
    )


def inception_resnet_c(scale: float, activation: bool = True) -> Residual:
    """Figure 13, the 8x8 module; shape unchanged.

    Without `activation` there is no ReLU, as in the last module of the released weights.
    """
    return Residual(
        scale,
        activation,
        direct=[Conv("1x1", 192)],
        deep=[Conv("1x1", 192), Conv("1x3", 192), Conv("3x1", 192)],
    )
