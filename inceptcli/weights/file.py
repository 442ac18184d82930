"""The weights file: safetensors with all metadata in its header; no pickle."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from safetensors import SafetensorError, safe_open

from inceptcli.errors import MissingFile, UsageError, UserError
from inceptcli.files.atomic_file import replacing
from inceptcli.networks.registry import build
from inceptcli.weights.formats.sorted_table import is_sorted_table
from inceptcli.weights.metadata import WeightsMetadata
from inceptcli.weights.onnx_file import copy_onnx, is_onnx, read_onnx_header

if TYPE_CHECKING:
    from torch import Tensor, nn

STEP = "step-[0-9]{1,18}"
WEIGHTS_NAME = "model.safetensors"

AUXILIARY_HEAD = "auxiliary_head."
"""Key prefix of an imported auxiliary head, which only training uses."""


def resolve(path: Path) -> Path:
    """Return the weights file at `path`, or model.safetensors if it is a run directory.

    Raises UsageError if there is none.
    """
    if path.is_dir():
        if not (path / WEIGHTS_NAME).is_file():
            if (path / "recipe.yaml").is_file():
                raise UsageError(_not_yet(path))
            raise UsageError(f"{path}: no {WEIGHTS_NAME} in this folder; give a run directory")
        return path / WEIGHTS_NAME
    if not path.exists():
        if (index := path.with_name(f"{path.name}.index")).is_file():
            raise UsageError(f"{path}: a TensorFlow checkpoint{_import_advice(index)}")
        raise MissingFile(f"{path}: no such weights file or run directory")
    if not path.is_file():  # reading a pipe would block
        raise UsageError(f"{path}: not a regular file; give a weights file or run directory")
    return path


def _not_yet(run: Path) -> str:
    found = (run / "checkpoints").glob("step-*.ckpt")
    saved = {int(path.stem[5:]): path for path in found if re.fullmatch(STEP, path.stem)}
    step = max(saved, default=0)
    recipe = quote(str(run / "recipe.yaml"))
    use_step = f"; to use step {step}, run {_import_command(saved[step])}" if saved else ""
    return (
        f"{run}: this run has no {WEIGHTS_NAME} yet: step {step} is saved, and the first "
        "validation writes the weights; continue with the command that started it, or with "
        f"inceptcli train --recipe {recipe} --output {quote(str(run))}{use_step}"
    )


def read_metadata(path: Path) -> WeightsMetadata:
    """Read the metadata of a weights file or an exported ONNX file; imports no torch.

    Only the header is read. Raises UserError if the file was not written by inceptcli.
    """
    header: dict[str, str] = {}
    try:
        if is_onnx(path):
            return WeightsMetadata.from_header(read_onnx_header(path))
        with safe_open(path, framework="np") as file:
            header = file.metadata() or {}
        return WeightsMetadata.from_header(header)
    except (SafetensorError, OSError, ValueError) as error:
        problem = f"{path}: not an inceptcli weights file: {reason(path, error)}"
        is_damaged = "inceptcli" in header
        raise UserError(f"{problem}{'' if is_damaged else _import_advice(path)}") from error


def _import_advice(path: Path) -> str:
    """Return advice to import the file if it may be another library's, or an empty string."""
    try:
        with path.open("rb") as file:
            start = file.read(9)
        is_checkpoint = is_sorted_table(path)
    except OSError:
        return ""
    formats = (b"PK\x03\x04", b"\x80", b"\x89HDF\r\n\x1a\n")
    if is_checkpoint or start.startswith(formats) or start[8:] == b"{":
        return f"; convert it with {_import_command(path)}"
    return ""


def _import_command(path: Path) -> str:
    converted = path.with_suffix(".inceptcli.safetensors")
    return f"inceptcli import {quote(str(path))} --output {quote(str(converted))}"


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Load the network's tensors by state-dict key, on the CPU, as float32.

    Raises UserError if the file is damaged.
    """
    return _load(path, of_auxiliary_head=False)


def load_auxiliary_head(path: Path) -> dict[str, Tensor]:
    """Load the auxiliary head's tensors by its own keys, as `load_tensors`; empty if absent."""
    loaded = _load(path, of_auxiliary_head=True)
    return {key.removeprefix(AUXILIARY_HEAD): tensor for key, tensor in loaded.items()}


def _load(path: Path, *, of_auxiliary_head: bool) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {
                key: file.get_tensor(key)
                for key in file.offset_keys()
                if key.startswith(AUXILIARY_HEAD) == of_auxiliary_head
            }
    except (SafetensorError, OSError, RuntimeError) as error:  # torch: the file cannot be mapped
        raise UserError(f"{path}: not an inceptcli weights file: {reason(path, error)}") from error
    return {
        key: tensor.float() if tensor.is_floating_point() else tensor
        for key, tensor in tensors.items()
    }


def load_network(path: Path) -> tuple[nn.Module, WeightsMetadata]:
    """Load the network, in evaluation mode on the CPU, and its metadata.

    Raises UserError if tensors are missing, unexpected or have the wrong shape.
    """
    import torch

    from inceptcli.weights.stored_tensors import stored_tensors

    metadata = read_metadata(path)
    stored_tensors(path, metadata.network)  # check names and shapes before reading the values
    with torch.device("meta"):  # skip the initialization, since all values are loaded next
        network = build(metadata.network)
    network.load_state_dict(load_tensors(path), assign=True)
    return network.eval(), metadata


def save(path: Path, tensors: dict[str, Tensor], metadata: WeightsMetadata) -> None:
    """Write tensors (a state dict) and metadata to one file, atomically.

    Raises OSError if the disk is full.
    """
    plain = {key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}
    with replacing(path) as temporary:
        write_safetensors(temporary, plain, metadata.to_header())


def write_safetensors(path: Path, tensors: dict[str, Tensor], header: dict[str, str]) -> None:
    """Write contiguous tensors of the CPU; raise OSError if that fails."""
    from safetensors.torch import save_file

    try:
        save_file(tensors, path, header)
    except SafetensorError as error:  # as "... I/O error: No space left on device (os error 28)"
        failed = re.search(r"I/O error: .*\(os error (\d+)\)", str(error))
        if failed is None:
            raise
        number = int(failed[1])
        raise OSError(number, os.strerror(number), str(path)) from error


def copy_with_metadata(source: Path, output: Path, metadata: WeightsMetadata) -> None:
    """Copy a weights or ONNX file with other metadata; all else is copied byte for byte."""
    if is_onnx(source):
        copy_onnx(source, output, metadata.to_header())
        return
    with source.open("rb") as file, output.open("wb") as copy:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        header["__metadata__"] |= metadata.to_header()
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)  # tensors stay aligned, so that runtimes can map them
        copy.write(len(text).to_bytes(8, "little") + text)
        shutil.copyfileobj(file, copy)


def is_safetensors(start: bytes) -> bool:
    """Return whether `start` is a header length of eight bytes followed by a JSON object.

    The length alone may look like the start of another format.
    """
    return start[5:9] == b"\0\0\0{"


def reason(path: Path, error: Exception) -> str:
    """Return why reading `path` as safetensors raised `error`, judging by its first bytes."""
    if isinstance(error, OSError):
        return error.strerror or str(error)
    with path.open("rb") as file:
        start = file.read(512)
    if is_safetensors(start):
        return str(error)
    if is_sorted_table(path):
        return "it is a TensorFlow checkpoint"
    if start.startswith(b"\x89HDF\r\n\x1a\n") or start[30:43] == b"metadata.json":
        return "it is a Keras file"
    if start.startswith(b"\x1f\x8b"):
        return "it is compressed by gzip; unpack it first"
    if start.startswith((b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")):
        return "it is a PyTorch pickle, which could run code"
    if is_onnx(path) and isinstance(error, SafetensorError):
        return "it is an ONNX file, which can be run but not trained or exported"
    if start.startswith(b"\0\0"):
        return "it looks like a truncated TensorFlow checkpoint"
    if start.startswith(b"version https://git-lfs"):
        return "it is a Git LFS pointer; fetch the file itself with `git lfs pull`"
    if start[257:262] == b"ustar":
        return "it is a tar archive"
    if start.lstrip()[:14].lower().startswith((b"<!doctype html", b"<html")):
        return "it is a web page; download the file itself"
    # The eight-byte header length at the start of a safetensors file is never all text.
    if start and start[:8].isascii() and start[:8].decode().isprintable():
        return "it is text"
    return str(error)
