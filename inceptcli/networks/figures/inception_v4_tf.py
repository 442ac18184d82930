"""Inception-v4 as its authors released it: the paper's widths, 1xn and nx1 swapped in places.

State-dict keys equal those of the paper's layout; only kernels are transposed. Source: TF-slim.
"""

from __future__ import annotations

from inceptcli.networks.boxes import AveragePool, Box, Conv, Description, Fork, Stage
from inceptcli.networks.figures import shared_figures
from inceptcli.networks.figures.inception_v4 import inception_a, reduction_b
from inceptcli.networks.figures.shared_figures import reduction_a
from inceptcli.networks.registry import NetworkOptions


def describe(options: NetworkOptions) -> Description:
    """Figure 9, the overall schema; Figures 4, 7 and 8 as the paper prints them."""
    assert options.repeats is not None
    a, b, c = options.repeats
    stages = [
        Stage("stem", "Figure 3, 1x7 first", stem()),
        Stage("inception_a", "Figure 4", [inception_a()] * a),
        Stage("reduction_a", "Figure 7", reduction_a(k=192, l=224, m=256, n=384)),
        Stage("inception_b", "Figure 5, 7x1 first", [inception_b()] * b),
        Stage("reduction_b", "Figure 8", reduction_b()),
        Stage("inception_c", "Figure 6, 3x1 first", [inception_c()] * c),
    ]
    return Description(options, stages, overall_figure="Figure 9")


def stem() -> list[Box]:
    """Figure 3: 299x299x3 -> 35x35x384.

    Differs from Figure 3: 1x7 precedes 7x1, as in the released weights; the last 3x3 convolution
    has stride 2 and the last pool is 3x3.
    """
    return shared_figures.stem(first="1x7", second="7x1")


def inception_b() -> Fork:
    """Figure 5, the 17x17 module: 1024 channels in and out.

    Differs from Figure 5: in the fourth path 7x1 precedes 1x7, and the third path's second 1x7 is
    7x1, as in the released weights.
    """
    return Fork(
        direct=[Conv("1x1", 384)],
        once=[Conv("1x1", 192), Conv("1x7", 224), Conv("7x1", 256)],
        twice=[
            Conv("1x1", 192),
            Conv("7x1", 192),
            Conv("1x7", 224),
            Conv("7x1", 224),
            Conv("1x7", 256),
        ],
        pooled=[AveragePool(), Conv("1x1", 128)],
    )


def inception_c() -> Fork:
    """Figure 6, the 8x8 module: 1536 channels in and out.

    Differs from Figure 6: in the fourth path 3x1 precedes 1x3, as in the released weights.
    """
    return Fork(
        direct=[Conv("1x1", 256)],
        once=[Conv("1x1", 384), Fork(wide=[Conv("1x3", 256)], tall=[Conv("3x1", 256)])],
        twice=[
            Conv("1x1", 384),
            Conv("3x1", 448),
            Conv("1x3", 512),
            Fork(wide=[Conv("1x3", 256)], tall=[Conv("3x1", 256)]),
        ],
        pooled=[AveragePool(), Conv("1x1", 256)],
    )
