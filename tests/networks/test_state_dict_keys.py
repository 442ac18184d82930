import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from inceptcli.networks.registry import build, network_options

TABLE = Path(__file__).with_name("state_dict_keys.txt")
PINNED = ("iv4", "irv1", "irv2", "iv4-tf", "irv2-tf", "irv1-facenet")
STATISTICS = ("weight", "bias", "running_mean", "running_var")

Shapes = dict[str, tuple[int, ...]]


def built(name: str) -> Shapes:
    with torch.device("meta"):
        tensors = build(network_options(name)).state_dict()
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
    counted = re.search(r"\b0-(\d+)\b", names)
    if counted is None:
        yield names
    else:
        for index in range(int(counted[1]) + 1):
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
    # 149 convolution units of six tensors and one classifier; 204, 40 Linears and one classifier.
    assert len(pinned("iv4")) == 149 * 6 + 2
    assert len(pinned("irv2-tf")) == 204 * 6 + 40 * 2 + 2


def test_the_released_inception_v4_has_the_papers_keys_with_kernels_transposed() -> None:
    paper, released = built("iv4"), built("iv4-tf")
    assert list(paper) == list(released)
    different = {key for key in paper if paper[key] != released[key]}
    assert len(different) == 2 + 7 * 4 + 3 * 2
    for key in different:
        assert paper[key][2:] == released[key][:1:-1]
