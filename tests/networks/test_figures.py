"""Path order and kernel order of every figure, which neither shapes nor counts would notice."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
import torch
from torch import nn

from inceptcli.networks.boxes import (
    AveragePool,
    Box,
    Boxes,
    Conv,
    Fork,
    MaxPool,
    Residual,
    channels_after,
)
from inceptcli.networks.figures import (
    inception_resnet_v1,
    inception_resnet_v2,
    inception_resnet_v2_tf,
    inception_v3,
    inception_v4,
    inception_v4_tf,
    shared_figures,
)
from inceptcli.networks.registry import NETWORKS, NetworkOptions, build, describe, network_options
from inceptcli.networks.torch_modules import ConvModule, ForkModule, ResidualModule, module_of

V1, V2, V3, V4 = inception_resnet_v1, inception_resnet_v2, inception_v3, inception_v4
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
STEM_OF_INCEPTION_V3 = "3x3(32)/2V 3x3(32)V 3x3(64) maxpool/2V 1x1(80) 3x3(192)V maxpool/2V"
INCEPTION_A_OF_INCEPTION_V3 = (
    "[direct: 1x1({direct}) | once: 1x1(48) 5x5(64) | twice: 1x1(64) 3x3(96) 3x3(96) | "
    "pooled: avgpool 1x1({pooled})]"
)
INCEPTION_B_OF_INCEPTION_V3 = (
    "[direct: 1x1(192) | once: 1x1({width}) 1x7({width}) 7x1(192) | "
    "twice: 1x1({width}) 7x1({width}) 1x7({width}) 7x1({width}) 1x7(192) | "
    "pooled: avgpool 1x1(192)]"
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


# The figure, channels that come in, channels that leave, parameters, as the paper would print it.
FIGURES: Mapping[str, tuple[Boxes, tuple[int, int, int], str]] = {
    "Figure 3": (
        shared_figures.stem(),
        (3, 384, 605_728),
        STEM_OF_FIGURE_3.format(first="7x1", second="1x7"),
    ),
    "Figure 3, released": (
        V4_TF.stem(),
        (3, 384, 605_728),
        STEM_OF_FIGURE_3.format(first="1x7", second="7x1"),
    ),
    "Figure 4": (
        V4.inception_a(),
        (384, 384, 317_632),
        "[direct: 1x1(96) | once: 1x1(64) 3x3(96) | twice: 1x1(64) 3x3(96) 3x3(96) | "
        "pooled: avgpool 1x1(96)]",
    ),
    "Figure 5": (
        V4.inception_b(),
        (1024, 1024, 2_936_256),
        INCEPTION_B_OF_FIGURE_5.format(first="1x7", second="7x1"),
    ),
    "Figure 5, released": (
        V4_TF.inception_b(),
        (1024, 1024, 2_936_256),
        INCEPTION_B_OF_FIGURE_5.format(first="7x1", second="1x7"),
    ),
    "Figure 6": (
        V4.inception_c(),
        (1536, 1536, 4_553_088),
        INCEPTION_C_OF_FIGURE_6.format(first="1x3", second="3x1"),
    ),
    "Figure 6, released": (
        V4_TF.inception_c(),
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
        V4.reduction_b(),
        (1024, 1536, 2_747_392),
        "[short: 1x1(192) 3x3(192)/2V | deep: 1x1(256) 1x7(256) 7x1(320) 3x3(320)/2V | "
        "pooled: maxpool/2V]",
    ),
    "Figure 10": (
        V1.inception_resnet_a(0.1),
        (256, 256, 77_440),
        "[direct: 1x1(32) | once: 1x1(32) 3x3(32) | twice: 1x1(32) 3x3(32) 3x3(32)] linear(256)",
    ),
    "Figure 11": (
        V1.inception_resnet_b(0.1),
        (896, 896, 690_048),
        "[direct: 1x1(128) | deep: 1x1(128) 1x7(128) 7x1(128)] linear(896)",
    ),
    "Figure 12": (
        V1.reduction_b(),
        (896, 1792, 3_346_176),
        REDUCTION_B_OF_RESIDUAL_NETWORKS.format(once=256, twice=256),
    ),
    "Figure 13": (
        V1.inception_resnet_c(0.1),
        (1792, 1792, 1_600_768),
        "[direct: 1x1(192) | deep: 1x1(192) 1x3(192) 3x1(192)] linear(1792)",
    ),
    "Figure 14": (
        V1.stem(),
        (3, 256, 615_552),
        "3x3(32)/2V 3x3(32)V 3x3(64) maxpool/2V 1x1(80) 3x3(192)V 3x3(256)/2V",
    ),
    "Figure 16": (
        V2.inception_resnet_a(0.1),
        (384, 384, 137_568),
        "[direct: 1x1(32) | once: 1x1(32) 3x3(32) | twice: 1x1(32) 3x3(48) 3x3(64)] linear(384)",
    ),
    "Figure 17": (
        V2.inception_resnet_b(0.1),
        (1152, 1152, 1_171_904),
        "[direct: 1x1(192) | deep: 1x1(128) 1x7(160) 7x1(192)] linear(1152)",
    ),
    "Figure 18": (
        V2.reduction_b(),
        (1152, 2144, 3_930_112),
        REDUCTION_B_OF_RESIDUAL_NETWORKS.format(once=288, twice=320),
    ),
    "Figure 19": (
        V2.inception_resnet_c(0.1),
        (2144, 2144, 2_088_736),
        "[direct: 1x1(192) | deep: 1x1(192) 1x3(224) 3x1(256)] linear(2144)",
    ),
    "stem of the released Inception-ResNet-v2": (
        V2_TF.stem(),
        (3, 320, 440_992),
        f"{STEM_OF_INCEPTION_V3} {INCEPTION_A_OF_INCEPTION_V3.format(direct=96, pooled=64)}",
    ),
    "Rethinking, Table 1": (V3.stem(), (3, 192, 172_672), STEM_OF_INCEPTION_V3),
    "Rethinking, Figure 5, the first": (
        V3.inception_a(64, 32),
        (192, 256, 255_904),
        INCEPTION_A_OF_INCEPTION_V3.format(direct=64, pooled=32),
    ),
    "Rethinking, Figure 5, the others": (
        V3.inception_a(64, 64),
        (288, 288, 285_152),
        INCEPTION_A_OF_INCEPTION_V3.format(direct=64, pooled=64),
    ),
    "Rethinking, Figure 10, of Inception-A": (
        V3.reduction_a(),
        (288, 768, 1_153_280),
        "[strided: 3x3(384)/2V | deep: 1x1(64) 3x3(96) 3x3(96)/2V | pooled: maxpool/2V]",
    ),
    "Rethinking, Figure 6, the first": (
        V3.inception_b(128),
        (768, 768, 1_297_408),
        INCEPTION_B_OF_INCEPTION_V3.format(width=128),
    ),
    "Rethinking, Figure 6, the middle ones": (
        V3.inception_b(160),
        (768, 768, 1_691_008),
        INCEPTION_B_OF_INCEPTION_V3.format(width=160),
    ),
    "Rethinking, Figure 6, the last": (
        V3.inception_b(192),
        (768, 768, 2_141_952),
        INCEPTION_B_OF_INCEPTION_V3.format(width=192),
    ),
    "Rethinking, Figure 10, of Inception-B": (
        V3.reduction_b(),
        (768, 1280, 1_698_304),
        "[short: 1x1(192) 3x3(320)/2V | deep: 1x1(192) 1x7(192) 7x1(192) 3x3(192)/2V | "
        "pooled: maxpool/2V]",
    ),
    "Rethinking, Figure 7": (
        V3.inception_c(),
        (1280, 2048, 5_044_608),
        "[direct: 1x1(320) | once: 1x1(384) [wide: 1x3(384) | tall: 3x1(384)] | "
        "twice: 1x1(448) 3x3(384) [wide: 1x3(384) | tall: 3x1(384)] | pooled: avgpool 1x1(192)]",
    ),
}


def drawn(boxes: Boxes, channels: int) -> str:
    """The figure as the paper would print it: kernels, filters, stride, V for valid padding."""
    match boxes:
        case Conv():
            return f"{boxes.kernel}({boxes.channels}){step(boxes)}"
        case MaxPool():
            return f"maxpool{step(boxes)}"
        case AveragePool():
            return f"avgpool{step(boxes)}"
        case Fork():
            paths = (f"{name}: {drawn(path, channels)}" for name, path in boxes.paths.items())
            linear = f" linear({channels})" if isinstance(boxes, Residual) else ""
            return f"[{' | '.join(paths)}]{linear}"
    texts = []
    for box in boxes:
        texts.append(drawn(box, channels))
        channels = channels_after(box, channels)
    return " ".join(texts)


def step(box: Conv | MaxPool | AveragePool) -> str:
    """Of a 1x1 kernel both paddings are the same."""
    return (f"/{box.stride}" if box.stride > 1 else "") + (
        "V" if box.valid and box.size != (1, 1) else ""
    )


@pytest.mark.parametrize("figure", FIGURES)
def test_a_description_is_its_figure(figure: str) -> None:
    boxes, (in_channels, out_channels, parameters), expected = FIGURES[figure]
    assert drawn(boxes, in_channels) == expected
    assert channels_after(boxes, in_channels) == out_channels
    with torch.device("meta"):
        module = module_of(boxes, in_channels, network_options("irv1"))
        features = module(torch.empty(2, in_channels, 35, 35))
    assert features.shape[1] == out_channels
    assert sum(parameter.numel() for parameter in module.parameters()) == parameters


def test_every_stage_is_one_of_the_figures() -> None:
    """Or a test of figures says nothing of networks."""
    # A residual's Linear is as wide as what comes in, which differs between layouts.
    known = {expected.split(" linear")[0] for _, _, expected in FIGURES.values()} | {"1x1(1536)"}
    for name in NETWORKS:
        description = describe(network_options(name))
        channels = description.options.in_channels
        for stage in description.stages:
            for boxes in [stage.boxes] if stage.modules is None else stage.modules:
                found = drawn(boxes, channels).split(" linear")[0]
                assert found in known, (name, stage.name)
            channels = channels_after(stage.boxes, channels)


OF_TORCHVISION: Mapping[str, tuple[str, Sequence[int]]] = {
    "Rethinking, Figure 5, the first": ("InceptionA", (192, 32)),
    "Rethinking, Figure 5, the others": ("InceptionA", (288, 64)),
    "Rethinking, Figure 10, of Inception-A": ("InceptionB", (288,)),
    "Rethinking, Figure 6, the first": ("InceptionC", (768, 128)),
    "Rethinking, Figure 6, the middle ones": ("InceptionC", (768, 160)),
    "Rethinking, Figure 6, the last": ("InceptionC", (768, 192)),
    "Rethinking, Figure 10, of Inception-B": ("InceptionD", (768,)),
    "Rethinking, Figure 7": ("InceptionE", (1280,)),
}


@pytest.mark.parametrize("figure", OF_TORCHVISION)
def test_the_figures_of_inception_v3_are_torchvisions_modules(figure: str) -> None:
    from torchvision.models import inception

    name, sizes = OF_TORCHVISION[figure]
    boxes, (in_channels, _, parameters), _ = FIGURES[figure]
    torch.manual_seed(0)
    theirs = getattr(inception, name)(*sizes).eval()
    ours = module_of(boxes, in_channels, network_options("iv3", count_padding=True)).eval()
    assert sum(parameter.numel() for parameter in theirs.parameters()) == parameters
    tensors = zip(ours.state_dict(), theirs.state_dict().values(), strict=True)
    ours.load_state_dict(dict(tensors))
    features = torch.rand(2, in_channels, 9, 9)
    with torch.no_grad():
        torch.testing.assert_close(ours(features), theirs(features))


def test_the_stem_of_inception_v3_has_as_many_parameters_as_torchvisions() -> None:
    from torchvision.models import Inception3

    with torch.device("meta"):
        theirs = Inception3(aux_logits=False, init_weights=False)
    stem = [part for name, part in theirs.named_children() if name.startswith("Conv2d_")]
    _, (_, _, parameters), _ = FIGURES["Rethinking, Table 1"]
    assert sum(value.numel() for part in stem for value in part.parameters()) == parameters


def assert_as_described(module: nn.Module, boxes: Boxes, options: NetworkOptions) -> int:
    """The number of boxes that were compared."""
    match boxes:
        case Conv():
            assert isinstance(module, ConvModule)
            conv = module.conv
            height, width = map(int, boxes.kernel.split("x"))
            assert conv.kernel_size == (height, width)
            assert conv.stride == (boxes.stride, boxes.stride)
            assert conv.padding == ((0, 0) if boxes.valid else (height // 2, width // 2))
            assert (conv.dilation, conv.groups, conv.bias) == ((1, 1), 1, None)
            return 1
        case MaxPool():
            assert isinstance(module, nn.MaxPool2d)
            assert (module.kernel_size, module.stride, module.padding) == ((3, 3), 2, (0, 0))
            assert not module.ceil_mode
            return 1
        case AveragePool():
            assert isinstance(module, nn.AvgPool2d)
            assert (module.kernel_size, module.stride, module.padding) == ((3, 3), 1, (1, 1))
            assert module.count_include_pad == options.count_padding
            assert not module.ceil_mode
            return 1
        case Fork():
            assert isinstance(module, ResidualModule if isinstance(boxes, Residual) else ForkModule)
            assert list(module.paths) == list(boxes.paths)
            if isinstance(boxes, Residual):
                assert isinstance(module, ResidualModule)
                assert (module.scale, module.activation) == (boxes.scale, boxes.activation)
                assert module.linear.kernel_size == (1, 1)
            return sum(
                assert_as_described(module.paths[name], path, options)
                for name, path in boxes.paths.items()
            )
    pairs = list(zip(module.children(), boxes, strict=True))
    return sum(assert_as_described(child, box, options) for child, box in pairs)


@pytest.mark.parametrize("count_padding", [False, True])
@pytest.mark.parametrize("name", NETWORKS)
def test_modules_have_the_kernels_strides_and_paddings_described(
    name: str, count_padding: bool
) -> None:
    changes = {"count_padding": True} if count_padding and NETWORKS[name].has_padded_pools else {}
    options = network_options(name, **changes)
    with torch.device("meta"):
        network = build(options)
    description = describe(options)
    compared = sum(
        assert_as_described(network.get_submodule(stage.name), stage.boxes, options)
        for stage in description.stages
    )
    kinds = ConvModule, nn.MaxPool2d, nn.AvgPool2d
    assert compared == sum(isinstance(part, kinds) for part in network.modules())


def with_paths_swapped(module: Fork) -> Fork:
    first, *others = module.paths.items()
    return Fork(**dict([*others, first]))


def with_kernels_swapped(module: Fork) -> Fork:
    turned: dict[Any, Any] = {"1x7": "7x1", "7x1": "1x7"}

    def swapped(path: Sequence[Box]) -> list[Box]:
        return [
            Conv(turned.get(box.kernel, box.kernel), box.channels, box.stride, box.valid)
            if isinstance(box, Conv)
            else box
            for box in path
        ]

    return Fork(**{name: swapped(path) for name, path in module.paths.items()})


@pytest.mark.parametrize("mistake", [with_paths_swapped, with_kernels_swapped])
def test_a_mistake_that_keeps_shapes_and_counts_is_seen(mistake: Callable[[Fork], Fork]) -> None:
    right = inception_v4.inception_b()
    wrong = mistake(right)
    _, (channels, out_channels, parameters), expected = FIGURES["Figure 5"]
    options = network_options("iv4")
    with torch.device("meta"):
        module = module_of(wrong, channels, options)
    assert channels_after(wrong, channels) == out_channels
    assert sum(parameter.numel() for parameter in module.parameters()) == parameters
    assert drawn(wrong, channels) != expected
    with pytest.raises(AssertionError):
        assert_as_described(module, right, options)
