"""The key tables against the libraries' own state dicts, and the table of class names."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torchvision.models import Inception3

from inceptcli.networks.registry import network_options
from inceptcli.weights.foreign.recognition import TABLES
from inceptcli.weights.imagenet_classes import imagenet_classes
from inceptcli.weights.keys import keras_keys
from inceptcli.weights.keys.facenet_keys import INCEPTION_RESNET_V1
from inceptcli.weights.keys.key_table import KeyTable, auxiliary_layout, expand, layout
from inceptcli.weights.keys.timm_keys import (
    CADENE_INCEPTION_RESNET_V2,
    INCEPTION_RESNET_V2,
    INCEPTION_V4,
)
from inceptcli.weights.keys.torchvision_keys import INCEPTION_V3


def renamed(table: KeyTable) -> dict[str, tuple[int, ...]]:
    """Our layout's shapes under their keys."""
    return under_their_keys(table, layout(network_options(table.network, **table.options)))


def under_their_keys(table: KeyTable, ours: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
    theirs = table.theirs(ours)
    return {theirs[key]: tuple(tensor.shape) for key, tensor in ours.items()}


def test_a_range_counts_along_on_both_sides() -> None:
    assert expand("inception_a.0-2.once") == [f"inception_a.{index}.once" for index in range(3)]
    assert expand("features.9-10.branch0") == ["features.9.branch0", "features.10.branch0"]
    assert expand("Mixed_5b-e/Branch_0") == [f"Mixed_5{letter}/Branch_0" for letter in "bcde"]
    assert expand("Repeat/block35_9-10/a") == ["Repeat/block35_9/a", "Repeat/block35_10/a"]
    assert expand("stem.0") == ["stem.0"]


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.family)
def test_no_two_of_our_keys_have_the_same_key_of_theirs(table: KeyTable) -> None:
    assert len(renamed(table)) == len(layout(network_options(table.network)))


@pytest.mark.parity
@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("inception_v4", INCEPTION_V4),
        ("inception_resnet_v2", INCEPTION_RESNET_V2),
        ("inception_v3", INCEPTION_V3),
    ],
)
def test_keys_and_shapes_are_timms(name: str, table: KeyTable) -> None:
    timm = pytest.importorskip("timm")
    with torch.device("meta"):
        theirs = timm.create_model(name).state_dict()
    assert renamed(table) == {key: tuple(tensor.shape) for key, tensor in theirs.items()}


@pytest.mark.parametrize("has_head", [True, False])
def test_keys_and_shapes_are_torchvisions(has_head: bool) -> None:
    with torch.device("meta"):
        theirs = Inception3(aux_logits=has_head, init_weights=False).state_dict()
    options = network_options("iv3", count_padding=True)
    ours = layout(options) | (auxiliary_layout(options) if has_head else {})
    shapes = {key: tuple(tensor.shape) for key, tensor in theirs.items()}
    assert under_their_keys(INCEPTION_V3, ours) == shapes


@pytest.mark.parity
def test_keys_and_shapes_are_facenets() -> None:
    facenet = pytest.importorskip("facenet_pytorch")
    theirs = facenet.InceptionResnetV1(classify=True, num_classes=1000).state_dict()
    shapes = {key: tuple(tensor.shape) for key, tensor in theirs.items()}
    assert renamed(INCEPTION_RESNET_V1) == shapes


def test_cadenes_keys_are_timms_but_for_the_classifier() -> None:
    timms, cadenes = set(renamed(INCEPTION_RESNET_V2)), set(renamed(CADENE_INCEPTION_RESNET_V2))
    assert timms - cadenes == {"classif.weight", "classif.bias"}
    assert cadenes - timms == {"last_linear.weight", "last_linear.bias"}


@pytest.mark.parametrize("network", keras_keys.NETWORKS, ids=lambda network: network.family)
def test_kerass_orders_have_every_convolution_once(network: keras_keys.KerasNetwork) -> None:
    ours = [
        key.removesuffix(".weight").removesuffix(".conv")
        for key, tensor in layout(network_options(network.network)).items()
        if tensor.ndim == 4
    ]
    for order, is_sorted in network.orders():
        assert sorted(order) == sorted(ours)
        assert not is_sorted or order == ours


def test_class_names_are_distinct() -> None:
    classes = imagenet_classes()
    assert len({entry.id for entry in classes}) == 1000
    assert len({entry.name.casefold() for entry in classes}) == 1000
    named = dict(classes)
    assert (named["n02012849"], named["n03126707"]) == ("crane (bird)", "crane (machine)")
    assert (named["n03710637"], named["n03710721"]) == ("maillot (tights)", "maillot (tank suit)")
    assert all(entry.name.strip() == entry.name != "" for entry in classes)


@pytest.mark.given_data
def test_class_ids_stand_in_the_order_of_the_synsets(given_data: Path) -> None:
    synsets = (given_data / "imagenet-val/synsets.txt").read_text().split()
    assert [entry.id for entry in imagenet_classes()] == synsets


@pytest.mark.parity
def test_class_ids_are_timms() -> None:
    data = pytest.importorskip("timm.data")
    info = data.ImageNetInfo()
    assert [entry.id for entry in imagenet_classes()] == info.label_names()
