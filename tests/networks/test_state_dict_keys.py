import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from inceptcli.networks.registry import NETWORKS, build, describe, network_options
from inceptcli.networks.state_dict import state_dict_shapes
from tests.networks.variants import VARIANTS

TABLE = Path(__file__).with_name("state_dict_keys.txt")
PINNED = ("iv4", "irv1", "irv2", "iv4-tf", "irv2-tf", "irv1-facenet", "iv3")
STATISTICS = ("weight", "bias", "running_mean", "running_var")

Shapes = dict[str, tuple[int, ...]]


def built(name: str, **changes: Any) -> Shapes:
    with torch.device("meta"):
        tensors = build(network_options(name, **changes)).state_dict()
    return {key: tuple(tensor.shape) for key, tensor in tensors.items()}


def pinned(name: str) -> Shapes:
    section = TABLE.read_text(encoding="utf-8").split(f"[{name}]\n")[1].split("\n\n")[0]
    shapes: Shapes = {}
    for line in section.splitlines():
        names, kind, shape = line.split()
        for expanded in expand(names):
            shapes |= tensors_of(expanded, kind, tuple(map(int, shape.split("x"))))
    return shapes


def expand(names: str) -> Iterator[str]:
    counted = re.search(r"\b(\d+)-(\d+)\b", names)
    if counted is None:
        yield names
    else:
        for index in range(int(counted[1]), int(counted[2]) + 1):
            yield names.replace(counted[0], str(index))


def tensors_of(name: str, kind: str, shape: tuple[int, ...]) -> Shapes:
    if kind == "conv":
        normed = tensors_of(f"{name}.batch_norm", "batch_norm", shape[:1])
        return {f"{name}.conv.weight": shape, **normed}
    if kind == "batch_norm":
        width = {f"{name}.{statistic}": shape for statistic in STATISTICS}
        return {**width, f"{name}.num_batches_tracked": ()}
    weight = {f"{name}.weight": shape}
    return weight if kind == "weight" else {**weight, f"{name}.bias": shape[:1]}


@pytest.mark.parametrize("name", PINNED)
def test_keys_and_shapes_are_the_pinned_ones(name: str) -> None:
    assert built(name) == pinned(name)


def test_the_table_has_as_many_entries_as_the_networks_have_boxes() -> None:
    # 149 convolutions of six tensors and one classifier; 204, 40 Linears and one classifier.
    assert len(pinned("iv4")) == 149 * 6 + 2
    assert len(pinned("irv2-tf")) == 204 * 6 + 40 * 2 + 2
    assert len(pinned("iv3")) == 94 * 6 + 2


def test_every_network_is_pinned() -> None:
    assert set(PINNED) == set(NETWORKS)


@pytest.mark.parametrize(("name", "changes"), VARIANTS, ids=str)
def test_keys_shapes_and_their_order_are_known_without_torch(
    name: str, changes: dict[str, Any]
) -> None:
    shapes = state_dict_shapes(describe(network_options(name, **changes)))
    assert list(shapes.items()) == list(built(name, **changes).items())


def test_the_released_inception_v4_has_the_papers_keys_with_kernels_transposed() -> None:
    paper, released = built("iv4"), built("iv4-tf")
    assert list(paper) == list(released)
    different = {key for key in paper if paper[key] != released[key]}
    assert len(different) == 2 + 7 * 4 + 3 * 2
    for key in different:
        assert paper[key][2:] == released[key][:1:-1]
