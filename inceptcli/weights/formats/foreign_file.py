"""Reading of other libraries' weights files; the format is detected from the content.

Formats: safetensors, PyTorch pickles, Keras HDF5 files and archives, TensorFlow checkpoints.
"""

from __future__ import annotations

import json
import re
import reprlib
import sys
import warnings
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from zipfile import ZIP_STORED, BadZipFile, ZipFile

from safetensors import SafetensorError, safe_open

from inceptcli.errors import UserError
from inceptcli.files.regular_file import read_regular, sha256_of
from inceptcli.text import listed, printable
from inceptcli.weights.file import is_safetensors, reason
from inceptcli.weights.foreign.run_checkpoint import step_of
from inceptcli.weights.formats import keras_file, pickle_stubs, tensorflow_checkpoint
from inceptcli.weights.formats.keras_config import KerasConfig
from inceptcli.weights.formats.sorted_table import is_sorted_table
from inceptcli.weights.keys import slim_keys

if TYPE_CHECKING:
    from torch import Tensor

SHARD = re.compile(r"(?!.*\.json$)[^/\0\ud800-\udfff]{1,200}(?<!^\.)(?<!^\.\.)")
"""Valid name of a shard in the folder of its index; an index is not a shard."""

ZIP, PICKLE = b"PK\x03\x04", b"\x80"
MAXIMUM_DEPTH = 8
MOST_TENSORS, LONGEST_KEY, LONGEST_REASON = 20_000, 300, 300
"""Limits of tensors per dictionary and of characters per key and message; irv2-tf has 1,300
tensors."""

MAXIMUM_INDEX = 16 * 1024**2
"""Size limit in bytes of a JSON index of shards."""


class ForeignFile(NamedTuple):
    """The content of a weights file.

    Attributes:
        groups: Dictionaries of tensors by their place, such as `state_dict_ema`; "" is the top.
        is_keras: Whether the tensors are in Keras's layer order.
        run_step: Optimizer step, for training checkpoints of an inceptcli run.
        remarks: Notices for the user.
        config: Configuration of a Keras model.
    """

    groups: dict[str, dict[str, Tensor]]
    is_keras: bool = False
    run_step: int | None = None
    remarks: tuple[str, ...] = ()
    config: KerasConfig | None = None


def read_foreign_file(path: Path) -> ForeignFile:
    """Read all tensors of a file to the CPU without running code from it.

    For an index of shards (`model.safetensors.index.json`), read the files that it lists.

    Raises:
        UserError: the file is not a weights file, is damaged, would run code, or is already an
            inceptcli weights file.
    """
    if path.name.endswith(".index.json"):
        return ForeignFile({"": _sharded(path)})
    try:
        with path.open("rb") as file:
            start = file.read(9)
        if is_sorted_table(path) or path.suffix == ".index":
            return _checkpoint(path)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from error
    if start.startswith(keras_file.SIGNATURE) or (
        start.startswith(ZIP) and _is_keras_archive(path)
    ):
        tensors, config, remarks = keras_file.read_keras_file(path)
        return ForeignFile({"": tensors}, is_keras=True, remarks=remarks, config=config)
    if start.startswith((ZIP, PICKLE)) and not is_safetensors(start):
        loaded = _unpickled(path, start)
        return ForeignFile(_groups(path, loaded), run_step=step_of(loaded))
    return ForeignFile({"": _safetensors(path)})


def files_of(path: Path) -> list[Path]:
    """Return the file; for an index, also the files that it lists, in order."""
    if path.name.endswith(".index.json"):
        return [path, *_shards(path)]
    return [path, *(tensorflow_checkpoint.data_files(path) if is_sorted_table(path) else ())]


def sha256(path: Path) -> str:
    """Return the SHA-256 of `files_of(path)`, concatenated, in hexadecimal digits."""
    return sha256_of(*files_of(path))


def _checkpoint(path: Path) -> ForeignFile:
    groups, others = tensorflow_checkpoint.read_tensorflow_checkpoint(path)
    if not any(groups.values()):
        raise UserError(f"{path}: a TensorFlow checkpoint without a network's tensors")
    training = f"skipped {len(others)} variables used only for training: {listed(others)}"
    named = {place: slim_keys.with_gammas(tensors) for place, tensors in groups.items()}
    return ForeignFile(named, remarks=(training,) if others else ())


def _sharded(index: Path) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for shard in _shards(index):
        if not shard.is_file():
            raise UserError(f"{index}: its shard {shard.name} is not in its folder")
        for place, group in read_foreign_file(shard).groups.items():
            if place or (twice := tensors.keys() & group.keys()):
                what = place or min(twice)
                raise UserError(f"{shard}: {what} does not belong in a shard")
            tensors |= group
    if lacking := sorted(_weight_map(index).keys() - tensors.keys()):
        raise UserError(f"{index}: its shards lack {len(lacking)} tensors, such as {lacking[0]}")
    return tensors


def _shards(index: Path) -> list[Path]:
    return [index.with_name(name) for name in sorted(set(_weight_map(index).values()))]


def _weight_map(index: Path) -> dict[str, str]:
    try:
        found = json.loads(read_regular(index, MAXIMUM_INDEX))["weight_map"].items()
    except OSError as error:
        raise UserError(f"{index}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{index}: not an index of shards: it has no weight_map") from error
    for _, name in found:
        if not isinstance(name, str) or not SHARD.fullmatch(name):
            shown = reprlib.repr(name)
            raise UserError(f"{index}: lists the shard {shown}; shards must be in its folder")
    return dict(found)


def _safetensors(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            if "inceptcli" in (file.metadata() or {}):
                raise UserError(f"{path}: already an inceptcli weights file; no import is needed")
            return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (no mapping)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: not a weights file: {reason(path, error)}") from error


def _unpickled(path: Path, start: bytes) -> Any:
    import torch

    # Files from before PyTorch 1.6 are not archives and cannot be memory-mapped.
    is_archive = start.startswith(ZIP)
    try:
        with warnings.catch_warnings(action="ignore"):  # about protocols that are then rejected
            # weights_only=True may build a bytearray of any length, which takes minutes.
            return torch.load(
                path,
                map_location="cpu",
                weights_only=False,
                mmap=is_archive,
                pickle_module=sys.modules[pickle_stubs.__name__],
            )
    except pickle_stubs.UnsafePickleError as error:
        what = f"a pickle that could run code (it refers to {error}) is not loaded"
        raise UserError(f"{path}: {what}; save only its state_dict()") from error
    # torch.load documents no exceptions for damaged files (RuntimeError, EOFError, KeyError seen).
    except Exception as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        shown = printable(first[:LONGEST_REASON])
        raise UserError(f"{path}: damaged or not a PyTorch file: {shown}") from error


def _is_keras_archive(path: Path) -> bool:
    try:
        with ZipFile(path) as archive:
            names = archive.namelist()
            compressed = any(info.compress_type != ZIP_STORED for info in archive.infolist())
    except BadZipFile as error:
        raise UserError(f"{path}: damaged or incomplete archive: {error}") from error
    is_keras = keras_file.is_archive(names)
    if compressed and not is_keras:  # a few bytes may expand to gigabytes
        raise UserError(f"{path}: a compressed archive, which PyTorch does not write")
    return is_keras


def _groups(path: Path, loaded: Any) -> dict[str, dict[str, Tensor]]:
    """Collect the dictionaries that contain tensors, up to MAXIMUM_DEPTH."""
    groups: dict[str, dict[str, Tensor]] = {}
    waiting: deque[tuple[str, Any, int]] = deque([("", loaded, 0)])
    stubs, met = [], set[int]()
    while waiting:
        place, value, depth = waiting.popleft()
        if id(value) in met:  # a pickle may contain one dictionary in many places
            continue
        met.add(id(value))
        if isinstance(value, pickle_stubs.Stub):
            stubs.append(f"{value.origin} at {place}" if place else value.origin)
        if not isinstance(value, dict) or depth > MAXIMUM_DEPTH:
            continue
        if tensors := {key: tensor for key, tensor in value.items() if _is_plain(key, tensor)}:
            groups[place] = tensors
            if len(tensors) > MOST_TENSORS:
                raise UserError(f"{path}: has {len(tensors)} tensors, over {MOST_TENSORS}")
        waiting += [
            (f"{place}.{key}" if place else key, inner, depth + 1)
            for key, inner in value.items()
            if isinstance(key, str)
        ]
    if not groups:
        whole = f" with {stubs[0]}" if stubs else ""
        kind = "pickle" if isinstance(loaded, pickle_stubs.Stub) else type(loaded).__name__
        holds = f"{path}: contains a {kind}{whole}, not a state dict"
        raise UserError(f"{holds}; save only the network's state_dict()" if whole else holds)
    return groups


def _is_plain(key: Any, value: Any) -> bool:
    """Return whether this entry is a dense, real, unquantized CPU tensor."""
    import torch

    return (
        isinstance(key, str)
        and len(key) <= LONGEST_KEY
        and isinstance(value, torch.Tensor)
        and value.layout == torch.strided
        and value.device.type == "cpu"
        and not (value.is_quantized or value.is_complex())
    )


def is_counter(key: str) -> bool:
    """Return whether the tensor is a counter of a profiler or a weight average."""
    return re.fullmatch(r"(.*\.)?(n_averaged|total_ops|total_params)", key) is not None
