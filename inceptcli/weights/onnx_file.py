"""Reading of ONNX files: the metadata, and the graph without its tensors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from mmap import ACCESS_READ, mmap
from pathlib import Path

from inceptcli.weights.formats.protobuf import Field, fields, text_field, whole_number_field

# Field numbers in onnx.proto: ModelProto, GraphProto, TensorProto and StringStringEntryProto.
GRAPH, METADATA_PROPS = 7, 14
INITIALIZER = 5
RAW_DATA, EXTERNAL_DATA, DATA_LOCATION = 9, 13, 14
KEY, VALUE = 1, 2

EXTERNAL = 1  # a TensorProto.DataLocation
MOST_GRAPH_BYTES = 16 * 2**20
"""Limit without the larger tensors; irv2-tf with 64 modules of each kind has 2 MB."""

MOST_HEADER_BYTES = 32 * 2**20
SMALLEST_TENSOR = 1024
"""Bytes; smaller tensors stay in the graph."""

DAMAGED = "it is a damaged or truncated ONNX file"


class ForeignGraphError(ValueError):
    """A network that was not written by `export`; the message is the reason."""


def is_onnx(path: Path) -> bool:
    """Return whether the file starts with ONNX's version field (number 1, a varint)."""
    with path.open("rb") as file:
        start = file.read(9)
    # A safetensors file has a brace after the eight bytes of its header length.
    return start[:1] == b"\x08" and start[8:] != b"{"


def read_onnx_header(path: Path) -> dict[str, str]:
    """Return the model's `metadata_props`; raise ValueError if the file is damaged."""
    header: dict[str, str] = {}
    with _model(path) as (data, parts):
        for part in parts:
            if part.number == METADATA_PROPS:
                if part.end - part.start > MOST_HEADER_BYTES:
                    raise ForeignGraphError(f"its metadata has over {MOST_HEADER_BYTES} bytes")
                entry = {
                    found.number: data[found.start : found.end].decode()
                    for found in fields(data, part.start, part.end)
                }
                header[entry.get(KEY, "")] = entry.get(VALUE, "")
    return header


def without_tensors(path: Path, name: str) -> bytes:
    """Return the model with its larger tensors replaced by references into the file.

    The references are external data in a file called `name`, so that a runtime can map the tensors
    instead of copying them.

    Raises:
        ValueError: the file is damaged.
        ForeignGraphError: tensors are stored in another file, or the rest of the model is larger
            than in exported networks.
    """
    with _model(path) as (data, parts):
        return _joined(
            text_field(GRAPH, _graph(data, part, name))
            if part.number == GRAPH
            else data[part.begin : part.end]
            for part in parts
            if part.number != METADATA_PROPS
        )


def copy_onnx(path: Path, output: Path, header: dict[str, str]) -> None:
    """Copy a model with other entries of `metadata_props`; its graph is copied byte for byte.

    Raises ValueError if the file is damaged.
    """
    entries = read_onnx_header(path) | header
    with _model(path) as (data, parts), output.open("wb") as copy:
        for part in parts:
            if part.number != METADATA_PROPS:
                copy.write(data[part.begin : part.end])
        for key, value in entries.items():
            entry = text_field(KEY, key.encode()) + text_field(VALUE, value.encode())
            copy.write(text_field(METADATA_PROPS, entry))


@contextmanager
def _model(path: Path) -> Iterator[tuple[mmap, list[Field]]]:
    with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as data:
        try:
            parts = list(fields(data, 0, len(data)))
            if any(part.number == GRAPH for part in parts):
                yield data, parts
                return
        except ForeignGraphError:
            raise
        except ValueError as error:
            raise ValueError(DAMAGED) from error
    raise ValueError("it is an ONNX file without a network")


def _joined(parts: Iterable[bytes]) -> bytes:
    kept, size = [], 0
    for part in parts:
        kept.append(part)
        size += len(part)
        if size > MOST_GRAPH_BYTES:
            raise ForeignGraphError(f"its graph has over {MOST_GRAPH_BYTES} bytes besides tensors")
    return b"".join(kept)


def _graph(data: mmap, graph: Field, file_name: str) -> bytes:
    return _joined(
        text_field(INITIALIZER, _initializer(data, part, file_name))
        if part.number == INITIALIZER
        else data[part.begin : part.end]
        for part in fields(data, graph.start, graph.end)
    )


def _initializer(data: mmap, tensor: Field, file_name: str) -> bytes:
    kept, external = [], []
    for part in fields(data, tensor.start, tensor.end):
        size = part.end - part.start
        if part.number in (EXTERNAL_DATA, DATA_LOCATION):
            raise ForeignGraphError("its tensors are in another file, which is not supported")
        if part.number != RAW_DATA or size < SMALLEST_TENSOR:
            kept.append(data[part.begin : part.end])
            continue
        place = {"location": file_name, "offset": str(part.start), "length": str(size)}
        external = [
            text_field(
                EXTERNAL_DATA, text_field(KEY, key.encode()) + text_field(VALUE, value.encode())
            )
            for key, value in place.items()
        ]
        external.append(whole_number_field(DATA_LOCATION, EXTERNAL))
    return b"".join([*kept, *external])
