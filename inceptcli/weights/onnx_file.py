"""ONNX files as they lie on the disk: their metadata, and their graph without its tensors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from mmap import ACCESS_READ, mmap
from pathlib import Path

from inceptcli.weights.formats.protobuf import Field, fields, text_field, whole_number_field

# Field numbers from onnx.proto: of ModelProto, GraphProto, TensorProto and StringStringEntryProto.
GRAPH, METADATA_PROPS = 7, 14
INITIALIZER = 5
RAW_DATA, EXTERNAL_DATA, DATA_LOCATION = 9, 13, 14
KEY, VALUE = 1, 2

EXTERNAL = 1  # a TensorProto.DataLocation
MOST_GRAPH_BYTES = 16 * 2**20
"""Without its larger tensors; irv2-tf with 64 modules of each kind has 2 MB."""

MOST_HEADER_BYTES = 32 * 2**20
SMALLEST_TENSOR = 1024
"""Bytes; what is smaller stays in the graph."""

DAMAGED = "it is a damaged ONNX file, perhaps cut short"


class ForeignGraphError(ValueError):
    """A network that `export` cannot have written; the message is the reason."""


def is_onnx(path: Path) -> bool:
    """Whether the file starts as ONNX does: with its version, a varint that is field 1."""
    with path.open("rb") as file:
        start = file.read(9)
    # A safetensors file starts with eight bytes, its header's length, and the header's brace.
    return start[:1] == b"\x08" and start[8:] != b"{"


def read_onnx_header(path: Path) -> dict[str, str]:
    """The model's `metadata_props`; ValueError when the file is damaged or cut short."""
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
    """The model of the file, whose larger tensors it only says the place of in that very file.

    They are external data, in the file of this `name`: whoever loads the model may map them instead
    of copying them twice. ValueError as `read_onnx_header`, ForeignGraphError where
    tensors lie in another file, or the rest is larger than in networks of ours.
    """
    with _model(path) as (data, parts):
        return _joined(
            text_field(GRAPH, _graph(data, part, name))
            if part.number == GRAPH
            else data[part.begin : part.end]
            for part in parts
            if part.number != METADATA_PROPS
        )


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
            raise ForeignGraphError(f"its network has over {MOST_GRAPH_BYTES} bytes beside tensors")
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
            raise ForeignGraphError("its tensors lie in another file, which is not read")
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
