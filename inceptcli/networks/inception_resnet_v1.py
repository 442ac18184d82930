"""Inception-ResNet-v1 as the paper prints it (Figures 7 and 10-15)."""

from __future__ import annotations

from inceptcli.networks.blocks import Fork, Path, Residual, conv, max_pool, repeat
from inceptcli.networks.network import Network, Stage
from inceptcli.networks.registry import NetworkOptions
from inceptcli.networks.shared_figures import reduction_a


def build(options: NetworkOptions) -> Network:
    """Figure 15, the overall schema, whose printed sizes are this network's."""
    return Network(options, stages(options), overall_figure="Figure 15")


def stages(options: NetworkOptions) -> list[Stage]:
    """The boxes of Figure 15 with the figures of version 1; sizes at 299x299."""
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

    return [
        Stage("stem", "Figure 14", stem),  # 35x35x256
        Stage("inception_a", "Figure 10", repeat(count_a, a)),  # 35x35x256
        Stage("reduction_a", "Figure 7", reduction_a(k=192, l=192, m=256, n=384)),  # 17x17x896
        Stage("inception_b", "Figure 11", repeat(count_b, b)),  # 17x17x896
        Stage("reduction_b", "Figure 12", reduction_b),  # 8x8x1792
        Stage("inception_c", "Figure 13", repeat(count_c, c)),  # 8x8x1792
    ]


def stem(in_channels: int) -> Path:
    """Figure 14: 299x299x3 -> 35x35x256."""
    return Path(
        in_channels,
        [
            conv("3x3", 32, stride=2, valid=True),
            conv("3x3", 32, valid=True),
            conv("3x3", 64),
            max_pool(),
            conv("1x1", 80),
            conv("3x3", 192, valid=True),
            conv("3x3", 256, stride=2, valid=True),
        ],
    )


def inception_resnet_a(in_channels: int, scale: float, shortcut: bool) -> Residual:
    """Figure 10, the 35x35 module; shape unchanged."""
    return Residual(
        in_channels,
        scale,
        shortcut,
        direct=[conv("1x1", 32)],
        once=[conv("1x1", 32), conv("3x3", 32)],
        twice=[conv("1x1", 32), conv("3x3", 32), conv("3x3", 32)],
    )


def inception_resnet_b(in_channels: int, scale: float, shortcut: bool) -> Residual:
    """Figure 11, the 17x17 module; shape unchanged."""
    return Residual(
        in_channels,
        scale,
        shortcut,
        direct=[conv("1x1", 128)],
        deep=[conv("1x1", 128), conv("1x7", 128), conv("7x1", 128)],
    )


def reduction_b(in_channels: int) -> Fork:
    """Figure 12, 17x17 -> 8x8: (N, 896, H, W) -> (N, 1792, H', W')."""
    return Fork(
        in_channels,
        short=[conv("1x1", 256), conv("3x3", 384, stride=2, valid=True)],
        once=[conv("1x1", 256), conv("3x3", 256, stride=2, valid=True)],
        twice=[conv("1x1", 256), conv("3x3", 256), conv("3x3", 256, stride=2, valid=True)],
        pooled=[max_pool()],
    )


def inception_resnet_c(
    in_channels: int, scale: float, shortcut: bool, activation: bool = True
) -> Residual:
    """Figure 13, the 8x8 module; shape unchanged.

    Without `activation` the sum is not rectified, as in the last module of the released weights.
    """
    return Residual(
        in_channels,
        scale,
        shortcut,
        activation,
        direct=[conv("1x1", 192)],
        deep=[conv("1x1", 192), conv("1x3", 192), conv("3x1", 192)],
    )
