"""The recipes of the paper against TF-slim's networks, which `measure_networks.py` measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from inceptcli.networks.network import AuxiliaryHead
from inceptcli.networks.registry import build, network_options
from inceptcli.networks.summary import summarize
from inceptcli.recipe.file import find_recipe, read_with_bases
from inceptcli.recipe.schema import Recipe, check
from inceptcli.training.optimizers import parameter_groups
from inceptcli.weights.file import AUXILIARY_HEAD
from inceptcli.weights.keys.slim_keys import INCEPTION_RESNET_V2, INCEPTION_V4

FIGURES: dict[str, Any] = json.loads(Path(__file__).with_name("networks.json").read_text())
TABLES = {"iv4": INCEPTION_V4, "irv2": INCEPTION_RESNET_V2}


def figures_of(name: str) -> dict[str, Any]:
    found: dict[str, Any] = FIGURES[{"iv4": "inception_v4", "irv2": "inception_resnet_v2"}[name]]
    return found


def recipe_of(name: str) -> Recipe:
    return check(read_with_bases(find_recipe(f"paper/{name}"))[0], name)


def options_of(name: str, **changes: Any) -> Any:
    """The released layout as the paper's recipe trains it."""
    network = recipe_of(name).network
    chosen = {"batch_norm_scale": network.batch_norm_scale}
    chosen["initialization"] = network.initialization  # type: ignore[assignment]
    return network_options(f"{name}-tf", **chosen, **changes)


class Whole(nn.Module):
    """A network and its auxiliary head, named as in a weights file."""

    def __init__(self, name: str) -> None:
        super().__init__()
        options = options_of(name, repeats=(1, 1, 2))
        self.network = build(options)
        self.head = AuxiliaryHead(options)

    def named(self) -> dict[str, nn.Parameter]:
        head = {f"{AUXILIARY_HEAD}{key}": each for key, each in self.head.named_parameters()}
        return dict(self.network.named_parameters()) | head


@pytest.fixture(scope="module", params=TABLES)
def whole(request: pytest.FixtureRequest) -> tuple[str, Whole]:
    torch.manual_seed(0)
    return request.param, Whole(request.param)


@pytest.mark.parametrize(("name", "parameters"), [("iv4", 42_648_232), ("irv2", 55_813_192)])
def test_as_many_parameters_are_trained_as_in_tf_slim(name: str, parameters: int) -> None:
    options = options_of(name)
    assert figures_of(name)["parameters"] == parameters
    assert figures_of(name)["kinds"] == ["beta", "biases", "weights"]
    assert summarize(options, (299, 299)).parameters == parameters
    with torch.device("meta"):
        head = AuxiliaryHead(options).parameters()
    count = sum(value.numel() for value in head if value.requires_grad)
    assert count == figures_of(name)["auxiliary_parameters"]
    assert recipe_of(name).network.auxiliary_weight == 0.4


def test_what_decays_in_tf_slim_decays(whole: tuple[str, Whole]) -> None:
    name, module = whole
    groups = parameter_groups(recipe_of(name).optimizer, module, module.network)
    decays = {id(value): group["weight_decay"] for group in groups for value in group["params"]}
    named = module.named()
    theirs = TABLES[name].theirs(named)
    slim, decaying = figures_of(name), {key for key in named if decays.get(id(named[key]))}
    assert {decays[id(named[key])] for key in decaying} == {4e-5}
    biases = {theirs[key] for key in named if theirs[key].endswith("/biases")}
    found = {theirs[key] for key in decaying}
    assert found == {theirs[key] for key in named if theirs[key].endswith("/weights")} | (
        biases & set(slim["decaying_biases"])
    )
    # Every weight decays in TF-slim, and those biases: none in one network, 42 in the other.
    assert slim["decaying"] == len(slim["weights"]) + len(slim["decaying_biases"])
    assert len(slim["decaying_biases"]) == {"iv4": 0, "irv2": 42}[name]


def test_every_layer_begins_with_the_deviation_and_the_distribution_of_tf_slim(
    whole: tuple[str, Whole],
) -> None:
    name, module = whole
    named = module.named()
    theirs, weights = TABLES[name].theirs(named), figures_of(name)["weights"]
    compared = {key: value for key, value in named.items() if theirs[key] in weights}
    assert len(compared) >= 50
    for key, value in compared.items():
        deviation, largest = weights[theirs[key]]
        # Both are draws, and TensorFlow rounds the factor of a truncated deviation (0.3 %).
        noise = 0.004 + 5 / value.numel() ** 0.5
        assert value.std().item() == pytest.approx(deviation, rel=noise), key
        # Uniform weights end at 1.73 deviations, truncated normal ones at 2.27.
        ours = (value.abs().max() / value.std()).item()
        assert ours == pytest.approx(largest / deviation, abs=0.2), key
