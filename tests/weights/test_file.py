from __future__ import annotations

import json
import pickle
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from inceptcli.data.pixels.preprocessing import Preprocessing
from inceptcli.errors import UsageError, UserError
from inceptcli.networks.registry import build, network_options
from inceptcli.weights.file import (
    load_network,
    read_metadata,
    resolve,
    save,
    write_safetensors,
)
from inceptcli.weights.metadata import ClassName, WeightsMetadata
from tests.weights.safetensors_files import write

CLASSES = (ClassName("n01", "crane"), ClassName("n02", "crane"), ClassName("n03", "großer Ara"))


def metadata(**changes: Any) -> WeightsMetadata:
    options = network_options(
        "irv1", num_classes=3, repeats=[1, 2, 1], residual_scales=[0.1, 0.2, 0.3], **changes
    )
    preprocessing = Preprocessing(
        (96, 128), "squash", 0.9, "bilinear", (0.1, 0.2, 0.3), antialias=False
    )
    return WeightsMetadata(
        options, CLASSES, preprocessing, {"trainer": {"epochs": 3}}, 2, True, {"val_top1": 0.5}
    )


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    network = build(metadata().network)
    path = tmp_path / "model.safetensors"
    save(path, network.state_dict(), metadata())
    return path


def test_a_file_gives_back_network_and_metadata(saved: Path) -> None:
    network, found = load_network(saved)
    assert found == metadata()
    torch.manual_seed(0)
    expected = build(metadata().network)
    for key, tensor in expected.state_dict().items():
        assert torch.equal(network.state_dict()[key], tensor), key
    assert not network.training
    images = torch.rand(1, 3, 96, 128)
    torch.testing.assert_close(network(images), expected.eval()(images))


def test_the_header_is_json_of_schema_version_one(saved: Path) -> None:
    (length,) = struct.unpack("<Q", saved.read_bytes()[:8])
    header = json.loads(saved.read_bytes()[8 : 8 + length])["__metadata__"]
    values = json.loads(header["inceptcli"])
    assert values["schema_version"] == 1
    assert values["network"]["name"] == "irv1"
    assert values["classes"][2] == ["n03", "großer Ara"]


def test_metadata_is_read_without_torch(saved: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from inceptcli.weights.file import read_metadata;"
        "print(read_metadata(Path(sys.argv[1])).epoch, 'torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(saved)], check=True, capture_output=True, text=True
    )
    assert done.stdout.split() == ["2", "False"]


def test_a_run_directory_stands_for_its_weights(saved: Path) -> None:
    assert resolve(saved.parent) == resolve(saved) == saved
    (saved.parent / "empty").mkdir()
    with pytest.raises(UsageError, match=r"no model\.safetensors"):
        resolve(saved.parent / "empty")
    with pytest.raises(UsageError, match="no such weights"):
        resolve(saved.parent / "nothing")


class RunsCode:
    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.trace,))


def test_files_that_are_not_ours_are_refused_with_the_reason(saved: Path, tmp_path: Path) -> None:
    whole = saved.read_bytes()
    plain = tmp_path / "plain.safetensors"
    save_file({"weight": torch.zeros(2)}, plain)
    contents = {
        "empty": (b"", ""),
        "truncated": (whole[: len(whole) // 2], ""),
        "lying": (struct.pack("<Q", 2**40) + whole[8:], ""),
        "text": (b"<html>Not found</html>", ""),
        "pickle": (pickle.dumps(RunsCode(tmp_path / "trace")), "PyTorch pickle"),
        "pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "git lfs pull"),
        "foreign": (plain.read_bytes(), "not written by inceptcli"),
    }
    for name, (content, reason) in contents.items():
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(UserError, match=f"{name}: not an inceptcli weights file.*{reason}"):
            load_network(path)
    assert not (tmp_path / "trace").exists()


@pytest.mark.given_data
def test_real_files_that_are_not_weights_are_refused(given_data: Path) -> None:
    for path in (given_data / "not-weights").iterdir():
        with pytest.raises(UserError, match="not an inceptcli weights file"):
            read_metadata(path)


def test_missing_and_misshapen_tensors_are_named(tmp_path: Path) -> None:
    network = build(metadata().network)
    tensors = network.state_dict()
    path = tmp_path / "model.safetensors"
    short = {key: value for key, value in tensors.items() if key != "classifier.bias"}
    save(path, short, metadata())
    with pytest.raises(UserError, match=r"tensors do not fit irv1: .*classifier\.bias"):
        load_network(path)
    save(path, {**tensors, "classifier.bias": torch.zeros(4)}, metadata())
    with pytest.raises(UserError, match=r"classifier\.bias"):
        load_network(path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "its metadata is damaged"),
        ("{}", "schema_version"),
        ("[]", "schema_version"),
        ("3", "its metadata is damaged"),
        ('{"schema_version": 2}', "schema version 2, this program reads 1"),
        ('{"schema_version": 1, "network": {"name": "irv1"}}', "classes"),
    ],
)
def test_a_damaged_header_is_named(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        WeightsMetadata.from_header({"inceptcli": text})


@pytest.mark.parametrize("length", [0x0280, 0x0480, 0x8B1F, 0x010000])
def test_the_length_of_a_header_is_not_taken_for_another_format(
    length: int, tmp_path: Path
) -> None:
    """It is written as a pickle, a gzip file and a TensorFlow checkpoint start."""
    text = json.dumps({"__metadata__": {"inceptcli": "{}"}}).encode()
    path = write(tmp_path / "model.safetensors", text.ljust(length), b"")
    with pytest.raises(UserError, match="its metadata is damaged: it must be an object with sch"):
        read_metadata(path)
    path = write(path, text.ljust(length), b"more than there should be")
    with pytest.raises(UserError, match="incomplete metadata, file not fully covered"):
        read_metadata(path)


def test_a_half_written_file_never_takes_the_place_of_a_good_one(saved: Path) -> None:
    before = saved.read_bytes()
    with pytest.raises(AttributeError):
        save(saved, {"weight": None}, metadata())  # type: ignore[dict-item]
    assert saved.read_bytes() == before
    assert [path.name for path in saved.parent.iterdir()] == ["model.safetensors"]


def test_a_full_disk_is_an_error_of_the_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        said = "Error while serializing: I/O error: No space left on device (os error 28)"
        raise SafetensorError(said)

    monkeypatch.setattr("safetensors.torch.save_file", fail)
    with pytest.raises(OSError, match="No space left on device") as error:
        write_safetensors(tmp_path / "a", {}, {})
    assert error.value.errno == 28
