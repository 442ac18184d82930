"""Path order and kernel order of every figure, which neither shapes nor counts would notice."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from inceptcli.networks import (
    inception_resnet_v1,
    inception_resnet_v2,
    inception_resnet_v2_tf,
    inception_v4,
    inception_v4_tf,
    shared_figures,
)
from inceptcli.networks.blocks import Box, ConvUnit, Fork, Path, Pool, Residual

V1, V2, V4 = inception_resnet_v1, inception_resnet_v2, inception_v4
V4_TF, V2_TF = inception_v4_tf, inception_resnet_v2_tf

STEM_OF_FIGURE_3 = (
    "3x3(32)/2V 3x3(32)V 3x3(64) [pooled: maxpool/2V | strided: 3x3(96)/2V] "
    "[short: 1x1(64) 3x3(96)V | deep: 1x1(64) {first}(64) {second}(64) 3x3(96)V] "
    "[strided: 3x3(192)/2V | pooled: maxpool/2V]"
)
INCEPTION_B_OF_FIGURE_5 = (
    "[direct: 1x1(384) | once: 1x1(192) 1x7(224) 7x1(256) | "
    "twice: 1x1(192) {first}(192) {second}(224) {first}(224) {second}(256) | "
    "pooled: avgpool 1x1(128)]"
)
INCEPTION_C_OF_FIGURE_6 = (
    "[direct: 1x1(256) | once: 1x1(384) [wide: 1x3(256) | tall: 3x1(256)] | "
    "twice: 1x1(384) {first}(448) {second}(512) [wide: 1x3(256) | tall: 3x1(256)] | "
    "pooled: avgpool 1x1(256)]"
)
REDUCTION_A_OF_FIGURE_7 = (
    "[strided: 3x3({n})/2V | deep: 1x1({k}) 3x3({l}) 3x3({m})/2V | pooled: maxpool/2V]"
)
REDUCTION_B_OF_RESIDUAL_NETWORKS = (
    "[short: 1x1(256) 3x3(384)/2V | once: 1x1(256) 3x3({once})/2V | "
    "twice: 1x1(256) 3x3({once}) 3x3({twice})/2V | pooled: maxpool/2V]"
)


def table_1(k: int, l: int, m: int, n: int) -> str:  # noqa: E741
    return REDUCTION_A_OF_FIGURE_7.format(k=k, l=l, m=m, n=n)


# Builder, channels that come in, channels that leave, parameters, the figure.
FIGURES = {
    "Figure 3": (
        shared_figures.stem,
        (3, 384, 605_728),
        STEM_OF_FIGURE_3.format(first="7x1", second="1x7"),
    ),
    "Figure 3, released": (
        V4_TF.stem,
        (3, 384, 605_728),
        STEM_OF_FIGURE_3.format(first="1x7", second="7x1"),
    ),
    "Figure 4": (
        V4.inception_a,
        (384, 384, 317_632),
        "[direct: 1x1(96) | once: 1x1(64) 3x3(96) | twice: 1x1(64) 3x3(96) 3x3(96) | "
        "pooled: avgpool 1x1(96)]",
    ),
    "Figure 5": (
        V4.inception_b,
        (1024, 1024, 2_936_256),
        INCEPTION_B_OF_FIGURE_5.format(first="1x7", second="7x1"),
    ),
    "Figure 5, released": (
        V4_TF.inception_b,
        (1024, 1024, 2_936_256),
        INCEPTION_B_OF_FIGURE_5.format(first="7x1", second="1x7"),
    ),
    "Figure 6": (
        V4.inception_c,
        (1536, 1536, 4_553_088),
        INCEPTION_C_OF_FIGURE_6.format(first="1x3", second="3x1"),
    ),
    "Figure 6, released": (
        V4_TF.inception_c,
        (1536, 1536, 4_553_088),
        INCEPTION_C_OF_FIGURE_6.format(first="3x1", second="1x3"),
    ),
    "Figure 7, Inception-v4": (
        shared_figures.reduction_a(192, 224, 256, 384),
        (384, 1024, 2_306_112),
        table_1(192, 224, 256, 384),
    ),
    "Figure 7, Inception-ResNet-v1": (
        shared_figures.reduction_a(192, 192, 256, 384),
        (256, 896, 1_710_080),
        table_1(192, 192, 256, 384),
    ),
    "Figure 7, Inception-ResNet-v2": (
        shared_figures.reduction_a(256, 256, 384, 384),
        (384, 1152, 2_902_528),
        table_1(256, 256, 384, 384),
    ),
    "Figure 8": (
        V4.reduction_b,
        (1024, 1536, 2_747_392),
        "[short: 1x1(192) 3x3(192)/2V | deep: 1x1(256) 1x7(256) 7x1(320) 3x3(320)/2V | "
        "pooled: maxpool/2V]",
    ),
    "Figure 10": (
        lambda width: V1.inception_resnet_a(width, 0.1, True),
        (256, 256, 77_440),
        "[direct: 1x1(32) | once: 1x1(32) 3x3(32) | twice: 1x1(32) 3x3(32) 3x3(32)] linear(256)",
    ),
    "Figure 11": (
        lambda width: V1.inception_resnet_b(width, 0.1, True),
        (896, 896, 690_048),
        "[direct: 1x1(128) | deep: 1x1(128) 1x7(128) 7x1(128)] linear(896)",
    ),
    "Figure 12": (
        V1.reduction_b,
        (896, 1792, 3_346_176),
        REDUCTION_B_OF_RESIDUAL_NETWORKS.format(once=256, twice=256),
    ),
    "Figure 13": (
        lambda width: V1.inception_resnet_c(width, 0.1, True),
        (1792, 1792, 1_600_768),
        "[direct: 1x1(192) | deep: 1x1(192) 1x3(192) 3x1(192)] linear(1792)",
    ),
    "Figure 14": (
        V1.stem,
        (3, 256, 615_552),
        "3x3(32)/2V 3x3(32)V 3x3(64) maxpool/2V 1x1(80) 3x3(192)V 3x3(256)/2V",
    ),
    "Figure 16": (
        lambda width: V2.inception_resnet_a(width, 0.1, True),
        (384, 384, 137_568),
        "[direct: 1x1(32) | once: 1x1(32) 3x3(32) | twice: 1x1(32) 3x3(48) 3x3(64)] linear(384)",
    ),
    "Figure 17": (
        lambda width: V2.inception_resnet_b(width, 0.1, True),
        (1152, 1152, 1_171_904),
        "[direct: 1x1(192) | deep: 1x1(128) 1x7(160) 7x1(192)] linear(1152)",
    ),
    "Figure 18": (
        V2.reduction_b,
        (1152, 2144, 3_930_112),
        REDUCTION_B_OF_RESIDUAL_NETWORKS.format(once=288, twice=320),
    ),
    "Figure 19": (
        lambda width: V2.inception_resnet_c(width, 0.1, True),
        (2144, 2144, 2_088_736),
        "[direct: 1x1(192) | deep: 1x1(192) 1x3(224) 3x1(256)] linear(2144)",
    ),
    "stem of the released Inception-ResNet-v2": (
        V2_TF.stem,
        (3, 320, 440_992),
        "3x3(32)/2V 3x3(32)V 3x3(64) maxpool/2V 1x1(80) 3x3(192)V maxpool/2V "
        "[direct: 1x1(96) | once: 1x1(48) 5x5(64) | twice: 1x1(64) 3x3(96) 3x3(96) | "
        "pooled: avgpool 1x1(64)]",
    ),
}


def drawn(box: nn.Module) -> str:
    """The box as the paper would print it: kernels, filters, stride, V for valid padding."""
    if isinstance(box, Path):
        return " ".join(map(drawn, box.children()))
    if isinstance(box, Fork):
        paths = " | ".join(f"{name}: {drawn(path)}" for name, path in box.paths.items())
        linear = f" linear({box.linear.out_channels})" if isinstance(box, Residual) else ""
        return f"[{paths}]{linear}"
    if isinstance(box, Pool):
        return "maxpool/2V" if is_reducing_pool(box.pool) else "avgpool"
    assert isinstance(box, ConvUnit)
    return f"{drawn_kernel(box.conv)}({box.conv.out_channels}){drawn_step(box.conv)}"


def is_reducing_pool(pool: nn.Module) -> bool:
    if isinstance(pool, nn.MaxPool2d):
        assert (pool.kernel_size, pool.stride, pool.padding) == (3, 2, 0)
        return True
    assert isinstance(pool, nn.AvgPool2d)
    assert (pool.kernel_size, pool.stride, pool.padding) == (3, 1, 1)
    assert not pool.count_include_pad
    return False


def drawn_kernel(conv: nn.Conv2d) -> str:
    height, width = conv.kernel_size
    return f"{height}x{width}"


def drawn_step(conv: nn.Conv2d) -> str:
    height, width = conv.kernel_size
    valid = conv.padding == (0, 0) and (height, width) != (1, 1)
    assert valid or conv.padding == (height // 2, width // 2)
    assert conv.stride in {(1, 1), (2, 2)}
    return ("/2" if conv.stride == (2, 2) else "") + ("V" if valid else "")


@pytest.mark.parametrize("figure", FIGURES)
def test_module_is_its_figure(figure: str) -> None:
    builder: Callable[[int], Box]
    builder, (in_channels, out_channels, parameters), expected = FIGURES[figure]
    with torch.device("meta"):
        module = builder(in_channels)
        features = module(torch.empty(2, in_channels, 35, 35))
    assert drawn(module) == expected
    assert features.shape[1] == module.out_channels == out_channels
    assert sum(parameter.numel() for parameter in module.parameters()) == parameters
