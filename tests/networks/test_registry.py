import subprocess
import sys
from dataclasses import FrozenInstanceError
from typing import Any

import pytest

from inceptcli.networks.boxes import AveragePool, Boxes, Fork
from inceptcli.networks.registry import (
    NETWORKS,
    NetworkOptions,
    build,
    describe,
    network_options,
)

LAST_WIDTHS = {
    "iv4": 1536, "irv1": 1792, "irv2": 2144, "iv4-tf": 1536, "irv2-tf": 1536, "iv3": 2048
}  # fmt: skip


def test_defaults_are_the_layouts_own() -> None:
    facenet = network_options("irv1-facenet")
    assert (facenet.repeats, facenet.dropout) == ((5, 10, 6), 0.6)
    assert network_options("irv2-tf").repeats == (10, 20, 10)
    assert network_options("irv2").repeats == (5, 10, 5)
    assert network_options("iv4").residual_scales is None
    assert network_options("iv3").repeats is None


def test_changes_apply_and_none_keeps_the_default() -> None:
    options = network_options("irv1", num_classes=5, repeats=[1, 2, 3], dropout=None)
    assert options == NetworkOptions(
        "irv1", 5, repeats=(1, 2, 3), residual_scales=(0.17, 0.10, 0.20), dropout=0.2
    )


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("inception", {}, "unknown network 'inception'; known: iv4, irv1, irv2, iv4-tf"),
        ("iv4", {"residual_scales": (0.1, 0.1, 0.1)}, "iv4 has no residual modules"),
        ("iv3", {"shortcut": False}, "iv3 has no residual modules"),
        ("iv4-tf", {"batch_norm_on_sums": "last"}, "iv4-tf has no residual modules"),
        ("iv3", {"repeats": (1, 1, 1)}, "iv3 has fixed modules"),
        ("irv2", {"count_padding": True}, "irv2 has no padded average pools"),
        ("iv3", {"width": 0.0}, "width must be over 0 and at most 4, got 0.0"),
        ("irv2", {"width": float("nan")}, "width must be over 0 and at most 4, got nan"),
        ("irv1", {"width": 4.01}, "width must be over 0 and at most 4, got 4.01"),
        ("irv1", {"repeats": (1, 0, 1)}, r"repeats must be at least 1 each, got \(1, 0, 1\)"),
    ],
)
def test_wrong_options_are_refused(name: str, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        network_options(name, **changes)


def test_building_an_unknown_network_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown network 'resnet'"):
        build(NetworkOptions("resnet"))


def test_options_as_dict_build_the_same_options_again() -> None:
    for name in NETWORKS:
        options = network_options(name, num_classes=7)
        assert network_options(**options.as_dict()) == options


DESCRIBED = """
import sys
from inceptcli.networks.difference import difference
from inceptcli.networks.registry import NETWORKS, describe, network_options
from inceptcli.networks.state_dict import auxiliary_head_shapes, state_dict_shapes
from inceptcli.networks.summary import summarize

chosen = [network_options(name) for name in NETWORKS]
found = []
for options in chosen:
    description = describe(options)
    assert description.stages
    assert state_dict_shapes(description) and auxiliary_head_shapes(description)
    found.append(summarize(options, (299, 299)))
assert not difference(found[0], found[1], (chosen[0], chosen[1])).none
print(len(found), *sorted({"torch", "numpy", "onnx", "onnxruntime"} & set(sys.modules)))
"""


def test_networks_are_described_counted_and_compared_without_torch_numpy_and_onnx() -> None:
    done = subprocess.run(
        [sys.executable, "-c", DESCRIBED], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [str(len(NETWORKS))]


def test_describing_an_unknown_network_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown network 'resnet'"):
        describe(NetworkOptions("resnet"))


@pytest.mark.parametrize("name", NETWORKS)
def test_a_description_is_a_constant(name: str) -> None:
    """Equal options have equal descriptions, and nobody changes one by mistake."""
    options = network_options(name)
    description = describe(options)
    assert description == describe(network_options(name))
    with pytest.raises(FrozenInstanceError):
        description.embedding_width = 3  # type: ignore[misc]
    assert description.num_features == (512 if name == "irv1-facenet" else LAST_WIDTHS[name])


def has_average_pools(boxes: Boxes) -> bool:
    if isinstance(boxes, Fork):
        return any(map(has_average_pools, boxes.paths.values()))
    return (
        any(map(has_average_pools, boxes))
        if isinstance(boxes, list)
        else (isinstance(boxes, AveragePool))
    )


@pytest.mark.parametrize("name", NETWORKS)
def test_padding_can_be_counted_where_a_pool_has_some(name: str) -> None:
    stages = describe(network_options(name)).stages
    found = any(has_average_pools(stage.boxes) for stage in stages)
    assert NETWORKS[name].has_padded_pools == found
