"""ONNX files as they lie on the disk: their metadata, and their graph without its tensors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from mmap import ACCESS_READ, mmap
from pathlib import Path

from inceptcli.text import printable
from inceptcli.weights.protobuf import Field, fields, text, whole_number

# Field numbers from onnx.proto: of ModelProto, GraphProto, NodeProto, TensorProto and
# StringStringEntryProto.
GRAPH, METADATA_PROPS, TRAINING, FUNCTIONS = 7, 14, 20, 25
NODE, INITIALIZER, SPARSE_INITIALIZER = 1, 5, 15
OP_TYPE, ATTRIBUTE, DOMAIN = 4, 5, 7
RAW_DATA, EXTERNAL_DATA, DATA_LOCATION = 9, 13, 14
KEY, VALUE = 1, 2

HOLDING = {5, 6, 10, 11, 22, 23}
"""Fields of an AttributeProto that have tensors or graphs in them."""

OPERATORS = {
    "Add", "AveragePool", "BatchNormalization", "Cast", "Clip", "Concat", "Conv", "Div", "Expand",
    "Gemm", "Max", "MaxPool", "Mul", "ReduceL2", "ReduceMean", "ReduceSum", "Relu", "Shape", "Sub",
    "Transpose",
}  # fmt: skip
"""All that exported networks need; none of them loops or calls another graph."""

EXTERNAL = 1  # a TensorProto.DataLocation
MOST_GRAPH_BYTES = 16 * 2**20
"""Without its larger tensors; irv2-tf with 64 modules of each kind has 2 MB."""

MOST_HEADER_BYTES = 32 * 2**20
LONGEST_NAME = 40
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


def without_tensors(path: Path) -> bytes:
    """The model of the file, whose larger tensors it only says the place of in that very file.

    They are external data, in the file of this name beside the model: whoever loads it may map
    them instead of copying them twice. ValueError as `read_onnx_header`.
    """
    with _model(path) as (data, parts):
        return b"".join(
            text(GRAPH, _graph(data, part, path.name))
            if part.number == GRAPH
            else data[part.begin : part.end]
            for part in parts
            if part.number != METADATA_PROPS
        )


def check_graph(path: Path) -> None:
    """ForeignGraphError where the network may run for ever or has tensors in another file.

    Also where it is larger without its tensors than those are. See `onnx_limits` for the rest.

    Networks that `export` writes have plain nodes of OPERATORS, and all tensors in themselves.
    """
    with _model(path) as (data, parts):
        for part in parts:
            if part.number in (TRAINING, FUNCTIONS):
                raise ForeignGraphError("its network has functions, which ours have not")
            if part.number == GRAPH:
                _check_parts(data, part)


def _check_parts(data: mmap, graph: Field) -> None:
    size = 0
    for part in fields(data, graph.start, graph.end):
        if part.number != INITIALIZER:
            size += part.end - part.begin
        else:
            size += _size_without_data(data, part)
        if size > MOST_GRAPH_BYTES:
            raise ForeignGraphError(f"its network has over {MOST_GRAPH_BYTES} bytes beside tensors")
        if part.number == NODE:
            _check_node(data, part)
        elif part.number == SPARSE_INITIALIZER:
            raise ForeignGraphError("its network has sparse tensors, which ours have not")
        elif part.number == INITIALIZER:
            inside = {field.number for field in fields(data, part.start, part.end)}
            if inside & {EXTERNAL_DATA, DATA_LOCATION}:
                raise ForeignGraphError("its tensors lie in another file, which is not read")


def _size_without_data(data: mmap, tensor: Field) -> int:
    inside = fields(data, tensor.start, tensor.end)
    return sum(field.end - field.begin for field in inside if not _is_moved(field))


def _is_moved(field: Field) -> bool:
    """Whether it is a tensor's data that `without_tensors` leaves where it lies."""
    return field.number == RAW_DATA and field.end - field.start >= SMALLEST_TENSOR


def _check_node(data: mmap, node: Field) -> None:
    for field in fields(data, node.start, node.end):
        value = data[field.start : min(field.end, field.start + LONGEST_NAME)]
        if field.number == OP_TYPE and value.decode(errors="replace") not in OPERATORS:
            name = printable(value.decode(errors="replace"))
            raise ForeignGraphError(f"its operator {name} is none that networks of ours need")
        if field.number == DOMAIN and value:
            raise ForeignGraphError("it has operators of another domain than ONNX's own")
        if field.number == ATTRIBUTE and HOLDING & {
            inner.number for inner in fields(data, field.start, field.end)
        }:
            raise ForeignGraphError("a node has a tensor or a graph in it, which ours have not")


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


def _graph(data: mmap, graph: Field, file_name: str) -> bytes:
    return b"".join(
        text(INITIALIZER, _initializer(data, part, file_name))
        if part.number == INITIALIZER
        else data[part.begin : part.end]
        for part in fields(data, graph.start, graph.end)
    )


def _initializer(data: mmap, tensor: Field, file_name: str) -> bytes:
    kept, external = [], []
    for part in fields(data, tensor.start, tensor.end):
        size = part.end - part.start
        if not _is_moved(part):
            kept.append(data[part.begin : part.end])
            continue
        place = {"location": file_name, "offset": str(part.start), "length": str(size)}
        external = [
            text(EXTERNAL_DATA, text(KEY, key.encode()) + text(VALUE, value.encode()))
            for key, value in place.items()
        ]
        external.append(whole_number(DATA_LOCATION, EXTERNAL))
    return b"".join([*kept, *external])
