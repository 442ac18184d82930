from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from inceptcli.data.pixels.preprocessing import Preprocessing
from inceptcli.errors import UserError
from inceptcli.networks.network import AuxiliaryHead, Network
from inceptcli.networks.registry import NETWORKS, build, network_options
from inceptcli.networks.summary import summarize
from inceptcli.recipe import methods
from inceptcli.recipe.schema import check
from inceptcli.training.fine_tuning import (
    Freeze,
    adapt_channels,
    describe_frozen,
    freeze_parts,
    frozen_parts,
    start_from,
)
from inceptcli.training.optimizers import current_rate, optimizer, scheduler
from inceptcli.training.resuming import newest_whole
from inceptcli.weights.file import load_tensors, save
from inceptcli.weights.metadata import ClassName, WeightsMetadata
from tests.tiny_network import tiny_options
from tests.training.conftest import Train

SHAPES = tuple(ClassName(str(i), str(i)) for i in range(3))


def options(**changes: Any) -> Any:
    return tiny_options(**{"num_classes": 3, **changes})


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.manual_seed(5)
    path = tmp_path / "start.safetensors"
    metadata = WeightsMetadata(options(), SHAPES, Preprocessing((75, 75)))
    save(path, build(options()).state_dict(), metadata)
    return path


def test_the_same_classes_keep_the_head(weights: Path, notices: list[str]) -> None:
    network = build(options())
    start_from(network, weights, SHAPES)
    assert notices == [f"{weights}: loaded 194 of 194 tensors; new: nothing"]
    for key, tensor in load_tensors(weights).items():
        assert torch.equal(network.state_dict()[key], tensor), key


def test_other_classes_replace_the_head_and_say_so(weights: Path, notices: list[str]) -> None:
    network = build(options(num_classes=2))
    fresh = network.classifier.weight.detach().clone()
    start_from(network, weights, SHAPES[:2])
    assert notices == [f"{weights}: loaded 192 of 194 tensors; new: classifier (2 classes)"]
    assert torch.equal(network.classifier.weight, fresh)
    stem = "stem.0.conv.weight"
    assert torch.equal(network.state_dict()[stem], load_tensors(weights)[stem])


def test_gray_images_get_the_sum_of_the_channels(weights: Path, notices: list[str]) -> None:
    network = build(options(in_channels=1)).eval()
    start_from(network, weights, SHAPES)
    assert "3 input channels, adapted to 1" in notices[0]
    color = build(options()).eval()
    start_from(color, weights, SHAPES)
    gray = torch.rand(2, 1, 75, 75)
    torch.testing.assert_close(network(gray), color(gray.expand(-1, 3, -1, -1)))
    five = adapt_channels(torch.ones(4, 3, 3, 3), 5)
    torch.testing.assert_close(five.sum(dim=1), torch.full((4, 3, 3), 3.0))


@pytest.mark.parametrize(
    ("freeze", "trained"),
    [("none", "stem.0.conv.weight"), ("stem", "inception_a.0.linear.bias"), ("all-but-head", "")],
)
def test_frozen_parts_stay_and_the_rest_learns(train: Train, freeze: str, trained: str) -> None:
    changes = {"averaging__decay": 0.0, "trainer__epochs": 1}
    start = train("start", **changes)
    tuned = train(
        "tuned", network__init=str(start.path), network__freeze=freeze, trainer__seed=1, **changes
    )
    checkpoint = newest_whole(tuned)
    assert checkpoint is not None
    after: dict[str, Tensor] = torch.load(checkpoint.path, weights_only=True)["state_dict"]
    changed = {
        key for key, tensor in load_tensors(start.weights).items()
        if not torch.equal(tensor, after[f"network.{key}"])
    }  # fmt: skip
    assert {"classifier.weight", "classifier.bias"} <= changed
    assert not trained or trained in changed
    if freeze == "stem":
        assert not any(key.startswith("stem.") for key in changed)
    if freeze == "all-but-head":
        assert changed == {"classifier.weight", "classifier.bias"}


@pytest.mark.parametrize("name", NETWORKS)
def test_each_network_has_a_head_and_a_stem(name: str) -> None:
    with torch.device("meta"):
        network = build(network_options(name, num_classes=3))

    def frozen(freeze: Freeze) -> set[str]:
        parts = {id(p) for part in frozen_parts(network, freeze) for p in part.parameters()}
        return {key for key, value in network.named_parameters() if id(value) in parts}

    every = {key for key, _ in network.named_parameters()}
    assert every - frozen("all-but-head") == {"classifier.weight", "classifier.bias"}
    assert frozen("stem") == {key for key in every if key.startswith("stem.")} != set()
    assert frozen("none") == set()
    assert network.dropout not in frozen_parts(network, "all-but-head")


@cache
def described(name: str) -> Network:
    with torch.device("meta"):
        return build(network_options(name, num_classes=3))


def layers_of(name: str) -> list[str]:
    """Prefixes of the keys of each layer, written out from Figures 9 and 15."""
    a, b, c = {"irv1": (5, 10, 5), "iv4": (4, 7, 3), "irv1-facenet": (5, 10, 6)}[name]
    return [
        "stem.",
        *(f"inception_a.{i}." for i in range(a)), "reduction_a.",
        *(f"inception_b.{i}." for i in range(b)), "reduction_b.",
        *(f"inception_c.{i}." for i in range(c)),
        *(["embedding."] if name == "irv1-facenet" else []), "classifier.",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["irv1", "iv4", "irv1-facenet"])
@pytest.mark.parametrize("layer_decay", [None, 0.9])
@pytest.mark.parametrize("method", ["adamw", "sgd", "rmsprop_tf", "lamb"])
def test_layers_have_their_rate_and_the_head_its_own(
    name: str, layer_decay: float | None, method: str
) -> None:
    network = described(name)
    rates_of = {"learning_rate": 0.5, "head_learning_rate": 2.0, "layer_decay": layer_decay}
    settings = check({"optimizer": {"name": method, **rates_of}}).optimizer
    built = optimizer(settings, network, network)
    scheduler(built, lambda step: 0.1)
    rates = {id(p): group["lr"] for group in built.param_groups for p in group["params"]}
    layers = layers_of(name)
    assert len(rates) == len(list(network.parameters()))
    for key, parameter in network.named_parameters():
        (position,) = [i for i, prefix in enumerate(layers) if key.startswith(prefix)]
        distance = len(layers) - 1 - position
        expected = 2.0 if distance == 0 else 0.5 * (layer_decay or 1) ** distance
        assert rates[id(parameter)] == pytest.approx(0.1 * expected, rel=1e-12), key
    assert current_rate(built) == pytest.approx(0.05, rel=1e-12)


def test_scales_that_are_not_one_cannot_be_left_out(weights: Path) -> None:
    network = build(options(batch_norm_scale=False))
    start_from(network, weights, SHAPES)
    tensors = load_tensors(weights)
    tensors["stem.0.batch_norm.weight"][1] = 0.5
    save(weights, tensors, WeightsMetadata(options(), SHAPES, Preprocessing((75, 75))))
    with pytest.raises(
        UserError, match=r"scales of batch norm, such as stem\.0\.batch_norm\.weight;"
    ):
        start_from(network, weights, SHAPES)


def test_scales_that_are_left_out_are_neither_trained_nor_counted() -> None:
    network = build(options(batch_norm_scale=False))
    groups = optimizer(methods.AdamWSettings(), network, network).param_groups
    count = sum(value.numel() for group in groups for value in group["params"])
    assert count == summarize(network.options, (75, 75)).parameters
    assert describe_frozen(network, "none") == (
        f"frozen: nothing; {count:,} of {count:,} parameters train"
    )
    head = sum(value.numel() for value in network.classifier.parameters())
    assert f"; {head:,} of {count:,} " in describe_frozen(network, "all-but-head")


@pytest.mark.parametrize("freeze", ["stem", "all-but-head"])
def test_layer_decay_is_the_same_for_what_is_not_frozen(freeze: Freeze) -> None:
    network = build(options())
    head = AuxiliaryHead(network.options)
    module = torch.nn.ModuleDict({"network": network, "auxiliary_head": head})
    freeze_parts(frozen_parts(network, freeze))
    settings = methods.AdamWSettings(learning_rate=1.0, layer_decay=0.5)
    groups = optimizer(settings, module, network).param_groups
    rates = {id(p): group["lr"] for group in groups for p in group["params"]}
    found = {
        key.removeprefix("network.").split(".")[0]: rates[id(value)]
        for key, value in module.named_parameters()
        if value.requires_grad
    }
    below = {
        "inception_a": 2**-5, "reduction_a": 2**-4, "inception_b": 2**-3, "reduction_b": 2**-2,
        "inception_c": 2**-1,
    }  # fmt: skip
    assert found == {
        **(below if freeze == "stem" else {}), "classifier": 1.0, "auxiliary_head": 1.0
    }  # fmt: skip
