"""Tensors in our weights file without torch: their places, their checks, what runs from them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from inceptcli.errors import UserError
from inceptcli.networks.network import AuxiliaryHead
from inceptcli.networks.registry import NetworkOptions, build
from inceptcli.prediction.engines.onnx_engine import OnnxEngine
from inceptcli.weights.file import AUXILIARY_HEAD, load_network, read_metadata, save
from inceptcli.weights.stored_tensors import StoredTensor, stored_tensors
from tests.cli.conftest import picture
from tests.photographs import photographs
from tests.prediction.conftest import save_small_network
from tests.tiny_network import tiny_options
from tests.weights.safetensors_files import Header, parts, shifted, write


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_small_network(tmp_path_factory.mktemp("run") / "model.safetensors")


@pytest.fixture(scope="module")
def crops(weights: Path) -> NDArray[np.uint8]:
    view = read_metadata(weights).preprocessing
    return np.stack([view.crop(photo) for photo in photographs(3)])


def network_of(path: Path) -> NetworkOptions:
    return read_metadata(path).network


def changed(source: Path, path: Path, change: Callable[[dict[str, Tensor]], object]) -> Path:
    """The weights file with other tensors."""
    tensors = load_file(source)
    change(tensors)
    save_file(tensors, path, read_metadata(source).to_header())
    return path


@pytest.mark.parametrize("by", [0, 1, 2, 5])
def test_places_and_values_are_safetensors_own(by: int, weights: Path, tmp_path: Path) -> None:
    path = shifted(weights, tmp_path / "w.safetensors", by)
    header, tensors = parts(path)
    start, expected = path.stat().st_size - len(tensors), load_file(path)
    assert start % 8 == by
    found = stored_tensors(path, network_of(path))
    assert found.keys() == expected.keys() == header.keys() - {"__metadata__"}
    for key, tensor in found.items():
        first, end = header[key]["data_offsets"]
        assert tensor == StoredTensor(
            header[key]["dtype"], tuple(header[key]["shape"]), start + first, end - first
        )
        if tensor.dtype == "F32":
            assert np.array_equal(tensor.read(path), expected[key].numpy()), key


SPECIAL = [0.1, -0.0, 1e-7, 6e-8, 65504.0, 1e-40, float("inf"), float("nan"), -3.3e38, 1e300]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_another_precision_is_read_as_torch_reads_it(
    dtype: torch.dtype, weights: Path, tmp_path: Path
) -> None:
    def convert(tensors: dict[str, Tensor]) -> None:
        for key, tensor in tensors.items():
            if tensor.is_floating_point():
                tensors[key] = tensor.to(dtype)
        special = torch.tensor(SPECIAL, dtype=torch.float64).to(dtype)
        tensors["classifier.weight"].flatten()[: len(special)] = special

    path = changed(weights, tmp_path / "w.safetensors", convert)
    found = stored_tensors(path, network_of(path))
    for key, tensor in load_file(path).items():
        if tensor.is_floating_point():
            read = found[key].read(path)
            assert read.dtype == np.float32
            assert np.array_equal(read, tensor.float().numpy(), equal_nan=True), key
            assert np.array_equal(np.signbit(read), np.signbit(tensor.float().numpy())), key


def spoil(key: str, make: Callable[[Tensor], Tensor] | None) -> Callable[[dict[str, Tensor]], None]:
    def change(tensors: dict[str, Tensor]) -> None:
        tensor = tensors.pop(key, torch.zeros(1))
        if make is not None:
            tensors[key] = make(tensor)

    return change


SPOILED: dict[str, Callable[[dict[str, Tensor]], object]] = {
    "missing classifier.bias": spoil("classifier.bias", None),
    "missing stem.0.conv.weight and 193 more": dict.clear,
    "unexpected extra": spoil("extra", torch.clone),
    "unexpected \\x1b[31m\\n": spoil("\x1b[31m\n", torch.clone),
    f"unexpected {'k' * 100}": spoil("k" * 10_000, torch.clone),
    "wrong shape of classifier.bias: 7, expected 6": spoil(
        "classifier.bias", lambda _: torch.zeros(7)
    ),
    "wrong shape of classifier.bias: 6x1, expected 6": spoil(
        "classifier.bias", lambda old: old[:, None]
    ),
    "wrong shape of classifier.bias: a number, expected 6": spoil(
        "classifier.bias", lambda old: old[0]
    ),
    "wrong shape of classifier.bias: 0, expected 6": spoil("classifier.bias", lambda old: old[:0]),
    "wrong type of classifier.bias: I64": spoil("classifier.bias", torch.Tensor.long),
    "wrong type of classifier.bias: I32": spoil("classifier.bias", torch.Tensor.int),
    "wrong type of classifier.bias: U8": spoil("classifier.bias", torch.Tensor.byte),
    "wrong type of classifier.bias: C64": spoil(
        "classifier.bias", lambda old: old.to(torch.complex64)
    ),
    "wrong type of classifier.bias: F8_E4M3": spoil(
        "classifier.bias", lambda old: old.to(torch.float8_e4m3fn)
    ),
    "wrong type of stem.0.batch_norm.num_batches_tracked: F32": spoil(
        "stem.0.batch_norm.num_batches_tracked", torch.Tensor.float
    ),
    "wrong type of auxiliary_head.a: I16": spoil("auxiliary_head.a", torch.Tensor.short),
}  # fmt: skip


@pytest.mark.parametrize("said", SPOILED)
def test_what_does_not_fit_is_named(said: str, weights: Path, tmp_path: Path) -> None:
    path = changed(weights, tmp_path / "w.safetensors", SPOILED[said])
    for load in (lambda: stored_tensors(path, network_of(path)), lambda: load_network(path)):
        with pytest.raises(UserError) as refusal:
            load()
        assert str(refusal.value).removesuffix(" and 0 more") == (
            f"{path}: tensors do not fit irv1: {said}"
        )


def test_an_auxiliary_head_is_passed_over(crops: NDArray[np.uint8], tmp_path: Path) -> None:
    options = tiny_options("irv2-tf", num_classes=6)
    tensors = build(options).state_dict()
    head = AuxiliaryHead(options).state_dict()
    metadata = replace(read_metadata(save_small_network(tmp_path / "a")), network=options)
    save(tmp_path / "plain", tensors, metadata)
    with_head = tensors | {f"{AUXILIARY_HEAD}{key}": value for key, value in head.items()}
    save(tmp_path / "with_head", with_head, metadata)
    assert stored_tensors(tmp_path / "with_head", options).keys() == tensors.keys()
    found, expected = (OnnxEngine(tmp_path / name).logits(crops) for name in ("with_head", "plain"))
    assert np.array_equal(found, expected)


def half(tensors: dict[str, Tensor]) -> None:
    for key, tensor in tensors.items():
        if tensor.is_floating_point():
            tensors[key] = tensor.half()


def rounded(tensors: dict[str, Tensor]) -> None:
    for key, tensor in tensors.items():
        if tensor.is_floating_point():
            tensors[key] = tensor.half().float()


def unaligned(source: Path, folder: Path) -> Path:
    return shifted(source, folder / "w.safetensors", 3)


def aligned_to_four(source: Path, folder: Path) -> Path:
    return shifted(source, folder / "w.safetensors", 4)


def folder_that_is_no_text(source: Path, folder: Path) -> Path:
    inner = folder / os.fsdecode(b"k\xe4se")
    inner.mkdir()
    return Path(shutil.copy(source, inner))


def name_that_is_no_text(source: Path, folder: Path) -> Path:
    return Path(shutil.copy(source, folder / os.fsdecode(b"k\xe4se.safetensors")))


def odd_name(source: Path, folder: Path) -> Path:
    return Path(shutil.copy(source, folder / " käse #1\\..\\%20\n.safetensors"))


def links(source: Path, folder: Path) -> Path:
    """A link in a folder that is a link to a link elsewhere, as in the hub's cache."""
    for name in ("blobs", "snapshot", "here"):
        (folder / name).mkdir()
    shutil.copy(source, folder / "blobs/0123")
    (folder / "snapshot/model.safetensors").symlink_to("../blobs/0123")
    (folder / "latest").symlink_to("snapshot")
    (folder / "here/link").symlink_to("../latest/model.safetensors")
    return folder / "here/link"


def of_half_precision(source: Path, folder: Path) -> Path:
    return changed(source, folder / "w.safetensors", half)


def header_in_another_order(source: Path, folder: Path) -> Path:
    header, tensors = parts(source)
    return write(folder / "w.safetensors", dict(reversed(header.items())), tensors)


def tensors_in_another_order(source: Path, folder: Path) -> Path:
    header, tensors = parts(source)
    moved: Header = {"__metadata__": header.pop("__metadata__")}
    joined = b""
    for key, entry in sorted(header.items(), key=lambda item: item[0][::-1]):
        first, end = entry["data_offsets"]
        moved[key] = entry | {"data_offsets": [len(joined), len(joined) + end - first]}
        joined += tensors[first:end]
    return write(folder / "w.safetensors", moved, joined)


PLACED: list[Callable[[Path, Path], Path]] = [
    unaligned, aligned_to_four, folder_that_is_no_text, name_that_is_no_text, odd_name, links,
    of_half_precision, header_in_another_order, tensors_in_another_order,
]  # fmt: skip


@pytest.mark.parametrize("few_images", [True, False])
@pytest.mark.parametrize("place", PLACED, ids=lambda place: place.__name__)
def test_answers_do_not_depend_on_how_a_file_lies(
    place: Callable[[Path, Path], Path],
    few_images: bool,
    weights: Path,
    crops: NDArray[np.uint8],
    tmp_path: Path,
) -> None:
    if place is of_half_precision:  # which rounds
        weights = changed(weights, tmp_path / "rounded", rounded)
    path = place(weights, tmp_path)
    found = OnnxEngine(path, few_images=few_images).outputs(crops)
    expected = OnnxEngine(weights, few_images=few_images).outputs(crops)
    assert expected.logits.std(axis=0).mean() > 0.1 * expected.logits.std()
    for output, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(output, other, rtol=0, atol=1e-5 * other.std())


def predict(path: Path) -> subprocess.CompletedProcess[str]:
    picture(path.parent / "a.png", 0)
    arguments = ("predict", path.parent / "a.png", "--weights", path)
    words = [sys.executable, "-m", "inceptcli", *map(str, arguments)]
    return subprocess.run(words, capture_output=True, text=True, check=False)


def entry(dtype: str, shape: list[int], first: int, end: int) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [first, end]}


def moved(header: Header, key: str, by: int, length: int = 0) -> Header:
    first, end = header[key]["data_offsets"]
    place = {"data_offsets": [first + by, end + by + length]}
    return header | {key: header[key] | place}


BIAS = "stem.0.batch_norm.bias"

HOSTILE: dict[str, Callable[[Header, int], Header]] = {
    "overlapping": lambda header, _: moved(header, BIAS, -4),
    "the same place twice": lambda header, _: header | {BIAS: header["stem.0.batch_norm.weight"]},
    "before the start": lambda header, _: moved(header, BIAS, -(10**9)),
    "past the end": lambda header, size: moved(header, BIAS, size),
    "far past the end": lambda header, _: moved(header, BIAS, 2**63),
    "over 64 bits": lambda header, _: moved(header, BIAS, 2**70),
    "backwards": lambda header, _: header | {
        BIAS: header[BIAS] | {"data_offsets": header[BIAS]["data_offsets"][::-1]}
    },
    "a gap": lambda header, size: header | {"x": entry("F32", [1], size + 4, size + 8)},
    "too short for its shape": lambda header, _: moved(header, BIAS, 0, -4),
    "a tensor that the header leaves out": lambda header, _: {
        key: value for key, value in header.items() if key != BIAS
    },
    "a shape of more than there is": lambda header, _: header | {
        BIAS: header[BIAS] | {"shape": [2**40]}
    },
    "a shape over 64 bits in all": lambda header, _: header | {
        BIAS: header[BIAS] | {"shape": [2**62, 2**62]}
    },
    "nothing of a huge shape": lambda header, size: header | {
        "x": entry("F32", [0, 2**63], size, size)
    },
    "nothing": lambda header, size: header | {"x": entry("F32", [0], size, size)},
    "nothing of another type in front": lambda header, _: {"x": entry("I8", [0], 0, 0)} | header,
    "nothing of another type in the auxiliary head": lambda header, _: {
        "auxiliary_head.x": entry("F4", [0], 0, 0)
    } | header,
    "a negative shape": lambda header, _: header | {BIAS: header[BIAS] | {"shape": [-32]}},
    "a shape that is text": lambda header, _: header | {BIAS: header[BIAS] | {"shape": "32"}},
    "an unknown type": lambda header, _: header | {BIAS: header[BIAS] | {"dtype": "X9"}},
    "an unknown type with control codes": lambda header, _: header | {
        BIAS: header[BIAS] | {"dtype": "\x1b[31m\nError: " * 1000}
    },
    "a key with control codes": lambda header, size: header | {
        "\x1b[31m\nError: " * 1000: entry("F32", [1], size + 4, size + 8)
    },
    "two values in one place of another type": lambda header, _: header | {
        BIAS: header[BIAS] | {"dtype": "F16", "shape": [64]}
    },
    "whole numbers in the place of others": lambda header, _: header | {
        BIAS: header[BIAS] | {"dtype": "I32"}
    },
    "100,000 keys of nothing": lambda header, size: header | {
        f"k{number}": entry("F32", [0], size, size) for number in range(10**5)
    },
}  # fmt: skip


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.system] * ("100,000" in name)) for name in HOSTILE],
)
def test_a_hostile_header_is_one_line(name: str, weights: Path, tmp_path: Path) -> None:
    header, tensors = parts(weights)
    hostile = HOSTILE[name](header, len(tensors))
    path = write(tmp_path / "w.safetensors", hostile, tensors)
    done = predict(path)
    assert (done.returncode, done.stdout) == (1, ""), done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"Error: {path}: ")
    assert line.isprintable()
    assert len(line) < 2000 + len(str(path))


def test_the_header_that_hostile_ones_are_made_of_is_a_good_one(
    weights: Path, tmp_path: Path
) -> None:
    done = predict(write(tmp_path / "w.safetensors", *parts(weights)))
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("length", [0, 1, 2**20, 2**40, 2**63, 2**64 - 1])
def test_a_header_of_a_length_that_is_not_so_is_one_line(
    length: int, weights: Path, tmp_path: Path
) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(length.to_bytes(8, "little") + weights.read_bytes()[8:])
    done = predict(path)
    assert (done.returncode, done.stdout) == (1, ""), done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"Error: {path}: not an inceptcli weights file: ")


def test_an_auxiliary_head_larger_than_memory_is_not_read(
    weights: Path, crops: NDArray[np.uint8], tmp_path: Path
) -> None:
    header, tensors = parts(weights)
    size = 2**42
    header |= {f"{AUXILIARY_HEAD}x": entry("F16", [size // 2], len(tensors), len(tensors) + size)}
    path = write(tmp_path / "w.safetensors", header, tensors)
    os.truncate(path, path.stat().st_size + size)  # which takes no room on the disk
    assert np.array_equal(OnnxEngine(path).logits(crops), OnnxEngine(weights).logits(crops))


def test_a_file_that_torch_cannot_map_is_one_line(
    weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refusing(path: Path, framework: str) -> Any:
        if framework == "pt":
            raise RuntimeError("unable to mmap 9 bytes: Cannot allocate memory (12)")
        return safe_open(path, framework)

    monkeypatch.setattr("inceptcli.weights.file.safe_open", refusing)
    with pytest.raises(UserError, match=r"not an inceptcli weights file: unable to mmap 9 bytes"):
        load_network(weights)
