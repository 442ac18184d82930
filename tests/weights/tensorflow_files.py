"""TensorFlow checkpoints written from the description of their format, without TensorFlow."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from struct import pack
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inceptcli.weights.formats.crc32c import crc32c, masked
from inceptcli.weights.formats.protobuf import text_field, whole_number_field

MAGIC = bytes.fromhex("57fb808b247547db")
CODES = {"<f4": 1, "<f8": 2, "<i8": 9, "<f2": 19}
"""numpy's names of DataTypes."""

Arrays = Mapping[str, NDArray[Any]]
Entries = Iterable[tuple[bytes, bytes]]


def varint(value: int) -> bytes:
    return whole_number_field(0, value)[1:]


def fixed32(number: int, value: int) -> bytes:
    return varint(number << 3 | 5) + pack("<I", value)


def block(entries: Entries, every: int = 16) -> bytes:
    """Keys share their beginnings with the key before; every so many start anew."""
    before, parts, restarts, place = b"", [], [], 0
    for number, (key, value) in enumerate(entries):
        shared = 0
        if number % every == 0:
            restarts.append(place)
        else:
            while shared < min(len(key), len(before)) and key[shared] == before[shared]:
                shared += 1
        sizes = varint(shared) + varint(len(key) - shared) + varint(len(value))
        parts.append(sizes + key[shared:] + value)
        place += len(parts[-1])
        before = key
    restarts = restarts or [0]
    return b"".join(parts) + pack(f"<{len(restarts) + 1}I", *restarts, len(restarts))


def trailer(contents: bytes, compression: int = 0) -> bytes:
    whole = contents + bytes([compression])
    return whole[-1:] + pack("<I", masked(crc32c(whole, 0, len(whole))))


def sorted_table(entries: Entries, per_block: int = 100, compression: int = 0) -> bytes:
    """A table of LevelDB's format, with so many entries to a block."""
    listed = sorted(entries)
    file, index = b"", []
    for first in range(0, len(listed), per_block):
        part = listed[first : first + per_block]
        contents = block(part)
        index.append((part[-1][0], varint(len(file)) + varint(len(contents))))
        file += contents + trailer(contents, compression)
    handles = b""
    for contents in (block([]), block(index, every=1)):
        handles += varint(len(file)) + varint(len(contents))
        file += contents + trailer(contents)
    return file + handles.ljust(40, b"\0") + MAGIC


def shape(sizes: Iterable[int]) -> bytes:
    """TensorShapeProto."""
    return b"".join(text_field(2, whole_number_field(1, size)) for size in sizes)


def entry(array: NDArray[Any], offset: int, **changes: Any) -> bytes:
    """BundleEntryProto."""
    data = array.tobytes()
    fields: dict[str, Any] = {
        "dtype": CODES[array.dtype.str],
        "shape": array.shape,
        "shard": 0,
        "offset": offset,
        "size": len(data),
        "checksum": masked(crc32c(data, 0, len(data))),
        **changes,
    }
    more: bytes = fields.get("more", b"")
    numbers = {3: fields["shard"], 4: fields["offset"], 5: fields["size"]}
    return (
        whole_number_field(1, fields["dtype"])
        + text_field(2, shape(fields["shape"]))
        + b"".join(whole_number_field(number, value) for number, value in numbers.items() if value)
        + fixed32(6, fields["checksum"])
        + more
    )


def write_version_2(
    prefix: Path,
    arrays: Arrays,
    header: bytes = whole_number_field(1, 1),
    changes: Mapping[str, Any] | None = None,
    **table: Any,
) -> Path:
    """PREFIX.index and its data file; gives the index. `changes` are of every entry."""
    entries, offset = [(b"", header)], 0
    with prefix.with_name(f"{prefix.name}.data-00000-of-00001").open("wb") as file:
        for name in sorted(arrays):
            entries.append((name.encode(), entry(arrays[name], offset, **(changes or {}))))
            offset += file.write(arrays[name].tobytes())
    index = prefix.with_name(f"{prefix.name}.index")
    index.write_bytes(sorted_table(entries, **table))
    return index


VALUES = {"<f4": 5, "<f8": 6}
"""numpy's names of types to the fields of a TensorProto that have such values."""


def write_version_1(path: Path, arrays: Arrays, slices: int = 1, **table: Any) -> Path:
    """One file. The keys of tensors are TensorFlow's ordered code, which nothing reads."""
    meta, entries = b"", []
    for name, array in sorted(arrays.items()):
        described = text_field(1, name.encode()) + text_field(2, shape(array.shape))
        described += whole_number_field(3, CODES[array.dtype.str]) + text_field(4, b"") * slices
        meta += text_field(1, described)
        values = (
            text_field(VALUES[array.dtype.str], array.tobytes())
            if array.dtype.str in VALUES
            else b""
        )
        saved = text_field(1, name.encode()) + text_field(2, b"") + text_field(3, values)
        entries.append((b"\0" + name.encode() + b"\0\1", text_field(2, saved)))
    path.write_bytes(sorted_table([(b"", text_field(1, meta)), *entries], **table))
    return path


def as_slim(tensors: Arrays) -> dict[str, NDArray[Any]]:
    """Tensors in PyTorch's layout as TF-slim saves them: without gammas, channels last."""
    return {
        name: np.ascontiguousarray(
            array.transpose(2, 3, 1, 0)
            if array.ndim == 4
            else array.T
            if array.ndim == 2
            else array
        )
        for name, array in tensors.items()
        if not name.endswith(("gamma", "num_batches_tracked"))
    }
