"""Inception-ResNet-v2 as the paper prints it (Figures 3, 7 and 15-19), with widths that add up."""

from __future__ import annotations

from inceptcli.networks.blocks import Fork, Residual, conv, max_pool, repeat
from inceptcli.networks.network import Network, Stage
from inceptcli.networks.registry import NetworkOptions
from inceptcli.networks.shared_figures import reduction_a, stem


def build(options: NetworkOptions) -> Network:
    """Figure 15, the overall schema.

    Differs from Figure 15: the sizes printed there are version 1's; this network's are noted below.
    """
    assert options.repeats is not None
    assert options.residual_scales is not None
    count_a, count_b, count_c = options.repeats
    scale_a, scale_b, scale_c = options.residual_scales
    shortcut = options.shortcut

    def a(width: int) -> Residual:
        return inception_resnet_a(width, scale_a, shortcut)

    def b(width: int) -> Residual:
        return inception_resnet_b(width, scale_b, shortcut)

    def c(width: int) -> Residual:
        return inception_resnet_c(width, scale_c, shortcut)

    stages = [
        Stage("stem", "Figure 3", stem),  # 35x35x384
        Stage("inception_a", "Figure 16", repeat(count_a, a)),  # 35x35x384
        Stage("reduction_a", "Figure 7", reduction_a(k=256, l=256, m=384, n=384)),  # 17x17x1152
        Stage("inception_b", "Figure 17", repeat(count_b, b)),  # 17x17x1152
        Stage("reduction_b", "Figure 18", reduction_b),  # 8x8x2144
        Stage("inception_c", "Figure 19", repeat(count_c, c)),  # 8x8x2144
    ]
    return Network(options, stages, overall_figure="Figure 15")


def inception_resnet_a(in_channels: int, scale: float, shortcut: bool) -> Residual:
    """Figure 16, the 35x35 module; shape unchanged."""
    return Residual(
        in_channels,
        scale,
        shortcut,
        direct=[conv("1x1", 32)],
        once=[conv("1x1", 32), conv("3x3", 32)],
        twice=[conv("1x1", 32), conv("3x3", 48), conv("3x3", 64)],
    )


def inception_resnet_b(in_channels: int, scale: float, shortcut: bool) -> Residual:
    """Figure 17, the 17x17 module; shape unchanged.

    Differs from Figure 17: the Linear has 1152 filters, not 1154; Table 1 lets 1152 channels in.
    """
    return Residual(
        in_channels,
        scale,
        shortcut,
        direct=[conv("1x1", 192)],
        deep=[conv("1x1", 128), conv("1x7", 160), conv("7x1", 192)],
    )


def reduction_b(in_channels: int) -> Fork:
    """Figure 18, 17x17 -> 8x8; adds 992 channels."""
    return Fork(
        in_channels,
        short=[conv("1x1", 256), conv("3x3", 384, stride=2, valid=True)],
        once=[conv("1x1", 256), conv("3x3", 288, stride=2, valid=True)],
        twice=[conv("1x1", 256), conv("3x3", 288), conv("3x3", 320, stride=2, valid=True)],
        pooled=[max_pool()],
    )


def inception_resnet_c(
    in_channels: int, scale: float, shortcut: bool, activation: bool = True
) -> Residual:
    """Figure 19, the 8x8 module; shape unchanged.

    Differs from Figure 19: the Linear has 2144 filters, not 2048; 1152 + 992 channels come in.
    Without `activation` the sum is not rectified, as in the last module of the released weights.
    """
    return Residual(
        in_channels,
        scale,
        shortcut,
        activation,
        direct=[conv("1x1", 192)],
        deep=[conv("1x1", 192), conv("1x3", 224), conv("3x1", 256)],
    )
