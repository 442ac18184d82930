"""Checkpoints as they lie around: nested, prefixed, averaged, sharded, with other things inside."""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from inceptcli.errors import UserError
from inceptcli.weights.foreign.importing import Imported, imported
from inceptcli.weights.foreign.recognition import TABLES
from inceptcli.weights.keys.facenet_keys import INCEPTION_RESNET_V1
from inceptcli.weights.keys.timm_keys import INCEPTION_V4
from tests.cli.conftest import inceptcli
from tests.weights.foreign_files import numbered, numbered_head

NESTS = ("model", "model_state_dict", "net", "module", "state_dict", "network", "params")
PREFIXES = ("module.", "_orig_mod.", "model.", "network.", "timm_model.", "a.b.", "encoder.")


def first(found: Imported) -> int:
    """The value of the first tensor: whose weights they are."""
    return int(found.tensors["stem.0.conv.weight"].flatten()[0])


@pytest.mark.parametrize("names", [("state_dict", "state_dict_ema"), ("model", "model_ema")])
def test_the_average_is_taken_unless_raw_is_asked_for(
    names: tuple[str, str], tmp_path: Path
) -> None:
    weights = {
        name: numbered(INCEPTION_V4, start=at) for name, at in zip(names, (0, 5), strict=True)
    }
    path = tmp_path / "last.pth.tar"
    torch.save({"epoch": 3, **weights, "arch": "inception_v4"}, path)
    found = imported(path)
    assert (first(found), found.metadata.averaged) == (5, True)
    assert found.remarks[0] == f"using {names[1]}: averaged weights"
    assert found.remarks[1] == f"skipped {names[0]}: raw weights (--raw uses them)"
    found = imported(path, raw=True)
    assert (first(found), found.metadata.averaged) == (0, False)
    assert found.metadata.source["weights"] == names[0]


def test_raw_says_what_was_taken_on_the_command_line(tmp_path: Path) -> None:
    weights = {"state_dict": numbered(INCEPTION_V4), "state_dict_ema": numbered(INCEPTION_V4, 3, 5)}
    torch.save(weights, tmp_path / "last.pth.tar")
    command = ("import", tmp_path / "last.pth.tar", "--output", tmp_path / "ours.safetensors")
    assert "using state_dict_ema: averaged weights" in inceptcli(*command).stderr
    done = inceptcli(*command, "--raw")
    assert (done.exit_code, "using state_dict: weights" in done.stderr) == (0, True)


def test_an_average_that_is_no_whole_network_is_passed_over(tmp_path: Path) -> None:
    ema = {k: v for k, v in numbered(INCEPTION_V4, start=5).items() if "running" not in k}
    torch.save({"state_dict": numbered(INCEPTION_V4), "ema": ema}, tmp_path / "a.pth")
    found = imported(tmp_path / "a.pth")
    assert (first(found), found.metadata.averaged) == (0, False)
    assert any("skipped ema: averaged weights without" in line for line in found.remarks)


def test_two_networks_that_differ_are_refused_and_equal_ones_are_one(tmp_path: Path) -> None:
    student = numbered(INCEPTION_V4)
    both = {f"student.{k}": v for k, v in student.items()}
    same = both | {f"copy.{k}": v for k, v in student.items()}
    torch.save(same, tmp_path / "a.pth")
    assert first(imported(tmp_path / "a.pth")) == 0
    both |= {f"teacher.{k}": v for k, v in numbered(INCEPTION_V4, start=5).items()}
    torch.save(both, tmp_path / "a.pth")
    with pytest.raises(UserError, match=r"several matching networks \(student\., teacher\.\)"):
        imported(tmp_path / "a.pth")


def test_swa_of_torch_and_counters_of_a_profiler(tmp_path: Path) -> None:
    tensors = {f"module.{k}": v for k, v in numbered(INCEPTION_RESNET_V1).items()}
    tensors |= {"n_averaged": torch.tensor(7), "module.conv2d_1a.total_ops": torch.zeros(1)}
    torch.save(tensors, tmp_path / "swa.pt")
    found = imported(tmp_path / "swa.pt")
    assert found.metadata.averaged
    assert "skipped 2 counters, such as n_averaged" in found.remarks


def test_extras_that_are_inert_are_passed_over(tmp_path: Path) -> None:
    checkpoint = {
        "args": argparse.Namespace(lr=0.1, tags={"a"}),
        "best": np.float64(0.5),
        "when": np.array([1, 2]),
        "path": tmp_path,
        "model": numbered(INCEPTION_V4),
    }
    for kind in (True, False):
        torch.save(checkpoint, tmp_path / "a.pt", _use_new_zipfile_serialization=kind)
        assert first(imported(tmp_path / "a.pt")) == 0


def test_an_index_stands_for_its_shards(tmp_path: Path) -> None:
    tensors = {k: v.contiguous() for k, v in numbered(INCEPTION_V4).items()}
    keys = list(tensors)
    halves = {"a.safetensors": keys[:200], "b.safetensors": keys[200:]}
    for name, half in halves.items():
        save_file({key: tensors[key] for key in half}, tmp_path / name)
    weight_map = {key: name for name, half in halves.items() for key in half}
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    done = inceptcli("import", index, "--output", tmp_path / "ours.safetensors")
    assert done.exit_code == 0, done.stderr
    (tmp_path / "b.safetensors").rename(tmp_path / "c.safetensors")
    with pytest.raises(UserError, match=r"its shard b\.safetensors is not in its folder"):
        imported(index)
    outside: list[Any] = [{"weight_map": {"a": "../a.safetensors"}}, {}, []]
    for wrong in outside:
        index.write_text(json.dumps(wrong))
        with pytest.raises(UserError, match=r"shards must be in its folder|has no weight_map"):
            imported(index)


def test_the_bias_of_a_classifier_says_how_many_classes_there_are(tmp_path: Path) -> None:
    tensors = numbered(INCEPTION_RESNET_V1, 12)
    del tensors["logits.weight"]
    torch.save(tensors, tmp_path / "a.pth")
    found = imported(tmp_path / "a.pth", partial=True)
    assert found.metadata.network.num_classes == 12
    assert found.metadata.initialized == ["classifier.weight"]
    assert not found.metadata.has_classifier


def wrapped(
    chance: random.Random, tensors: dict[str, Tensor], head: dict[str, Tensor]
) -> tuple[Any, bool]:
    """The state dict as somebody saved it, and whether a tensor of it is gone.

    The auxiliary `head`, if any, is beside it in two of three.
    """
    tensors = dict(tensors)
    if spoiled := chance.random() < 0.3:
        key = chance.choice([key for key in tensors if not key.endswith("num_batches_tracked")])
        kind = chance.choice(("gone", "misshapen", "whole numbers", "renamed"))
        value = tensors.pop(key)
        if kind == "misshapen":
            tensors[key] = value[..., None]
        elif kind == "whole numbers":
            tensors[key] = value.to(torch.int8)
        elif kind == "renamed":
            tensors[f"{key}x"] = value
    if head and chance.random() < 2 / 3:
        tensors |= head
    for prefix in chance.choices(PREFIXES, k=chance.randint(0, 3)):
        tensors = {f"{prefix}{key}": value for key, value in tensors.items()}
    if chance.random() < 0.3:
        tensors |= {"n_averaged": torch.tensor(1), "x.total_params": torch.zeros(1)}
    items = list(tensors.items())
    if chance.random() < 0.5:
        chance.shuffle(items)
    saved: Any = dict(items)
    for name in chance.choices(NESTS, k=chance.randint(0, 3)):
        saved = {name: saved}
        for extra in chance.sample(("epoch", "args", "optimizer", "best", "loss"), k=2):
            saved[extra] = {
                "epoch": 3,
                "args": argparse.Namespace(a=1),
                "optimizer": {"state": {0: {"exp_avg": torch.zeros(2)}}, "param_groups": []},
                "best": np.float32(1),
                "loss": torch.tensor(0.5),
            }[extra]
    return saved, spoiled


@pytest.mark.system
def test_any_wrapping_is_imported_to_equal_tensors_or_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    outcomes = set()
    for number in range(200):
        chance = random.Random(number)
        table = chance.choice(TABLES)
        saved, spoiled = wrapped(chance, numbered(table), numbered_head(table))
        torch.save(saved, path, _use_new_zipfile_serialization=chance.random() < 0.8)
        outcomes.add(spoiled)
        if spoiled:
            with pytest.raises(
                UserError, match=r"missing|unexpected|wrong shape|floating-point"
            ) as refusal:
                imported(path)
            assert "\n" not in str(refusal.value)
            continue
        found = imported(path)
        assert found.metadata.network.name == table.network, number
        for place, (key, tensor) in enumerate(found.tensors.items()):
            assert not any(tensor.stride()), key  # one value
            assert tensor[(0,) * tensor.ndim] == torch.tensor(place, dtype=tensor.dtype), key
    assert outcomes == {True, False}
