"""Reader of TensorFlow checkpoints, versions 1 and 2. TensorFlow is not needed.

Version 2 has NAME.index, a sorted table of BundleEntryProto, and NAME.data-00000-of-00001 etc. in
the same folder. Version 1 is one sorted table of SavedTensorSlices.

Source: tensor_bundle.proto and saved_tensor_slice.proto of TensorFlow.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import islice
from math import prod
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from inceptcli.errors import UsageError, UserError
from inceptcli.text import printable
from inceptcli.weights.formats.crc32c import crc32c, masked
from inceptcli.weights.formats.protobuf import LENGTH_DELIMITED, Field, fields, varint
from inceptcli.weights.formats.sorted_table import LONGEST_KEY, MOST_ENTRIES, TableEntry, entries

if TYPE_CHECKING:
    from torch import Tensor

FLOAT, DOUBLE, HALF, BFLOAT16 = 1, 2, 19, 14
TYPES = {FLOAT: "<f4", DOUBLE: "<f8", HALF: "<f2", BFLOAT16: "<i2"}
"""numpy types by DataType; networks have no integers or text."""

# Field numbers of the messages in these files.
NUM_SHARDS, ENDIANNESS = 1, 2
DTYPE, SHAPE, SHARD, OFFSET, SIZE, CHECKSUM, SLICES = 1, 2, 3, 4, 5, 6, 7
WHOLE_NUMBERS = (DTYPE, SHARD, OFFSET, SIZE)
META, DATA = 1, 2
META_TAG = bytes([META << 3 | LENGTH_DELIMITED])
"""First byte of SavedTensorSlices; a BundleHeaderProto starts with another tag."""

META_TENSOR, META_NAME, META_SHAPE, META_TYPE, META_SLICE = 1, 1, 2, 3, 4
SLICE_NAME, SLICE_DATA = 1, 3
VALUES = {FLOAT: 5, DOUBLE: 6}
DIMENSION, LENGTH = 2, 1

MOST_DIMENSIONS, LARGEST_DIMENSION = 8, 2**31 - 1
MOST_FIELDS = 64
MAXIMUM_INDEX = 64 * 1024**2
"""Limit in bytes of a version 2 index; training the largest network writes about 200 kB."""

AVERAGE = "ExponentialMovingAverage"
"""Last part of the names of averaged variables, and the key of the averages in `groups`."""


class Stored(NamedTuple):
    """A tensor in a file: DataType, shape, file, and start and end in bytes."""

    dtype: int
    shape: tuple[int, ...]
    file: Path
    start: int
    end: int
    checksum: int | None = None


class TensorFlowCheckpoint(NamedTuple):
    """Tensors by name, convolutions as (out, in, height, width), dense layers as (out, in).

    `groups` has the raw variables at "" and the averaged variables, if any, at AVERAGE.
    `passed_over` lists the variables used only for training.
    """

    groups: dict[str, dict[str, Tensor]]
    passed_over: list[str]


def meant(path: Path) -> Path:
    """Return the index if `path` is a checkpoint's name as used in TensorFlow, else `path`.

    Raises UsageError if `path` is another file of a checkpoint; the message names the right one.
    """
    index = path.with_name(f"{path.name}.index")
    if not path.exists() and index.is_file():
        return index
    name = re.sub(r"\.(meta|data-\d{5}-of-\d{5})$", "", path.name)
    if name == path.name:
        return path
    for beside in (f"{name}.index", name):
        if path.with_name(beside).is_file():
            raise UsageError(f"{path}: part of a TensorFlow checkpoint; give {beside} instead")
    return path


def data_files(index: Path) -> list[Path]:
    """Return the data files of a version 2 checkpoint; empty for version 1.

    Raises UserError as `read_tensorflow_checkpoint`.
    """
    try:
        with index.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as data:
            return _shards(index, data, next(iter(entries(data)), None))
    except (OSError, ValueError) as error:
        raise UserError(f"{index}: a damaged TensorFlow checkpoint: {error}") from error


def read_tensorflow_checkpoint(path: Path) -> TensorFlowCheckpoint:
    """Read the checkpoint at `path`, a sorted table; the tensors are memory-mapped.

    Raises:
        UserError: the checkpoint is damaged, compressed or partitioned, or a file is missing; or
            the file is not a checkpoint.
    """
    try:
        with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as data:
            found = iter(entries(data))
            first = next(found, None)
            shards = _shards(path, data, first)
            if shards:
                stored = _bundle(data, shards, found)
            else:
                stored = _slices(path, data, [first, *found] if first else [])
            return _checkpoint(stored)
    except OSError as error:
        raise UserError(f"{error.filename or path}: {error.strerror or error}") from error
    except ValueError as error:
        raise UserError(f"{path}: a damaged TensorFlow checkpoint: {error}") from error


def _shards(path: Path, data: mmap, first: TableEntry | None) -> list[Path]:
    """Return the data files counted by a BundleHeaderProto; empty for version 1's message."""
    if first is None or first.key:
        raise ValueError("it is a sorted table with other content")
    if data[first.start : first.start + 1] == META_TAG:
        return []
    header = _parts(data, first.start, first.end)
    if ENDIANNESS in header and _number(data, header[ENDIANNESS]):
        raise ValueError("its numbers are big-endian, which is not supported")
    if len(data) > MAXIMUM_INDEX:
        raise ValueError(f"its index has over {MAXIMUM_INDEX} bytes")
    count = _number(data, header[NUM_SHARDS]) if NUM_SHARDS in header else 1
    if not 1 <= count < 100_000:
        raise ValueError(f"it states {count} data files")
    name = path.name.removesuffix(".index")
    return [path.with_name(f"{name}.data-{n:05}-of-{count:05}") for n in range(count)]


def _bundle(data: mmap, shards: list[Path], found: Iterable[TableEntry]) -> dict[str, Stored]:
    """Locate the tensors of a version 2 checkpoint; raise ValueError if inconsistent."""
    sizes = [shard.stat().st_size for shard in shards]
    stored = {}
    total = 0
    for entry in found:
        name = _name(entry.key)
        parts = _parts(data, entry.start, entry.end)
        if SLICES in parts:
            raise ValueError(f"{name} is partitioned, which is not supported")
        values = {key: _number(data, parts[key]) for key in WHOLE_NUMBERS if key in parts}
        shard, start, size = (values.get(key, 0) for key in (SHARD, OFFSET, SIZE))
        if shard >= len(shards):
            raise ValueError(f"{name} is in data file {shard} of {len(shards)}")
        if start + size > sizes[shard]:
            over = start + size - sizes[shard]
            raise ValueError(f"{name} ends {over} bytes after {shards[shard].name}")
        total += size
        checksum = parts.get(CHECKSUM)
        stored[name] = Stored(
            values.get(DTYPE, 0),
            _shape(data, parts.get(SHAPE), name),
            shards[shard],
            start,
            start + size,
            checksum and int.from_bytes(data[checksum.start : checksum.end], "little"),
        )
    if total > sum(sizes):  # also limits the bytes read
        raise ValueError("its tensors overlap")
    return stored


def _slices(path: Path, data: mmap, found: Iterable[TableEntry]) -> dict[str, Stored]:
    """Locate the tensors of a version 1 checkpoint; raise ValueError if inconsistent."""
    described: dict[str, tuple[int, tuple[int, ...]]] = {}
    stored = {}
    for entry in found:
        for part in _fields(data, entry.start, entry.end):
            if part.number == META:
                described |= _described(data, part)
            elif part.number == DATA:
                inner = _parts(data, part.start, part.end)
                name = _name(_bytes(data, inner.get(SLICE_NAME)))
                if name not in described:
                    raise ValueError(f"{name} has values but no shape")
                dtype, shape = described[name]
                if dtype in VALUES and SLICE_DATA in inner:
                    start, end = _values(data, inner[SLICE_DATA], VALUES[dtype], name)
                    stored[name] = Stored(dtype, shape, path, start, end)
    return stored | {
        name: Stored(0, shape, path, 0, 0)
        for name, (dtype, shape) in described.items()
        if dtype not in VALUES
    }


def _described(data: mmap, meta: Field) -> dict[str, tuple[int, tuple[int, ...]]]:
    """Return DataType and shape of each tensor listed by a SavedTensorSliceMeta."""
    described: dict[str, tuple[int, tuple[int, ...]]] = {}
    for tensor in fields(data, meta.start, meta.end):
        if tensor.number != META_TENSOR:
            continue
        if len(described) == MOST_ENTRIES:
            raise ValueError(f"it has over {MOST_ENTRIES} tensors")
        found = _fields(data, tensor.start, tensor.end)
        parts = {field.number: field for field in found}
        name = _name(_bytes(data, parts.get(META_NAME)))
        if sum(field.number == META_SLICE for field in found) > 1:
            raise ValueError(f"{name} is partitioned, which is not supported")
        dtype = _number(data, parts[META_TYPE]) if META_TYPE in parts else 0
        described[name] = dtype, _shape(data, parts.get(META_SHAPE), name)
    return described


def _values(data: mmap, tensor: Field, number: int, name: str) -> tuple[int, int]:
    """Return start and end of a TensorProto's values, which are packed in one field."""
    found = [part for part in _fields(data, tensor.start, tensor.end) if part.number == number]
    if len(found) > 1:
        raise ValueError(f"{name} has values in {len(found)} parts, which is not supported")
    return (found[0].start, found[0].end) if found else (0, 0)


def _shape(data: mmap, shape: Field | None, name: str) -> tuple[int, ...]:
    """Return the sizes in a TensorShapeProto; an omitted size is 0."""
    sizes: list[int] = []
    for dimension in _fields(data, shape.start, shape.end) if shape else ():
        if dimension.number == DIMENSION:
            inner = _parts(data, dimension.start, dimension.end)
            sizes.append(_number(data, inner[LENGTH]) if LENGTH in inner else 0)
    if len(sizes) > MOST_DIMENSIONS or max(sizes, default=0) > LARGEST_DIMENSION:
        raise ValueError(f"{name} has too many or too large dimensions")
    return tuple(sizes)


def _fields(data: mmap, start: int, end: int) -> list[Field]:
    """Return the fields of a small message; raise ValueError for more than MOST_FIELDS."""
    found = list(islice(fields(data, start, end), MOST_FIELDS + 1))
    if len(found) > MOST_FIELDS:
        raise ValueError(f"a message has over {MOST_FIELDS} fields")
    return found


def _parts(data: mmap, start: int, end: int) -> dict[int, Field]:
    return {field.number: field for field in _fields(data, start, end)}


def _number(data: mmap, field: Field) -> int:
    return varint(data, field.start, field.end)[0]


def _bytes(data: mmap, field: Field | None) -> bytes:
    return data[field.start : min(field.end, field.start + LONGEST_KEY)] if field else b""


def _name(key: bytes) -> str:
    return printable(key.decode(errors="backslashreplace"))


def _checkpoint(stored: dict[str, Stored]) -> TensorFlowCheckpoint:
    """Map the tensors; separate raw, averaged and training-only variables."""
    raw, averages, passed_over = {}, {}, []
    for name, place in stored.items():
        variable, _, last = name.rpartition("/")
        if place.dtype not in TYPES or not place.shape:
            passed_over.append(name)
        elif last == AVERAGE:
            averages[variable] = _tensor(name, place)
        elif variable in stored:  # optimizer state of the variable
            passed_over.append(name)
        else:
            raw[name] = _tensor(name, place)
    # Variables without average are used raw, as in ExponentialMovingAverage.variables_to_restore.
    return TensorFlowCheckpoint(
        {"": raw, AVERAGE: raw | averages} if averages else {"": raw}, passed_over
    )


def _tensor(name: str, stored: Stored) -> Tensor:
    import numpy as np
    import torch

    kind = np.dtype(TYPES[stored.dtype])
    size = stored.end - stored.start
    if size != prod(stored.shape) * kind.itemsize:
        shape = "x".join(map(str, stored.shape))
        raise ValueError(f"{name} of {shape} has {size} bytes")
    if not size:
        return torch.empty(stored.shape)
    mapped = np.memmap(stored.file, np.uint8, "c", stored.start, (size,))
    if stored.checksum is not None and masked(crc32c(mapped.data, 0, size)) != stored.checksum:
        raise ValueError(f"the checksum of {name} differs")
    # torch requires aligned values, but offsets in the file are arbitrary.
    aligned = mapped if mapped.ctypes.data % kind.itemsize == 0 else mapped.copy()
    tensor = torch.from_numpy(np.asarray(aligned).view(kind).reshape(stored.shape))
    if stored.dtype == BFLOAT16:
        tensor = tensor.view(torch.bfloat16)
    if tensor.ndim == 4:
        return tensor.permute(3, 2, 0, 1)
    return tensor.T if tensor.ndim == 2 else tensor
