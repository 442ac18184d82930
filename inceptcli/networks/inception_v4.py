"""Inception-v4 as the paper prints it (Figures 3-9)."""

from __future__ import annotations

from inceptcli.networks.blocks import Fork, average_pool, conv, fork, max_pool, repeat
from inceptcli.networks.network import Network, Stage
from inceptcli.networks.registry import NetworkOptions
from inceptcli.networks.shared_figures import reduction_a, stem


def build(options: NetworkOptions) -> Network:
    """Figure 9, the overall schema; sizes at 299x299."""
    assert options.repeats is not None
    a, b, c = options.repeats
    stages = [
        Stage("stem", "Figure 3", stem),  # 35x35x384
        Stage("inception_a", "Figure 4", repeat(a, inception_a)),  # 35x35x384
        Stage("reduction_a", "Figure 7", reduction_a(k=192, l=224, m=256, n=384)),  # 17x17x1024
        Stage("inception_b", "Figure 5", repeat(b, inception_b)),  # 17x17x1024
        Stage("reduction_b", "Figure 8", reduction_b),  # 8x8x1536
        Stage("inception_c", "Figure 6", repeat(c, inception_c)),  # 8x8x1536
    ]
    return Network(options, stages, overall_figure="Figure 9")


def inception_a(in_channels: int) -> Fork:
    """Figure 4, the 35x35 module: (N, 384, H, W) -> (N, 384, H, W)."""
    return Fork(
        in_channels,
        direct=[conv("1x1", 96)],
        once=[conv("1x1", 64), conv("3x3", 96)],
        twice=[conv("1x1", 64), conv("3x3", 96), conv("3x3", 96)],
        pooled=[average_pool(), conv("1x1", 96)],
    )


def inception_b(in_channels: int) -> Fork:
    """Figure 5, the 17x17 module: (N, 1024, H, W) -> (N, 1024, H, W).

    Differs from Figure 5: the third path's second 1x7 is 7x1, as in the released weights.
    """
    return Fork(
        in_channels,
        direct=[conv("1x1", 384)],
        once=[conv("1x1", 192), conv("1x7", 224), conv("7x1", 256)],
        twice=[
            conv("1x1", 192),
            conv("1x7", 192),
            conv("7x1", 224),
            conv("1x7", 224),
            conv("7x1", 256),
        ],
        pooled=[average_pool(), conv("1x1", 128)],
    )


def reduction_b(in_channels: int) -> Fork:
    """Figure 8, 17x17 -> 8x8: (N, 1024, H, W) -> (N, 1536, H', W')."""
    return Fork(
        in_channels,
        short=[conv("1x1", 192), conv("3x3", 192, stride=2, valid=True)],
        deep=[
            conv("1x1", 256),
            conv("1x7", 256),
            conv("7x1", 320),
            conv("3x3", 320, stride=2, valid=True),
        ],
        pooled=[max_pool()],
    )


def inception_c(in_channels: int) -> Fork:
    """Figure 6, the 8x8 module: (N, 1536, H, W) -> (N, 1536, H, W)."""
    return Fork(
        in_channels,
        direct=[conv("1x1", 256)],
        once=[conv("1x1", 384), fork(wide=[conv("1x3", 256)], tall=[conv("3x1", 256)])],
        twice=[
            conv("1x1", 384),
            conv("1x3", 448),
            conv("3x1", 512),
            fork(wide=[conv("1x3", 256)], tall=[conv("3x1", 256)]),
        ],
        pooled=[average_pool(), conv("1x1", 256)],
    )
