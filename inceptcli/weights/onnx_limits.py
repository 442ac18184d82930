"""Limits on the operators, memory and computation of an ONNX network, checked before running it.

ONNX's shape inference computes the size of every value for one image. Shapes may depend only on
constants and on the number of images, which the operator Shape reads.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from inceptcli.networks.state_dict import Shape
from inceptcli.text import printable
from inceptcli.weights.onnx_file import ForeignGraphError

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, ValueInfoProto

MOST_NODES = 10_000
"""Limit; irv2-tf with 64 modules of each kind has 3,000."""

VALUES_PER_PIXEL, MORE_VALUES = 32, 2**20
"""Limit of values per tensor; in our networks the largest has 16 per pixel, or the classes."""

WORK_PER_PIXEL, MORE_WORK = 2_000_000, 10**9
"""Limit of multiply-adds: iv4 with 64 modules of each kind has 1.3 million per pixel, and 100,000
classes add at most 0.3 billion."""

MOST_DIMENSIONS = 16
"""Limit of dimensions; integer tensors of up to this length may be shapes."""

LONGEST_NAME = 40

OPERATORS = {
    "Add", "AveragePool", "BatchNormalization", "Cast", "Clip", "Concat", "Conv",
    "DequantizeLinear", "Div", "Expand", "Flatten", "Gemm", "GlobalAveragePool", "Identity", "Max",
    "MaxPool", "Mul", "QuantizeLinear", "ReduceL2", "ReduceMean", "ReduceSum", "Relu", "Shape",
    "Sub", "Transpose",
}  # fmt: skip
"""Operators of exported and quantized networks; none of them loops or calls another graph."""

HOLDING = ("t", "g", "tensors", "graphs", "sparse_tensor", "sparse_tensors")
"""Fields of a node's attribute that contain tensors or graphs."""


def check_limits(model: bytes, image_size: tuple[int, int]) -> None:
    """Check that `model` stays within the limits for one image of (height, width) pixels.

    Raises ForeignGraphError if it does not or if that is unknown, ImportError without onnx.
    """
    import onnx
    from onnx.shape_inference import InferenceError, infer_shapes

    try:
        loaded = onnx.load_model_from_string(model)
        _check_nodes(loaded)
        _forget_shapes(loaded, (1, *image_size, 3))
        _fold_shapes(loaded, (1, *image_size, 3))
        inferred = infer_shapes(loaded, check_type=True, strict_mode=True)
    except ForeignGraphError:
        raise
    except (InferenceError, ValueError, RuntimeError) as error:
        reason = printable((str(error).splitlines() or [type(error).__name__])[0][:200])
        raise ForeignGraphError(f"the shapes in its network are unknown: {reason}") from error
    except Exception as error:  # protobuf's own DecodeError
        raise ForeignGraphError("its network is damaged") from error
    _check(inferred, math.prod(image_size))


def _check_nodes(model: ModelProto) -> None:
    """Raise ForeignGraphError for anything other than OPERATORS and dense initializers."""
    if model.functions or model.training_info:
        raise ForeignGraphError("its network has functions, which exported networks do not have")
    if model.graph.sparse_initializer:
        raise ForeignGraphError("its network has sparse tensors, which are not supported")
    for node in model.graph.node:
        if node.op_type not in OPERATORS:
            name = printable(node.op_type[:LONGEST_NAME])
            raise ForeignGraphError(f"its operator {name} is not used by exported networks")
        if node.domain:
            raise ForeignGraphError("it has operators from outside ONNX's default domain")
        held = {field.name for each in node.attribute for field, _ in each.ListFields()}
        if held.intersection(HOLDING):
            raise ForeignGraphError("a node contains a tensor or a graph, which is not supported")


def _forget_shapes(model: ModelProto, images: Shape) -> None:
    """Remove the graph's declared shapes, which inference would trust; keep the input's."""
    graph = model.graph
    if [value.name for value in graph.input] != ["images"]:
        raise ForeignGraphError("its network must have one input, images")
    del graph.value_info[:]
    for output in graph.output:
        output.type.tensor_type.ClearField("shape")
    shape = graph.input[0].type.tensor_type.shape
    del shape.dim[:]
    for side in images:
        shape.dim.add(dim_value=side)


def _fold_shapes(model: ModelProto, images: Shape) -> None:
    """Replace the nodes that compute shapes (Shape of the images, Concat) by constants.

    Shape inference could follow these nodes, but would copy any tensor used as a shape.
    """
    from onnx import TensorProto, numpy_helper

    graph = model.graph
    known = {
        each.name: tuple(numpy_helper.to_array(each).tolist())
        for each in graph.initializer
        if each.data_type == TensorProto.INT64
        and len(each.dims) <= 1
        and math.prod(each.dims) <= MOST_DIMENSIONS
    }
    kept = []
    for node in graph.node:
        values: Shape | None = None
        if node.op_type == "Shape" and list(node.input) == ["images"]:
            ends = {attribute.name: attribute.i for attribute in node.attribute}
            values = images[ends.get("start") : ends.get("end")]
        elif node.op_type == "Concat" and all(each in known for each in node.input):
            values = sum((known[each] for each in node.input), start=())
        if values is None or len(node.output) != 1 or len(values) > MOST_DIMENSIONS:
            kept.append(node)
            continue
        known[node.output[0]] = values
        constant = graph.initializer.add(
            name=node.output[0], data_type=TensorProto.INT64, dims=[len(values)]
        )
        constant.int64_data.extend(values)
    del graph.node[:]
    graph.node.extend(kept)


def _check(model: ModelProto, pixels: int) -> None:
    graph = model.graph
    if len(graph.node) > MOST_NODES:
        raise ForeignGraphError(f"its network has over {MOST_NODES} nodes")
    shapes: dict[str, Shape] = {each.name: tuple(each.dims) for each in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        _add_value(shapes, value)
    most, work = VALUES_PER_PIXEL * pixels + MORE_VALUES, 0
    kinds = _kinds(model)
    parameters = {each.name for each in graph.initializer}
    for node in graph.node:
        if not all(each in shapes for each in (*node.input, *node.output) if each):
            raise ForeignGraphError(f"the shape of {_place(node)} cannot be inferred")
        if not {kinds.get(output) for output in node.output if output} <= _allowed_types(
            node.op_type
        ):
            raise ForeignGraphError(f"{_place(node)} has a type that exported networks do not use")
        if node.op_type == "DequantizeLinear" and node.input[0] in parameters:
            parameters.remove(node.input[0])  # as large as in the file, once
        elif any(math.prod(shapes[each]) > most for each in node.output if each):
            size = "x".join(map(str, shapes[node.output[0]]))
            raise ForeignGraphError(
                f"{_place(node)} has shape {size}, over {most} values per image"
            )
        work += _work(node, [shapes.get(each, ()) for each in node.input], shapes[node.output[0]])
    if work > (limit := WORK_PER_PIXEL * pixels + MORE_WORK):
        raise ForeignGraphError(f"it takes {work:.1e} multiply-adds per image, over {limit:.1e}")


def _place(node: NodeProto) -> str:
    name = node.output[0][:LONGEST_NAME] if node.output else ""
    return f"{printable(name)}, made by {node.op_type},"


def _add_value(shapes: dict[str, Shape], value: ValueInfoProto) -> None:
    found = value.type.tensor_type.shape.dim
    if value.type.tensor_type.HasField("shape") and all(d.HasField("dim_value") for d in found):
        shapes[value.name] = tuple(dim.dim_value for dim in found)


def _kinds(model: ModelProto) -> Mapping[str, int]:
    return {
        value.name: value.type.tensor_type.elem_type
        for value in (*model.graph.value_info, *model.graph.output)
    }


def _allowed_types(operator: str) -> set[int | None]:
    """Return the allowed output types: float32, uint8 for the images, 8 bits if quantized."""
    from onnx import TensorProto

    if operator == "QuantizeLinear":
        return {TensorProto.INT8, TensorProto.UINT8}
    images = {TensorProto.UINT8} if operator == "Transpose" else set[int]()
    return {TensorProto.FLOAT, *images}


def _work(node: NodeProto, inputs: Sequence[Shape], output: Shape) -> int:
    """Estimate multiply-adds, counting at least one for each value read or written."""
    values = math.prod(output)
    read = sum(map(math.prod, inputs))
    if node.op_type == "Conv":
        return read + values * math.prod(inputs[1][1:])
    if node.op_type == "Gemm":
        inner = next((a.i for a in node.attribute if a.name == "transA"), 0)
        return read + values * inputs[0][0 if inner else 1]
    if node.op_type in ("MaxPool", "AveragePool"):
        kernel = next((a.ints for a in node.attribute if a.name == "kernel_shape"), ())
        return read + values * min(math.prod(kernel), math.prod(inputs[0][2:]))
    return read + values
