"""What an import refuses, repairs and records; parity has files of its own."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from inceptcli.errors import UserError
from inceptcli.networks.registry import network_options
from inceptcli.weights.file import load_network, load_tensors, read_metadata
from inceptcli.weights.foreign.importing import convert
from inceptcli.weights.formats import foreign_file
from inceptcli.weights.imagenet_classes import imagenet_classes
from inceptcli.weights.keys.facenet_keys import INCEPTION_RESNET_V1
from inceptcli.weights.keys.key_table import KeyTable, layout
from inceptcli.weights.keys.timm_keys import CADENE_INCEPTION_RESNET_V2, INCEPTION_V4
from tests.weights.safetensors_files import write


def foreign(table: KeyTable, num_classes: int = 3) -> dict[str, Tensor]:
    """A state dict in their layout: zeros, and the rows of the classifier numbered."""
    ours = layout(network_options(table.network, num_classes=num_classes))
    theirs = table.theirs(ours)
    tensors = {
        theirs[key]: torch.zeros(value.shape, dtype=value.dtype) for key, value in ours.items()
    }
    tensors[theirs["classifier.bias"]] = torch.arange(num_classes).float()
    return tensors


def refused(source: Path, **options: Any) -> str:
    """The one line of the refusal, which must leave nothing behind."""
    before = sorted(source.parent.iterdir())
    with pytest.raises(UserError) as refusal:
        convert(source, source.parent / "out.safetensors", **options)
    assert sorted(source.parent.iterdir()) == before
    assert "\n" not in str(refusal.value)
    return str(refusal.value)


@pytest.mark.parametrize(
    "table", [INCEPTION_V4, CADENE_INCEPTION_RESNET_V2], ids=lambda table: table.network
)
def test_the_background_row_of_1001_is_dropped(table: KeyTable, tmp_path: Path) -> None:
    torch.save(foreign(table, 1001), tmp_path / "cadene.pth")
    report = convert(tmp_path / "cadene.pth", tmp_path / "ours.safetensors")
    assert report.metadata.network.name == table.network
    assert report.remarks[0] == "dropped row 0 of the 1001-row classifier, the background class"
    assert report.remarks[-1].startswith("assumed: the 1000 classes are ImageNet's")
    bias = load_tensors(tmp_path / "ours.safetensors")["classifier.bias"]
    assert torch.equal(bias, torch.arange(1, 1001).float())
    assert read_metadata(tmp_path / "ours.safetensors").classes == imagenet_classes()


def test_the_metadata_says_where_the_weights_came_from(tmp_path: Path) -> None:
    source, output = tmp_path / "anything", tmp_path / "ours.safetensors"
    torch.save(foreign(INCEPTION_V4), source)
    report = convert(source, output, source_note={"repository": "timm/x", "commit": "abc"})
    network, metadata = load_network(output)
    assert metadata.source_sha256 == hashlib.sha256(source.read_bytes()).hexdigest()
    assert metadata.source == {
        "family": "timm or Cadene, Inception-v4",
        "repository": "timm/x",
        "commit": "abc",
    }
    assert metadata.initialized == []
    assert metadata.assumed == [
        "classes", "image_size", "resize", "crop_fraction", "interpolation", "mean", "std",
        "antialias",
    ]  # fmt: skip
    assert metadata.unnamed
    assert report.remarks[0] == (
        "assumed for timm or Cadene, Inception-v4: images of 299x299, resize short-side, "
        "crop fraction 0.875, bicubic, mean 0.5, std 0.5 (--image-size, --crop-fraction, "
        "--interpolation, --mean, --std)"
    )
    assert report.remarks[1].startswith("the 3 classes are unnamed and cannot be matched")
    assert [entry.id for entry in metadata.classes] == ["0", "1", "2"]
    assert network(torch.zeros(1, 3, 75, 75)).tolist() == [[0, 1, 2]]


def wrapped(tensors: dict[str, Tensor]) -> object:
    return {"epoch": 3, "state_dict": {f"module.{key}": value for key, value in tensors.items()}}


@pytest.mark.parametrize(
    "write",
    [
        lambda tensors, path: torch.save(wrapped(tensors), path),
        lambda tensors, path: torch.save(tensors, path, _use_new_zipfile_serialization=False),
        save_file,
    ],
    ids=["wrapped", "legacy", "safetensors"],
)
def test_wrapped_old_and_half_precision_files_are_read(
    write: Callable[[dict[str, Tensor], Path], None], tmp_path: Path
) -> None:
    tensors = {
        key: value.half()
        for key, value in foreign(INCEPTION_RESNET_V1).items()
        if not key.endswith("num_batches_tracked")
    }
    write(tensors, tmp_path / "weights.bin")
    report = convert(tmp_path / "weights.bin", tmp_path / "ours.safetensors")
    assert "converted torch.float16 to torch.float32" in report.remarks
    found = load_tensors(tmp_path / "ours.safetensors")
    assert found["classifier.bias"].tolist() == [0.0, 1.0, 2.0]
    assert found["stem.0.batch_norm.num_batches_tracked"].dtype == torch.int64


def test_tensors_that_do_not_fit_are_listed(tmp_path: Path) -> None:
    tensors = foreign(INCEPTION_V4)
    for index in range(6, 8):
        for part in ("weight", "bias", "running_mean", "running_var"):
            for branch in ("branch0", "branch1.0"):
                del tensors[f"features.{index}.{branch}.bn.{part}"]
    path = tmp_path / "a.pth"
    torch.save(tensors, path)
    said = refused(path)
    assert (
        "recognized as timm or Cadene, Inception-v4, but 16 missing: features.6.branch0.bn.w"
        in said
    )
    assert said.count("features.") == 10
    assert said.endswith("; --partial initializes what is missing")
    tensors["aux.weight"] = torch.zeros(1)
    tensors["features.0.conv.weight"] = torch.zeros(32, 1, 3, 3)
    torch.save(tensors, path)
    said = refused(path, partial=True)
    assert said.endswith(
        "1 unexpected: aux.weight; "
        "1 with the wrong shape: features.0.conv.weight (32x1x3x3, expected 32x3x3x3)"
    )


def test_partial_initializes_and_records_what_is_missing(tmp_path: Path) -> None:
    tensors = foreign(INCEPTION_RESNET_V1)
    del tensors["logits.weight"], tensors["logits.bias"], tensors["conv2d_1a.conv.weight"]
    torch.save(tensors, tmp_path / "face.pt")
    assert "3 missing: conv2d_1a.conv.weight, logits.weight, logits" in refused(
        tmp_path / "face.pt"
    )
    missing = ["stem.0.conv.weight", "classifier.weight", "classifier.bias"]
    for name in ("first", "second"):
        report = convert(tmp_path / "face.pt", tmp_path / name, partial=True)
        assert report.metadata.initialized == missing
        assert report.remarks[0].startswith("the source has no classifier: the file supports")
    network, metadata = load_network(tmp_path / "first")
    assert (metadata.initialized, metadata.network.num_classes) == (missing, 1)
    assert network.state_dict()["stem.0.conv.weight"].std() > 0.1
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()


class RunsCode:
    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.system, (f"{sys.executable} -c \"open('{self.trace}', 'w')\"",))


def test_a_pickle_that_would_run_code_is_refused_and_does_not_run(tmp_path: Path) -> None:
    trace, folder = tmp_path / "trace", tmp_path / "files"
    folder.mkdir()
    evil = {"state_dict": RunsCode(trace)}
    torch.save(evil, folder / "archive.pt")
    torch.save(evil, folder / "legacy.pt", _use_new_zipfile_serialization=False)
    (folder / "plain.pkl").write_bytes(pickle.dumps(evil))
    for path in list(folder.iterdir()):
        said = refused(path)
        assert "a pickle that could run code" in said
        assert "system" in said or path.name == "plain.pkl"
    assert not trace.exists()
    pickle.loads((folder / "plain.pkl").read_bytes())
    assert trace.exists(), "the pickle must be able to run code, or the test shows nothing"


def test_files_that_are_no_weights_are_refused_with_the_reason(tmp_path: Path) -> None:
    save_file({"weight": torch.zeros(64)}, tmp_path / "whole")
    whole = (tmp_path / "whole").read_bytes()
    torch.save({"weight": torch.zeros(64)}, tmp_path / "archive")
    archive = (tmp_path / "archive").read_bytes()
    torch.save([torch.zeros(1)], tmp_path / "list")
    torch.save(nn.Linear(1, 1), tmp_path / "module")
    contents = {
        "truncated": (whole[:-9], "not a weights file"),
        "lying": (struct.pack("<Q", 2**40) + whole[8:], "not a weights file"),
        "short": (struct.pack("<Q", 8) + whole[8:], "not a weights file"),
        "empty": (b"", "not a weights file"),
        "pointer": (b"version https://git-lfs.github.com/spec/v1\noid", "git lfs pull"),
        "html": (b"\n<!DOCTYPE html><html>", "a web page"),
        "text": (b"404: Not Found\n" * 3, "it is text"),
        "half": (archive[: len(archive) // 2], "damaged or incomplete archive"),
        "tar": (b"x".ljust(257, b"\0") + b"ustar".ljust(255, b"\0"), "a tar archive"),
        "keras": (b"\x89HDF\r\n\x1a\n", "not a Keras weights file"),
        "list": ((tmp_path / "list").read_bytes(), "contains a list, not a state dict"),
        "module": ((tmp_path / "module").read_bytes(), r"torch.nn.modules.linear.Linear"),
        "whole": (whole, "not a supported network (its first keys: weight)"),
    }
    for name, (content, reason) in contents.items():
        (tmp_path / name).write_bytes(content)
        assert reason in refused(tmp_path / name), name


@pytest.mark.given_data
def test_real_files_that_are_not_weights_are_refused(given_data: Path, tmp_path: Path) -> None:
    reasons = {"html-page.pb": "it is a web page", "text.h5": "it is text"}
    for path in (given_data / "not-weights").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
        assert reasons[path.name] in refused(tmp_path / path.name)


def test_another_network_is_named(tmp_path: Path) -> None:
    for key, name in {
        "layer1.0.conv1.weight": "a ResNet",
        "blocks.0.attn.qkv.weight": "a vision transformer",
        "network.stem.0.conv.weight": "part of an inceptcli checkpoint; import the whole ch",
    }.items():
        torch.save({"conv1.weight": torch.zeros(1), key: torch.zeros(1)}, tmp_path / "other.pth")
        said = refused(tmp_path / "other.pth")
        assert f"looks like {name}" in said
        assert "; supported are timm, torchvision (Inception-v3), Cadene" in said


@pytest.mark.parametrize("length", [0x80, 0x0180, 0x0280, 0x0480, 0x8B1F, 0x010000])
def test_safetensors_of_any_length_of_header_is_read(length: int, tmp_path: Path) -> None:
    """A length may be written as other formats start: 0x80 is PyTorch's pickles' first byte."""
    place = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    header = json.dumps({"weight": place}).encode().ljust(length)
    path = write(tmp_path / "model.safetensors", header, struct.pack("<2f", 1, 2))
    (found,) = foreign_file.read_foreign_file(path).groups.values()
    assert {key: tensor.tolist() for key, tensor in found.items()} == {"weight": [1, 2]}
    ours = json.dumps({"__metadata__": {"inceptcli": ""}, "weight": place}).encode().ljust(length)
    write(path, ours, struct.pack("<2f", 1, 2))
    assert "already an inceptcli weights file" in refused(path)


def test_a_file_of_ours_needs_no_import(tmp_path: Path) -> None:
    torch.save(foreign(INCEPTION_V4), tmp_path / "a.pth")
    convert(tmp_path / "a.pth", tmp_path / "ours.safetensors")
    assert "already an inceptcli weights file" in refused(tmp_path / "ours.safetensors")


def test_a_missing_h5py_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    (tmp_path / "a.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    assert refused(tmp_path / "a.h5").endswith("needs h5py: pip install 'inceptcli[keras]'")


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    torch.save(foreign(INCEPTION_V4), tmp_path / "a.pth")
    monkeypatch.setattr("safetensors.torch.save_file", fail)
    with pytest.raises(OSError, match="No space"):
        convert(tmp_path / "a.pth", tmp_path / "out.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["a.pth"]
