import pytest
import torch

from inceptcli.networks.registry import NETWORKS, build, network_options
from inceptcli.networks.summary import Summary, summarize

# paper.md: parameters at 1000 classes, multiply-adds in 10^9 at 299x299.
PUBLISHED = {
    "iv4": (42_679_816, 12.254),
    "irv1": (22_756_328, 6.206),
    "irv2": (32_433_928, 9.258),
    "iv4-tf": (42_679_816, 12.254),
    "irv2-tf": (55_843_464, 13.156),
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
