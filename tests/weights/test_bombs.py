"""Small files of strangers that ask `import` for gigabytes, or for hours: one line."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np
import pytest
import torch

from inceptcli.networks.registry import network_options
from inceptcli.weights.keys import timm_keys
from inceptcli.weights.keys.key_table import layout
from tests.cli.conftest import check_one_line, inceptcli


def shared() -> dict[str, object]:
    """Forty dictionaries in each of eight levels, which are one: 40**8 ways to the last."""
    inner: dict[str, object] = {"a": torch.zeros(1)}
    for _ in range(8):
        inner = {f"k{number}": inner for number in range(40)}
    return inner


def of_itself() -> dict[str, object]:
    whole: dict[str, object] = {"a": torch.zeros(1)}
    whole |= {f"k{number}": whole for number in range(40)}
    return whole


def many_classes() -> dict[str, object]:
    """A classifier of a billion rows, all of which are one number in the file."""
    expected = layout(network_options("iv4-tf", num_classes=2))
    theirs = timm_keys.INCEPTION_V4.theirs(expected)
    state: dict[str, object] = {
        theirs[key]: torch.zeros((), dtype=tensor.dtype).expand(tensor.shape)
        for key, tensor in expected.items()
    }
    state[theirs["classifier.weight"]] = torch.zeros(()).expand(10**9, 1536)
    state[theirs["classifier.bias"]] = torch.zeros(()).expand(10**9)
    return state


PICKLES: dict[str, Callable[[], dict[str, object]]] = {
    "not a supported network (its first keys: a)": shared,
    "not a supported network (its first keys: a);": of_itself,
    "but its classifier has 1000000000 classes, over 100000": many_classes,
    "has 20001 tensors, over 20000": lambda: {
        str(number): torch.zeros(()) for number in range(20_001)
    },
    "contains a dict, not a state dict": lambda: {"k" * 10**6: torch.zeros(1)},
}


def check_import(name: str, said: str) -> None:
    done = inceptcli("import", name, "--output", "out.safetensors")
    check_one_line(done, 1, said)
    assert len(done.stderr) < 1000
    assert not Path("out.safetensors").exists()


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("said", PICKLES)
def test_a_pickle_of_much_from_little_is_one_line(said: str) -> None:
    torch.save(PICKLES[said](), "a.pth")
    check_import("a.pth", said)


def test_a_pickle_makes_no_bytes_of_any_number() -> None:
    length = struct.pack("<Q", 2**33)[:5]
    pickle = b"\x80\x02cbuiltins\nbytearray\n\x8a\x05" + length + b"\x85R."
    Path("a.pth").write_bytes(pickle)
    check_import("a.pth", "damaged or not a PyTorch file")


def test_a_compressed_archive_is_refused() -> None:
    torch.save({"a": torch.zeros(3)}, "x.pth")
    with ZipFile("x.pth") as given, ZipFile("a.pth", "w", ZIP_DEFLATED) as written:
        for name in given.namelist():
            written.writestr(name, given.read(name) + bytes(2**20) * name.endswith("data.pkl"))
    check_import("a.pth", "a compressed archive, which PyTorch does not write")


@pytest.mark.parametrize("kind", ["nested", "text", "again"])
def test_an_hdf5_file_of_much_from_little_is_one_line(kind: str) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File("a.weights.h5", "w") as file:
        if kind == "nested":
            group = file
            for _ in range(2000):
                group = group.create_group("a")
        elif kind == "text":
            file.create_dataset("layers/dense/vars/0", data=[b"x"] * 5)
        else:
            large = file.create_dataset("d", (2**26,), np.float32, chunks=(2**20,))
            for number in range(50):
                file.create_group(f"layers/dense_{number}/vars")["0"] = large
    said = {"nested": "more than 20 deep", "text": "is not numeric", "again": "have over"}
    check_import("a.weights.h5", said[kind])


@pytest.mark.parametrize("name", ["", ".", "..", "../a", "a.json", "a\0b", "\ud800"])
def test_a_shard_lies_beside_its_index(name: str) -> None:
    Path("m.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": name}}))
    done = inceptcli("import", "m.safetensors.index.json", "--output", "out.safetensors")
    check_one_line(done, 1, "shards must be in its folder")
