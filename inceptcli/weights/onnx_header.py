"""The metadata of an ONNX file, without ONNX Runtime and without reading its tensors."""

from __future__ import annotations

import os
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

# Field numbers from onnx.proto, the first two of ModelProto; kinds of field from protobuf.
GRAPH, METADATA_PROPS = 7, 14
KEY, VALUE = 1, 2  # of StringStringEntryProto
VARINT, LENGTH_DELIMITED = 0, 2

DAMAGED = "it is a damaged ONNX file, perhaps cut short"


def is_onnx(path: Path) -> bool:
    """Whether the file starts as ONNX does: with its version, a varint that is field 1."""
    with path.open("rb") as file:
        start = file.read(9)
    # A safetensors file starts with eight bytes, its header's length, and the header's brace.
    return start[:1] == b"\x08" and start[8:] != b"{"


def read_onnx_header(path: Path) -> dict[str, str]:
    """The model's `metadata_props`; ValueError when the file is damaged or cut short."""
    header: dict[str, str] = {}
    found: set[int] = set()
    with path.open("rb") as file:
        for number, length in _fields(file, os.fstat(file.fileno()).st_size):
            found.add(number)
            if number == METADATA_PROPS:
                entry = BytesIO(file.read(length))
                texts = {part: entry.read(size).decode() for part, size in _fields(entry, length)}
                header[texts.get(KEY, "")] = texts.get(VALUE, "")
    if GRAPH not in found:
        raise ValueError("it is an ONNX file without a network")
    return header


def _fields(file: BinaryIO, size: int) -> Iterator[tuple[int, int]]:
    """Number and length of each field that has a length; the file stands at its first byte."""
    while file.tell() < size:
        tag = _varint(file)
        length = _varint(file)
        if tag & 7 == VARINT:
            continue
        end = file.tell() + length
        if tag & 7 != LENGTH_DELIMITED or end > size:
            raise ValueError(DAMAGED)
        yield tag >> 3, length
        file.seek(end)


def _varint(file: BinaryIO) -> int:
    """Seven bits in each of up to ten bytes, the lowest first; the last byte's eighth bit is 0."""
    value = 0
    for shift in range(0, 70, 7):
        byte = int.from_bytes(file.read(1))
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value
    raise ValueError(DAMAGED)
