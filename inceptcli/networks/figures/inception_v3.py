"""Inception-v3, the paper's baseline, as its authors released it.

Figures and tables are from "Rethinking the Inception Architecture" (arXiv 1512.00567), without the
auxiliary classifier. Source of the widths: TF-slim and torchvision, which agree.
"""

from __future__ import annotations

from inceptcli.networks.boxes import AveragePool, Box, Conv, Description, Fork, MaxPool, Stage
from inceptcli.networks.registry import NetworkOptions


def describe(options: NetworkOptions) -> Description:
    """Table 1 of Rethinking; sizes at 299x299.

    Differs from Table 1: four 17x17 modules, not five, as in the released weights. The paper does
    not print the modules' widths; they are from the released weights.
    """
    stages = [
        Stage("stem", "Rethinking, Table 1", stem()),  # 35x35x192
        Stage(
            "inception_a",
            "Rethinking, Figure 5",
            [inception_a(64, pooled) for pooled in (32, 64, 64)],
        ),  # 35x35x288
        Stage("reduction_a", "Rethinking, Figure 10", reduction_a()),  # 17x17x768
        Stage(
            "inception_b",
            "Rethinking, Figure 6",
            [inception_b(width) for width in (128, 160, 160, 192)],
        ),  # 17x17x768
        Stage("reduction_b", "Rethinking, Figure 10", reduction_b()),  # 8x8x1280
        Stage("inception_c", "Rethinking, Figure 7", [inception_c()] * 2),  # 8x8x2048
    ]
    return Description(options, stages, overall_figure="Rethinking, Table 1")


def stem() -> list[Box]:
    """Table 1 up to 35x35: 299x299x3 -> 35x35x192.

    Differs from Table 1: a pool replaces the last stride, and a 1x1 precedes the last convolution,
    as in the released weights.
    """
    return [
        Conv("3x3", 32, stride=2, valid=True),
        Conv("3x3", 32, valid=True),
        Conv("3x3", 64),
        MaxPool(),
        Conv("1x1", 80),
        Conv("3x3", 192, valid=True),
        MaxPool(),
    ]


def inception_a(direct: int, pooled: int) -> Fork:
    """Figure 5, the 35x35 module; `direct` and `pooled` are the widths of these paths.

    Differs from Figure 5: one path has a 5x5, not two 3x3, as in the released weights.
    """
    return Fork(
        direct=[Conv("1x1", direct)],
        once=[Conv("1x1", 48), Conv("5x5", 64)],
        twice=[Conv("1x1", 64), Conv("3x3", 96), Conv("3x3", 96)],
        pooled=[AveragePool(), Conv("1x1", pooled)],
    )


def reduction_a() -> Fork:
    """Figure 10, 35x35x288 -> 17x17x768.

    Differs from Figure 10: the strided path has no 1x1, as in the released weights.
    """
    return Fork(
        strided=[Conv("3x3", 384, stride=2, valid=True)],
        deep=[Conv("1x1", 64), Conv("3x3", 96), Conv("3x3", 96, stride=2, valid=True)],
        pooled=[MaxPool()],
    )


def inception_b(width: int) -> Fork:
    """Figure 6 with n = 7, the 17x17 module: 768 channels in and out, `width` in between."""
    return Fork(
        direct=[Conv("1x1", 192)],
        once=[Conv("1x1", width), Conv("1x7", width), Conv("7x1", 192)],
        twice=[
            Conv("1x1", width),
            Conv("7x1", width),
            Conv("1x7", width),
            Conv("7x1", width),
            Conv("1x7", 192),
        ],
        pooled=[AveragePool(), Conv("1x1", 192)],
    )


def reduction_b() -> Fork:
    """Figure 10, 17x17x768 -> 8x8x1280.

    Differs from Figure 10: the deep path is 1x7, 7x1 and 3x3, as in the released weights.
    """
    return Fork(
        short=[Conv("1x1", 192), Conv("3x3", 320, stride=2, valid=True)],
        deep=[
            Conv("1x1", 192),
            Conv("1x7", 192),
            Conv("7x1", 192),
            Conv("3x3", 192, stride=2, valid=True),
        ],
        pooled=[MaxPool()],
    )


def inception_c() -> Fork:
    """Figure 7, the 8x8 module: 2048 output channels."""
    return Fork(
        direct=[Conv("1x1", 320)],
        once=[Conv("1x1", 384), Fork(wide=[Conv("1x3", 384)], tall=[Conv("3x1", 384)])],
        twice=[
            Conv("1x1", 448),
            Conv("3x3", 384),
            Fork(wide=[Conv("1x3", 384)], tall=[Conv("3x1", 384)]),
        ],
        pooled=[AveragePool(), Conv("1x1", 192)],
    )
