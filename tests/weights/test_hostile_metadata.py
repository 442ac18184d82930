"""Metadata of weights that nobody of this program wrote: one line, before anything is built."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from inceptcli.data.pixels.preprocessing import Preprocessing
from inceptcli.networks.registry import network_options
from inceptcli.weights.file import load_network, read_metadata
from inceptcli.weights.metadata import ClassName, WeightsMetadata
from tests.cli.conftest import check_one_line, inceptcli, picture
from tests.prediction.conftest import save_small_network


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_small_network(tmp_path_factory.mktemp("run") / "model.safetensors")


def plain() -> dict[str, Any]:
    classes = tuple(ClassName(f"n{number}", str(number)) for number in range(6))
    metadata = WeightsMetadata(
        network_options("irv1", num_classes=6), classes, Preprocessing((75, 75))
    )
    return dict(json.loads(metadata.to_header()["inceptcli"]))


def write(path: Path, text: str) -> Path:
    """A weights file without tensors and with this metadata, whatever it is."""
    header = json.dumps({"__metadata__": {"inceptcli": text}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    return path


def changed(place: Sequence[str], value: object) -> str:
    values = plain()
    inner = values
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    return json.dumps(values)


HOSTILE = {
    "repeats.0 must be less than or equal to 64": ("network.repeats", [10**6] * 3),
    "repeats must have at least 3": ("network.repeats", [1]),
    "image_size.0 must be less than or equal to 4096": ("preprocessing.image_size", [10**52, 75]),
    "image_size.0 must be less than or equal to 4096, got 5000": (
        "preprocessing.image_size", [5000, 5000]
    ),
    "network.name must be text": ("network.name", ["irv1"]),
    "unknown network": ("network.name", "x" * 999),
    "num_classes must be less than or equal to 100000": ("network.num_classes", 10**9),
    "shortcut must be a valid boolean": ("network.shortcut", "no"),
    "residual_scales.0 must be a valid number": ("network.residual_scales", [10**400] * 3),
    "residual_scales.0 must be a finite number": ("network.residual_scales", [float("inf")] * 3),
    "batch_norm_eps must be greater than 0": ("network.batch_norm_eps", -1),
    "network must be a valid dictionary": ("network", [1]),
    "crop_fraction must be greater than or equal to 0.01": ("preprocessing.crop_fraction", 1e-300),
    "image_size must be at least 75": ("preprocessing.image_size", [74, 75]),
    "mean must have one number per input channel, 1": ("network.in_channels", 1),
    "mean must be 3 finite numbers": ("preprocessing.mean", [0.5, 0.5]),
    "std.0 must be greater": ("preprocessing.std", [0.0]),
    "'n0' appears twice": ("classes", [["n0", "a"], ["n0", "b"], ["n1", "c"]]),
    "classes must be a valid list": ("classes", "abcdef"),
    "classes.0 must have at least 2 items": ("classes", [["a"]]),
    "5 class names for 6 classes": ("classes", [[str(n), ""] for n in range(5)]),
    "recipe must be a valid dictionary": ("recipe", [1]),
    "epoch must be a valid integer": ("epoch", "first"),
    "metrics.a must be a valid number": ("metrics", {"a": "b"}),
    "initialized must be a valid list": ("initialized", "all"),
    "schema version 'vvvvvvvvvvvv...vvvvvvvvvvvvv'": ("schema_version", "v" * 10**6),
    "extra Extra inputs are not permitted": ("extra", 1),
}  # fmt: skip


@pytest.mark.parametrize("said", HOSTILE)
def test_hostile_metadata_is_refused_in_one_short_line(said: str, tmp_path: Path) -> None:
    place, value = HOSTILE[said]
    path = write(tmp_path / "w.safetensors", changed(place.split("."), value))
    picture(tmp_path / "a.png", 0)
    done = inceptcli("predict", tmp_path / "a.png", "--weights", path)
    check_one_line(
        done, 1, f"Error: {path}: not an inceptcli weights file: its metadata is damaged: "
    )
    assert said in done.stderr
    assert len(done.stderr) < 500 + len(str(path))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[" * 200_000, "nested too deeply"),
        ('{"schema_version": 1, "recipe": ' + '{"a":' * 200_000, "nested too deeply"),
        ('{"schema_version": ' + "1" * 5000 + "}", "4300 digits"),
        ('{"schema_version": 1e999}', "schema version inf"),
    ],
)
def test_hostile_json_is_refused_in_one_short_line(text: str, said: str, tmp_path: Path) -> None:
    done = inceptcli("summarize", write(tmp_path / "w.safetensors", text))
    check_one_line(done, 1, said)
    assert len(done.stderr) < 500 + len(str(tmp_path))


def test_names_of_classes_may_be_bytes_that_are_no_text() -> None:
    classes = (ClassName("n\udc80", "n\udc80"), ClassName("b", "käse"))
    metadata = WeightsMetadata(
        network_options("irv1", num_classes=2), classes, Preprocessing((75, 75)),
        recipe={"data": {"path": "a\udc80"}}, metrics={"val_loss": float("inf")},
    )  # fmt: skip
    assert WeightsMetadata.from_header(metadata.to_header()) == metadata


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_another_precision_are_read(
    dtype: torch.dtype, weights: Path, tmp_path: Path
) -> None:
    tensors = {
        key: tensor.to(dtype) if tensor.is_floating_point() else tensor
        for key, tensor in load_file(weights).items()
    }
    path = tmp_path / "half.safetensors"
    save_file(tensors, path, read_metadata(weights).to_header())
    picture(tmp_path / "a.png", 0)
    rows = [
        json.loads(inceptcli("predict", tmp_path / "a.png", "--weights", file, "--device", "cpu",
                             "--format", "jsonl", "--top-k", 6).stdout)["predictions"]
        for file in (weights, path)
    ]  # fmt: skip
    found, expected = ({row["class"]: row["probability"] for row in each} for each in rows)
    assert found == pytest.approx(expected, abs=0.02)
    assert load_network(path)[0].get_parameter("classifier.weight").dtype == torch.float32


def test_whole_numbers_as_weights_are_refused(weights: Path, tmp_path: Path) -> None:
    tensors = load_file(weights)
    tensors["classifier.weight"] = tensors["classifier.weight"].to(torch.int32)
    save_file(tensors, tmp_path / "w.safetensors", read_metadata(weights).to_header())
    picture(tmp_path / "a.png", 0)
    done = inceptcli("predict", tmp_path / "a.png", "--weights", tmp_path / "w.safetensors")
    check_one_line(done, 1, "tensors do not fit irv1: wrong type of classifier.weight: I32")


@pytest.mark.parametrize("command", ["predict", "eval", "summarize", "export", "train"])
def test_a_pipe_as_weights_is_refused_and_not_waited_for(command: str, tmp_path: Path) -> None:
    os.mkfifo(pipe := tmp_path / "w.safetensors")
    picture(tmp_path / "a.png", 0)
    arguments: dict[str, list[object]] = {
        "predict": [tmp_path / "a.png", "--weights", pipe],
        "eval": [pipe, "--data", tmp_path],
        "summarize": [pipe],
        "export": [pipe, "--to", "timm", "--output", tmp_path / "out.safetensors"],
        "train": ["--init", pipe, "--output", tmp_path / "run"],
    }
    check_one_line(inceptcli(command, *arguments[command]), 2, "not a regular file")


@pytest.mark.parametrize("beside", [False, True])
def test_a_pipe_as_a_tar_shard_or_its_index_is_not_waited_for(
    beside: bool, weights: Path, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / ("a.tar.json" if beside else "a.tar"))
    if beside:
        (tmp_path / "a.tar").write_bytes(bytes(10240))
    command = ["predict", tmp_path / "a.tar", "--weights", weights, "--device", "cpu"]
    done = inceptcli(*command)
    assert done.exit_code == (0 if beside else 1)
    assert beside or done.stderr.endswith("a.tar: not a regular file\n")
