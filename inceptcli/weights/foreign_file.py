"""Other people's weights files, recognised by their bytes: safetensors, PyTorch pickles, HDF5."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any, NamedTuple
from zipfile import BadZipFile, ZipFile

from safetensors import SafetensorError, safe_open

from inceptcli.errors import UserError
from inceptcli.weights import keras_file
from inceptcli.weights.file import reason

if TYPE_CHECKING:
    from torch import Tensor

ZIP, PICKLE = b"PK\x03\x04", b"\x80"


class ForeignFile(NamedTuple):
    """Tensors by the other library's keys; `is_keras` when they stand in Keras's layer order."""

    tensors: dict[str, Tensor]
    is_keras: bool


def read(path: Path) -> ForeignFile:
    """Every tensor of the file, on the CPU; no code in it is run.

    A state dict may be wrapped (`{"state_dict": ...}`) and its keys may start with `module.`.

    Raises:
        UserError: the file is no weights file, is damaged, would run code, or is already ours.
    """
    try:
        with path.open("rb") as file:
            start = file.read(len(keras_file.SIGNATURE))
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from error
    if start == keras_file.SIGNATURE:
        return ForeignFile(keras_file.read(path), is_keras=True)
    if start.startswith((ZIP, PICKLE)):
        return ForeignFile(_state_dict(path, _unpickled(path, start)), is_keras=False)
    return ForeignFile(_safetensors(path), is_keras=False)


def _safetensors(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            if "inceptcli" in (file.metadata() or {}):
                raise UserError(f"{path}: already an inceptcli weights file; use it as it is")
            return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (no mapping)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: not a weights file: {reason(path, error)}") from error


def _unpickled(path: Path, start: bytes) -> Any:
    import torch

    if start.startswith(ZIP):
        _check_archive(path)
    try:
        with warnings.catch_warnings(action="ignore"):  # about a protocol that is then refused
            # Files from before PyTorch 1.6 are no archives and cannot be mapped.
            is_archive = start.startswith(ZIP)
            return torch.load(path, map_location="cpu", weights_only=True, mmap=is_archive)
    except UnpicklingError as error:
        named = re.search(r"GLOBAL ([\w.]+)", str(error))
        what = f"it refers to {named[1]}" if named else "it holds more than tensors"
        advice = "save its state_dict() alone"
        raise UserError(
            f"{path}: a pickle that could run code ({what}) is not read; {advice}"
        ) from error
    # torch.load documents no list for damaged files: RuntimeError, EOFError, KeyError were seen.
    except Exception as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"{path}: damaged or not PyTorch's: {first}") from error


def _check_archive(path: Path) -> None:
    try:
        with ZipFile(path) as archive:
            names = archive.namelist()
    except BadZipFile as error:
        raise UserError(f"{path}: damaged or incomplete archive: {error}") from error
    if "model.weights.h5" in names:
        raise UserError(f"{path}: a .keras archive; unpack it and import its model.weights.h5")


def _state_dict(path: Path, loaded: Any) -> dict[str, Tensor]:
    from torch import Tensor

    if isinstance(loaded, dict) and isinstance(loaded.get("state_dict"), dict):
        loaded = loaded["state_dict"]
    if not isinstance(loaded, dict) or not loaded:
        raise UserError(f"{path}: holds a {type(loaded).__name__}, not a state dict")
    for key, value in loaded.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise UserError(f"{path}: not a state dict: {key!r} is a {type(value).__name__}")
    if all(key.startswith("module.") for key in loaded):
        return {key.removeprefix("module."): tensor for key, tensor in loaded.items()}
    return loaded
