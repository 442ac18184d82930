"""Inception-v4 as the paper prints it (Figures 3-9)."""

from __future__ import annotations

from inceptcli.networks.boxes import AveragePool, Conv, Description, Fork, MaxPool, Stage
from inceptcli.networks.figures.shared_figures import reduction_a, stem
from inceptcli.networks.registry import NetworkOptions


def describe(options: NetworkOptions) -> Description:
    """Figure 9, the overall schema; sizes at 299x299."""
    assert options.repeats is not None
    a, b, c = options.repeats
    stages = [
        Stage("stem", "Figure 3", stem()),  # 35x35x384
        Stage("inception_a", "Figure 4", [inception_a()] * a),  # 35x35x384
        Stage("reduction_a", "Figure 7", reduction_a(k=192, l=224, m=256, n=384)),  # 17x17x1024
        Stage("inception_b", "Figure 5", [inception_b()] * b),  # 17x17x1024
        Stage("reduction_b", "Figure 8", reduction_b()),  # 8x8x1536
        Stage("inception_c", "Figure 6", [inception_c()] * c),  # 8x8x1536
    ]
    return Description(options, stages, overall_figure="Figure 9")


def inception_a() -> Fork:
    """Figure 4, the 35x35 module: 384 channels in and out."""
    return Fork(
        direct=[Conv("1x1", 96)],
        once=[Conv("1x1", 64), Conv("3x3", 96)],
        twice=[Conv("1x1", 64), Conv("3x3", 96), Conv("3x3", 96)],
        pooled=[AveragePool(), Conv("1x1", 96)],
    )


def inception_b() -> Fork:
    """Figure 5, the 17x17 module: 1024 channels in and out.

    Differs from Figure 5: the third path's second 1x7 is 7x1, as in the released weights.
    """
    return Fork(
        direct=[Conv("1x1", 384)],
        once=[Conv("1x1", 192), Conv("1x7", 224), Conv("7x1", 256)],
        twice=[
            Conv("1x1", 192),
            Conv("1x7", 192),
            Conv("7x1", 224),
            Conv("1x7", 224),
            Conv("7x1", 256),
        ],
        pooled=[AveragePool(), Conv("1x1", 128)],
    )


def reduction_b() -> Fork:
    """Figure 8, 17x17x1024 -> 8x8x1536."""
    return Fork(
        short=[Conv("1x1", 192), Conv("3x3", 192, stride=2, valid=True)],
        deep=[
            Conv("1x1", 256),
            Conv("1x7", 256),
            Conv("7x1", 320),
            Conv("3x3", 320, stride=2, valid=True),
        ],
        pooled=[MaxPool()],
    )


def inception_c() -> Fork:
    """Figure 6, the 8x8 module: 1536 channels in and out."""
    return Fork(
        direct=[Conv("1x1", 256)],
        once=[Conv("1x1", 384), Fork(wide=[Conv("1x3", 256)], tall=[Conv("3x1", 256)])],
        twice=[
            Conv("1x1", 384),
            Conv("1x3", 448),
            Conv("3x1", 512),
            Fork(wide=[Conv("1x3", 256)], tall=[Conv("3x1", 256)]),
        ],
        pooled=[AveragePool(), Conv("1x1", 256)],
    )
