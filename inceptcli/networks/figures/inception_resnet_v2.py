"""Inception-ResNet-v2 as the paper prints it (Figures 3, 7 and 15-19), with consistent widths."""

from __future__ import annotations

from inceptcli.networks.boxes import Conv, Description, Fork, MaxPool, Residual, Stage
from inceptcli.networks.figures.shared_figures import reduction_a, stem
from inceptcli.networks.registry import NetworkOptions


def describe(options: NetworkOptions) -> Description:
    """Figure 15, the overall schema.

    Differs from Figure 15: it prints the sizes of version 1; the comments give this network's.
    """
    assert options.repeats is not None
    assert options.residual_scales is not None
    a, b, c = options.repeats
    scale_a, scale_b, scale_c = options.residual_scales
    stages = [
        Stage("stem", "Figure 3", stem()),  # 35x35x384
        Stage("inception_a", "Figure 16", [inception_resnet_a(scale_a)] * a),  # 35x35x384
        Stage("reduction_a", "Figure 7", reduction_a(k=256, l=256, m=384, n=384)),  # 17x17x1152
        Stage("inception_b", "Figure 17", [inception_resnet_b(scale_b)] * b),  # 17x17x1152
        Stage("reduction_b", "Figure 18", reduction_b()),  # 8x8x2144
        Stage("inception_c", "Figure 19", [inception_resnet_c(scale_c)] * c),  # 8x8x2144
    ]
    return Description(options, stages, overall_figure="Figure 15")


def inception_resnet_a(scale: float) -> Residual:
    """Figure 16, the 35x35 module; shape unchanged."""
    return Residual(
        scale,
        direct=[Conv("1x1", 32)],
        once=[Conv("1x1", 32), Conv("3x3", 32)],
        twice=[Conv("1x1", 32), Conv("3x3", 48), Conv("3x3", 64)],
    )


def inception_resnet_b(scale: float) -> Residual:
    """Figure 17, the 17x17 module; shape unchanged.

    Differs from Figure 17: the Linear has 1152 filters, not 1154; its input has 1152 (Table 1).
    """
    return Residual(
        scale,
        direct=[Conv("1x1", 192)],
        deep=[Conv("1x1", 128), Conv("1x7", 160), Conv("7x1", 192)],
    )


def reduction_b() -> Fork:
    """Figure 18, 17x17 -> 8x8; adds 992 channels."""
    return Fork(
        short=[Conv("1x1", 256), Conv("3x3", 384, stride=2, valid=True)],
        once=[Conv("1x1", 256), Conv("3x3", 288, stride=2, valid=True)],
        twice=[Conv("1x1", 256), Conv("3x3", 288), Conv("3x3", 320, stride=2, valid=True)],
        pooled=[MaxPool()],
    )


def inception_resnet_c(scale: float, activation: bool = True) -> Residual:
    """Figure 19, the 8x8 module; shape unchanged.

    Differs from Figure 19: the Linear has 2144 filters, not 2048; its input has 1152 + 992.
    Without `activation` there is no ReLU, as in the last module of the released weights.
    """
    return Residual(
        scale,
        activation,
        direct=[Conv("1x1", 192)],
        deep=[Conv("1x1", 192), Conv("1x3", 224), Conv("3x1", 256)],
    )
