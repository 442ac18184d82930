"""Our weights file: safetensors, with all that is needed to use it in its header; no pickle."""

from __future__ import annotations

import re
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from safetensors import SafetensorError, safe_open

from inceptcli.errors import MissingFile, UsageError, UserError
from inceptcli.files.atomic_file import replacing
from inceptcli.networks.registry import build
from inceptcli.weights.formats.sorted_table import is_sorted_table
from inceptcli.weights.metadata import WeightsMetadata
from inceptcli.weights.onnx_file import is_onnx, read_onnx_header

if TYPE_CHECKING:
    from torch import Tensor, nn

STEP = "step-[0-9]{1,18}"
WEIGHTS_NAME = "model.safetensors"

AUXILIARY_HEAD = "auxiliary_head."
"""Before the keys of an imported auxiliary head, which only training uses."""


def resolve(path: Path) -> Path:
    """The weights file that `path` means: itself, or a run directory's model.safetensors.

    Raises UsageError when there is none.
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
    if not path.is_file():  # a pipe would be waited for
        raise UsageError(f"{path}: not a regular file; give a weights file or run directory")
    return path


def _not_yet(run: Path) -> str:
    found = (run / "checkpoints").glob("step-*.ckpt")
    saved = {int(path.stem[5:]): path for path in found if re.fullmatch(STEP, path.stem)}
    step = max(saved, default=0)
    recipe = quote(str(run / "recipe.yaml"))
    as_it_is = f"; as it is, {_import_command(saved[step])}" if saved else ""
    return (
        f"{run}: this run has no {WEIGHTS_NAME} yet: step {step} is saved, and "
        "weights come with the first validation; go on with the command that started it, or with "
        f"inceptcli train --recipe {recipe} --output {quote(str(run))}{as_it_is}"
    )


def read_metadata(path: Path) -> WeightsMetadata:
    """What the file, ours or an exported ONNX file, says about itself; imports no torch.

    Reads the header only. Raises UserError when it is no weights file of this program.
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
    """How to make a weights file of another library's, where it may be one."""
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
    """Every tensor of the network by its state-dict key, on the CPU; UserError when it is damaged.

    Half and double precision become single precision, in which networks compute.
    """
    return _load(path, of_auxiliary_head=False)


def load_auxiliary_head(path: Path) -> dict[str, Tensor]:
    """The auxiliary head's tensors by its own keys; none where it was not kept. As `load_tensors`.

    Only training uses them.
    """
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
    except (SafetensorError, OSError, RuntimeError) as error:  # torch's, of a file it cannot map
        raise UserError(f"{path}: not an inceptcli weights file: {reason(path, error)}") from error
    return {
        key: tensor.float() if tensor.is_floating_point() else tensor
        for key, tensor in tensors.items()
    }


def load_network(path: Path) -> tuple[nn.Module, WeightsMetadata]:
    """The network with its weights, in evaluation mode on the CPU, and its metadata.

    Raises UserError when tensors are missing, unexpected or misshapen.
    """
    import torch

    from inceptcli.weights.stored_tensors import stored_tensors

    metadata = read_metadata(path)
    stored_tensors(path, metadata.network)  # refuses those that do not fit before they are read
    with torch.device("meta"):  # what is loaded next need not be initialized first
        network = build(metadata.network)
    network.load_state_dict(load_tensors(path), assign=True)
    return network.eval(), metadata


def save(path: Path, tensors: dict[str, Tensor], metadata: WeightsMetadata) -> None:
    """Write tensors (a state dict) and metadata as one file that is there whole or not at all."""
    from safetensors.torch import save_file

    plain = {key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}
    with replacing(path) as temporary:
        save_file(plain, temporary, metadata.to_header())


def is_safetensors(start: bytes) -> bool:
    """Whether a file starts so: eight bytes are its header's length, and the header is an object.

    The length may look like the start of another format.
    """
    return start[5:9] == b"\0\0\0{"


def reason(path: Path, error: Exception) -> str:
    """Why `path`, which `error` was raised about, is no safetensors file: by its first bytes."""
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
        return "it is an ONNX file, which runs but has no weights to train or export"
    if start.startswith(b"\0\0"):
        return "it starts as a TensorFlow checkpoint and is cut short"
    if start.startswith(b"version https://git-lfs"):
        return "it is a Git LFS pointer; fetch the file itself with `git lfs pull`"
    if start[257:262] == b"ustar":
        return "it is a tar archive"
    if start.lstrip()[:14].lower().startswith((b"<!doctype html", b"<html")):
        return "it is a web page; download the file itself"
    # A safetensors file starts with the length of its header, eight bytes that are not all text.
    if start and start[:8].isascii() and start[:8].decode().isprintable():
        return "it is text"
    return str(error)
