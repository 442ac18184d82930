"""Other people's weights files, recognized by their bytes.

Safetensors, PyTorch's pickles, Keras's HDF5 files and archives, TensorFlow's checkpoints.
"""

from __future__ import annotations

import hashlib
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
from inceptcli.files.regular_file import read_regular
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
"""A name of a file beside an index, which is no index itself."""

ZIP, PICKLE = b"PK\x03\x04", b"\x80"
MAXIMUM_DEPTH = 8
MOST_TENSORS, LONGEST_KEY, LONGEST_REASON = 20_000, 300, 300
"""Of one dictionary, of characters of a key and of a message; irv2-tf has 1,300 tensors."""

MAXIMUM_INDEX = 16 * 1024**2
"""Bytes of a JSON file that lists shards."""


class ForeignFile(NamedTuple):
    """The dictionaries of tensors in a file, by their place such as `state_dict_ema`.

    A file that is one dictionary has it at the place "". `is_keras` when the tensors stand in
    Keras's layer order. `run_step` is the optimizer step of a training checkpoint of ours.
    `remarks` are sentences for the reader, `config` is what a Keras model says of itself.
    """

    groups: dict[str, dict[str, Tensor]]
    is_keras: bool = False
    run_step: int | None = None
    remarks: tuple[str, ...] = ()
    config: KerasConfig | None = None


def read_foreign_file(path: Path) -> ForeignFile:
    """Every tensor of the file, on the CPU; no code in it is run.

    An index of shards (`model.safetensors.index.json`) stands for the files that it lists.

    Raises:
        UserError: the file is no weights file, is damaged, would run code, or is already ours.
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
    """The file; of an index, it and what it lists in order."""
    if path.name.endswith(".index.json"):
        return [path, *_shards(path)]
    return [path, *(tensorflow_checkpoint.data_files(path) if is_sorted_table(path) else ())]


def sha256(path: Path) -> str:
    """The file's SHA-256 in hexadecimal digits; of an index, of it and what it lists in order."""
    digest = hashlib.sha256()
    for part in files_of(path):
        with part.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def _checkpoint(path: Path) -> ForeignFile:
    groups, others = tensorflow_checkpoint.read_tensorflow_checkpoint(path)
    if not any(groups.values()):
        raise UserError(f"{path}: a TensorFlow checkpoint without a network's tensors")
    training = f"passed over {len(others)} variables that only training uses: {listed(others)}"
    named = {place: slim_keys.with_gammas(tensors) for place, tensors in groups.items()}
    return ForeignFile(named, remarks=(training,) if others else ())


def _sharded(index: Path) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for shard in _shards(index):
        if not shard.is_file():
            raise UserError(f"{index}: its shard {printable(shard.name)} is not beside it")
        for place, group in read_foreign_file(shard).groups.items():
            if place or (twice := tensors.keys() & group.keys()):
                what = place or min(twice)
                raise UserError(f"{shard}: {printable(what)} does not belong into a shard")
            tensors |= group
    if lacking := sorted(_weight_map(index).keys() - tensors.keys()):
        raise UserError(f"{index}: its shards lack {len(lacking)} tensors, as {lacking[0]}")
    return tensors


def _shards(index: Path) -> list[Path]:
    return [index.with_name(name) for name in sorted(set(_weight_map(index).values()))]


def _weight_map(index: Path) -> dict[str, str]:
    try:
        found = json.loads(read_regular(index, MAXIMUM_INDEX))["weight_map"].items()
    except OSError as error:
        raise UserError(f"{index}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{index}: no index of shards: it needs a weight_map") from error
    for _, name in found:
        if not isinstance(name, str) or not SHARD.fullmatch(name):
            shown = reprlib.repr(name)
            raise UserError(f"{index}: names the shard {shown}; a shard lies beside its index")
    return dict(found)


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

    # Files from before PyTorch 1.6 are no archives and cannot be mapped.
    is_archive = start.startswith(ZIP)
    try:
        with warnings.catch_warnings(action="ignore"):  # about a protocol that is then refused
            # torch's own weights_only builds a bytearray of any length, and takes minutes.
            return torch.load(
                path,
                map_location="cpu",
                weights_only=False,
                mmap=is_archive,
                pickle_module=sys.modules[pickle_stubs.__name__],
            )
    except pickle_stubs.UnsafePickleError as error:
        what = f"a pickle that could run code (it refers to {error}) is not read"
        raise UserError(f"{path}: {what}; save its state_dict() alone") from error
    # torch.load documents no list for damaged files: RuntimeError, EOFError, KeyError were seen.
    except Exception as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        shown = printable(first[:LONGEST_REASON])
        raise UserError(f"{path}: damaged or not PyTorch's: {shown}") from error


def _is_keras_archive(path: Path) -> bool:
    try:
        with ZipFile(path) as archive:
            names = archive.namelist()
            compressed = any(info.compress_type != ZIP_STORED for info in archive.infolist())
    except BadZipFile as error:
        raise UserError(f"{path}: damaged or incomplete archive: {error}") from error
    is_keras = keras_file.is_archive(names)
    if compressed and not is_keras:  # a few bytes may become gigabytes
        raise UserError(f"{path}: a compressed archive, which PyTorch does not write")
    return is_keras


def _groups(path: Path, loaded: Any) -> dict[str, dict[str, Tensor]]:
    """Dictionaries that have tensors, however deep they are nested."""
    groups: dict[str, dict[str, Tensor]] = {}
    waiting: deque[tuple[str, Any, int]] = deque([("", loaded, 0)])
    stubs, met = [], set[int]()
    while waiting:
        place, value, depth = waiting.popleft()
        if id(value) in met:  # a pickle may have one dictionary in many places
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
        whole = f" but {stubs[0]}" if stubs else ""
        kind = "pickle" if isinstance(loaded, pickle_stubs.Stub) else type(loaded).__name__
        holds = f"{path}: holds a {kind}{whole}, not a state dict"
        raise UserError(f"{holds}; save the network's state_dict() alone" if whole else holds)
    return groups


def _is_plain(key: Any, value: Any) -> bool:
    """Whether this is a tensor whose values can be kept as they are."""
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
    """Whether a profiler or an average left this tensor; no network has it."""
    return re.fullmatch(r"(.*\.)?(n_averaged|total_ops|total_params)", key) is not None
