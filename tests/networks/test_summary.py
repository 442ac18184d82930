from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from inceptcli.networks.network import Network
from inceptcli.networks.registry import NETWORKS, NetworkOptions, build, network_options
from inceptcli.networks.state_dict import Shape
from inceptcli.networks.summary import Summary, summarize
from tests.networks.variants import VARIANTS, num_sums_with_batch_norm

# paper.md: parameters at 1000 classes, multiply-adds in 10^9 at 299x299.
PUBLISHED = {
    "iv4": (42_679_816, 12.254),
    "irv1": (22_756_328, 6.206),
    "irv2": (32_433_928, 9.258),
    "iv4-tf": (42_679_816, 12.254),
    "irv2-tf": (55_843_464, 13.156),
    "iv3": (23_834_568, 5.713),
}
# Channels of stem, A, reduction A, B, reduction B, C at 35x35, 17x17 and 8x8.
WIDTHS = {
    "iv4": (384, 1024, 1536),
    "irv1": (256, 896, 1792),
    "irv2": (384, 1152, 2144),
    "iv4-tf": (384, 1024, 1536),
    "irv2-tf": (320, 1088, 2080),
    "irv1-facenet": (256, 896, 1792),
}
# Where Inception-v3's modules are not as wide as what comes in.
WIDTHS_OF_INCEPTION_V3 = [192, 288, 768, 768, 1280, 2048]


def summary_of(name: str) -> Summary:
    return summarize(network_options(name), (299, 299))


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_and_multiply_adds_are_the_published_ones(name: str) -> None:
    summary = summary_of(name)
    assert (summary.parameters, round(summary.multiply_adds / 1e9, 3)) == PUBLISHED[name]


def test_the_face_network_has_the_published_size_up_to_its_embedding() -> None:
    *until_embedding, classifier = summary_of("irv1-facenet").stages
    assert (classifier.name, classifier.parameters) == ("classifier", 513_000)
    assert sum(stage.parameters for stage in until_embedding) == 23_482_624
    assert round(sum(stage.multiply_adds for stage in until_embedding) / 1e9, 3) == 6.308


@pytest.mark.parametrize("name", WIDTHS)
def test_grids_are_35_17_and_8_and_widths_the_layouts_own(name: str) -> None:
    shapes = {stage.name: stage.output_shape for stage in summary_of(name).stages}
    narrow, middle, wide = WIDTHS[name]
    assert shapes["stem"] == shapes["inception_a"] == (narrow, 35, 35)
    assert shapes["reduction_a"] == shapes["inception_b"] == (middle, 17, 17)
    assert shapes["reduction_b"] == shapes["inception_c"] == (wide, 8, 8)


def test_inception_v3_has_the_widths_of_the_released_one() -> None:
    widths = [stage.output_shape[0] for stage in summary_of("iv3").stages]
    assert widths[:6] == WIDTHS_OF_INCEPTION_V3
    assert [stage.output_shape[1] for stage in summary_of("iv3").stages[:6]] == [
        *(35, 35, 17, 17, 8, 8)
    ]


@pytest.mark.parametrize("name", NETWORKS)
def test_layers_sum_to_stages_and_stages_to_the_network(name: str) -> None:
    summary = summary_of(name)
    for stage in summary.stages:
        assert stage.parameters == sum(layer.parameters for layer in stage.layers)
        assert stage.multiply_adds == sum(layer.multiply_adds for layer in stage.layers)
    assert summary.multiply_adds == sum(stage.multiply_adds for stage in summary.stages)
    with torch.device("meta"):
        network = build(network_options(name))
    assert summary.parameters == sum(tensor.numel() for tensor in network.parameters())
    layers = [layer.name for stage in summary.stages for layer in stage.layers]
    assert len(set(layers)) == len(layers)


def test_head_follows_the_overall_figure() -> None:
    head = summary_of("irv2-tf").stages[-4:]
    assert [(stage.name, stage.figure, stage.output_shape) for stage in head] == [
        ("projection", "released code", (1536, 8, 8)),
        ("average_pooling", "Figure 15", (1536,)),
        ("dropout", "Figure 15", (1536,)),
        ("classifier", "Figure 15", (1000,)),
    ]


def test_a_layer_is_described_as_its_box() -> None:
    stages = {stage.name: stage for stage in summary_of("irv1").stages}
    strided, *_, pool = stages["stem"].layers[:4]
    assert (strided.name, strided.kind) == ("stem.0", "3x3 conv, stride 2, valid")
    # 32 filters of 3x3x3 and batch norm's 64; one multiply-add per weight and output position.
    assert (strided.parameters, strided.multiply_adds) == (864 + 64, 864 * 149 * 149)
    assert (pool.kind, pool.output_shape) == ("3x3 max pool, stride 2, valid", (64, 73, 73))
    kinds = [layer.kind for layer in stages["inception_b"].layers[:5]]
    assert kinds == ["1x1 conv", "1x1 conv", "1x7 conv", "7x1 conv", "1x1 linear, scale 0.1"]


def test_pooled_paths_begin_with_an_average_pool() -> None:
    layers = summarize(network_options("iv4"), (75, 75)).stages[1].layers
    assert [layer.kind for layer in layers if "pooled.0" in layer.name] == ["3x3 average pool"] * 4


def test_sizes_follow_image_and_classes() -> None:
    summary = summarize(network_options("irv1", num_classes=10, in_channels=1), (75, 139))
    assert (summary.name, summary.num_classes, summary.image_size) == ("irv1", 10, (75, 139))
    assert summary.stages[5].output_shape == (1792, 1, 3)
    assert summary.stages[-1].output_shape == (10,)
    assert summary.stages[0].layers[0].parameters == 32 * 9 + 64


def test_too_small_an_image_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 75x75 pixels, got 74x299"):
        summarize(network_options("iv4"), (74, 299))


def trained(module: nn.Module) -> int:
    return sum(value.numel() for value in module.parameters() if value.requires_grad)


class Counted:
    """What torch finds of a network's modules, on the meta device: no memory, no computing."""

    def __init__(self, options: NetworkOptions, image_size: tuple[int, int]) -> None:
        with torch.device("meta"):
            self.network: Network = build(options).eval()
            images = torch.empty(1, options.in_channels, *image_size)
        self.shapes: dict[str, Shape] = {}
        self.multiply_adds: dict[str, int] = {}
        for name, module in self.network.named_modules():
            module.register_forward_hook(self._noting(name))
        with torch.no_grad():
            self.network(images)

    def _noting(self, name: str) -> Any:
        def note(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            assert name not in self.shapes  # a module that ran twice would be counted once
            self.shapes[name] = tuple(output.shape[1:])
            if isinstance(module, nn.Conv2d | nn.Linear):
                # Each number of the output sums up as many products as a filter has weights.
                self.multiply_adds[name] = output[0].numel() * module.weight[0].numel()

        return note

    def below(self, name: str, of: dict[str, int]) -> int:
        return sum(each for key, each in of.items() if f"{key}.".startswith(f"{name}."))

    def parameters(self, name: str) -> int:
        return trained(self.network.get_submodule(name))


@pytest.mark.parametrize("image_size", [(299, 299), (75, 112)])
@pytest.mark.parametrize(("name", "changes"), VARIANTS, ids=str)
def test_every_number_is_torchs_own_count(
    name: str, changes: dict[str, Any], image_size: tuple[int, int]
) -> None:
    options = network_options(name, **changes)
    summary, counted = summarize(options, image_size), Counted(options, image_size)
    layers = [layer for stage in summary.stages for layer in stage.layers]
    for layer in layers:
        assert layer.output_shape == counted.shapes[layer.name], layer.name
        assert layer.parameters == counted.parameters(layer.name), layer.name
        assert layer.multiply_adds == counted.below(layer.name, counted.multiply_adds), layer.name
    for stage in summary.stages:
        if stage.name == "average_pooling":  # the one box that is no module
            assert stage.output_shape == counted.shapes["dropout"]
            continue
        module = counted.network.get_submodule(stage.name)
        assert stage.output_shape == counted.shapes[stage.name]
        assert stage.parameters == counted.parameters(stage.name)
        assert stage.repeats in (1, len(list(module.children())))
    assert summary.parameters == trained(counted.network)
    assert summary.multiply_adds == sum(counted.multiply_adds.values())
    boxes = nn.Conv2d | nn.Linear | nn.MaxPool2d | nn.AvgPool2d | nn.Dropout
    found = [part for part in counted.network.modules() if isinstance(part, boxes)]
    on_sums = num_sums_with_batch_norm(options)
    assert len(layers) == len(found) + on_sums


def test_layers_have_the_stage_module_and_box_of_their_names() -> None:
    layers = [layer for stage in summary_of("irv2-tf").stages for layer in stage.layers]
    parts = {layer.name: (layer.stage, layer.module, layer.box) for layer in layers}
    assert parts["stem.7.twice.1"] == ("stem", None, "7.twice.1")
    assert parts["inception_a.9.linear"] == ("inception_a", 9, "linear")
    assert parts["reduction_a.pooled.0"] == ("reduction_a", None, "pooled.0")
    assert parts["projection"] == ("projection", None, "")
    assert parts["classifier"] == ("classifier", None, "")
