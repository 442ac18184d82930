"""Inception-v4 as its authors released it: the paper's widths, 1xn and nx1 swapped in places.

State-dict keys are the paper layout's; only kernels are transposed. Source: TF-slim.
"""

from __future__ import annotations

from inceptcli.networks.blocks import Fork, Path, average_pool, conv, fork, max_pool, repeat
from inceptcli.networks.inception_v4 import inception_a, reduction_b
from inceptcli.networks.network import Network, Stage
from inceptcli.networks.registry import NetworkOptions
from inceptcli.networks.shared_figures import reduction_a


def build(options: NetworkOptions) -> Network:
    """Figure 9, the overall schema; Figures 4, 7 and 8 are the paper's own."""
    assert options.repeats is not None
    a, b, c = options.repeats
    stages = [
        Stage("stem", "Figure 3, 1x7 first", stem),
        Stage("inception_a", "Figure 4", repeat(a, inception_a)),
        Stage("reduction_a", "Figure 7", reduction_a(k=192, l=224, m=256, n=384)),
        Stage("inception_b", "Figure 5, 7x1 first", repeat(b, inception_b)),
        Stage("reduction_b", "Figure 8", reduction_b),
        Stage("inception_c", "Figure 6, 3x1 first", repeat(c, inception_c)),
    ]
    return Network(options, stages, overall_figure="Figure 9")


def stem(in_channels: int) -> Path:
    """Figure 3: 299x299x3 -> 35x35x384.

    Differs from Figure 3: 1x7 precedes 7x1, as in the released weights; the last 3x3 convolution
    has stride 2 and the last pool is 3x3.
    """
    return Path(
        in_channels,
        [
            conv("3x3", 32, stride=2, valid=True),
            conv("3x3", 32, valid=True),
            conv("3x3", 64),
            fork(pooled=[max_pool()], strided=[conv("3x3", 96, stride=2, valid=True)]),
            fork(
                short=[conv("1x1", 64), conv("3x3", 96, valid=True)],
                deep=[
                    conv("1x1", 64),
                    conv("1x7", 64),
                    conv("7x1", 64),
                    conv("3x3", 96, valid=True),
                ],
            ),
            fork(strided=[conv("3x3", 192, stride=2, valid=True)], pooled=[max_pool()]),
        ],
    )


def inception_b(in_channels: int) -> Fork:
    """Figure 5, the 17x17 module: (N, 1024, H, W) -> (N, 1024, H, W).

    Differs from Figure 5: in the fourth path 7x1 precedes 1x7, and the third path's second 1x7 is
    7x1, as in the released weights.
    """
    return Fork(
        in_channels,
        direct=[conv("1x1", 384)],
        once=[conv("1x1", 192), conv("1x7", 224), conv("7x1", 256)],
        twice=[
            conv("1x1", 192),
            conv("7x1", 192),
            conv("1x7", 224),
            conv("7x1", 224),
            conv("1x7", 256),
        ],
        pooled=[average_pool(), conv("1x1", 128)],
    )


def inception_c(in_channels: int) -> Fork:
    """Figure 6, the 8x8 module: (N, 1536, H, W) -> (N, 1536, H, W).

    Differs from Figure 6: in the fourth path 3x1 precedes 1x3, as in the released weights.
    """
    return Fork(
        in_channels,
        direct=[conv("1x1", 256)],
        once=[conv("1x1", 384), fork(wide=[conv("1x3", 256)], tall=[conv("3x1", 256)])],
        twice=[
            conv("1x1", 384),
            conv("3x1", 448),
            conv("1x3", 512),
            fork(wide=[conv("1x3", 256)], tall=[conv("3x1", 256)]),
        ],
        pooled=[average_pool(), conv("1x1", 256)],
    )
