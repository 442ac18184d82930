"""Find the boxes of the figure that lose most in int8: each box alone, on float32 inputs. No torch.

One graph computes the float32 network and, beside each of its boxes, the same box in int8 on the
float32 input of the box.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from inceptcli.prediction.engines.onnx_engine import session_options
from inceptcli.processes.cores import compute_threads

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

BETWEEN = ("QuantizeLinear", "DequantizeLinear")
INT8 = "int8/"
"""Prefix of the names of int8 values."""


def signal_to_noise(
    original: ModelProto,
    quantized: ModelProto,
    crops: Iterable[NDArray[np.uint8]],
    done: Callable[[int], None],
) -> dict[str, float]:
    """Return 10 log10(signal / noise), in decibels, of each quantized box, in graph order.

    Signal and noise are the sums of squares of a box's float32 output and of its int8 output minus
    that, over all `crops`, each (H, W, 3) uint8. Without noise it is infinite.
    """
    from onnxruntime import InferenceSession

    boxes = quantized_boxes(quantized)
    model = _side_by_side(original, quantized, boxes)
    session = InferenceSession(
        model.SerializeToString(), session_options(compute_threads()), ["CPUExecutionProvider"]
    )
    sums = np.zeros((len(boxes), 2))
    for crop in crops:
        sums += np.reshape(session.run(None, {"images": crop[np.newaxis]}), sums.shape)
        done(1)
    with np.errstate(divide="ignore", invalid="ignore"):
        decibels = 10 * np.log10(sums[:, 0] / sums[:, 1])
    # A box whose output is 0 everywhere is exact too.
    decibels[sums[:, 1] == 0] = np.inf
    return dict(zip((box.name for box in boxes), decibels.tolist(), strict=True))


def quantized_boxes(quantized: ModelProto) -> list[NodeProto]:
    """Return the nodes of an int8 graph whose output is quantized; max pools are exact."""
    rounded = {node.input[0] for node in quantized.graph.node if node.op_type == "QuantizeLinear"}
    return [
        node
        for node in quantized.graph.node
        if node.op_type not in (*BETWEEN, "MaxPool")
        and node.output[0] in rounded
        and any(name.endswith("_DequantizeLinear_Output") for name in node.input)
    ]


def sources(quantized: ModelProto) -> dict[str, set[str]]:
    """Return, for each quantized box, the quantized boxes that compute its inputs."""
    boxes = {box.output[0]: box.name for box in quantized_boxes(quantized)}
    made_by = {name: node for node in quantized.graph.node for name in node.output}

    def found(value: str) -> Iterator[str]:
        if value in boxes:
            yield boxes[value]
        elif value in made_by:  # not a parameter
            for name in made_by[value].input:
                yield from found(name)

    return {
        name: {source for value in made_by[output].input for source in found(value)}
        for output, name in boxes.items()
    }


def _side_by_side(
    original: ModelProto, quantized: ModelProto, boxes: list[NodeProto]
) -> ModelProto:
    import onnx
    from onnx import TensorProto, helper

    both = onnx.ModelProto()
    both.CopyFrom(original)
    graph = both.graph
    between = [node for node in quantized.graph.node if node.op_type in BETWEEN]
    made = {tensor.name for tensor in quantized.graph.initializer}
    made |= {name for node in between for name in node.output}
    for tensor in quantized.graph.initializer:
        graph.initializer.add().CopyFrom(tensor)
        graph.initializer[-1].name = INT8 + tensor.name
    new = {name: INT8 + name for name in made}
    graph.node.extend(_renamed(node, new) for node in between)
    del graph.output[:]
    for box in boxes:
        output = box.output[0]
        graph.node.append(_renamed(box, new | {output: INT8 + output}))
        rounded = f"{INT8}{output}"
        for node in _rounding(output, between):
            own = new | {name: f"{INT8}own/{name}" for name in node.output}
            own |= {node.input[0]: rounded}
            graph.node.append(_renamed(node, own))
            rounded = graph.node[-1].output[0]
        difference = f"{output}/difference"
        graph.node.append(helper.make_node("Sub", [rounded, output], [difference]))
        for name in (output, difference):
            total = f"{name}/squared"
            graph.node.append(helper.make_node("ReduceSumSquare", [name], [total], keepdims=0))
            graph.output.append(helper.make_tensor_value_info(total, TensorProto.FLOAT, []))
    return both


def _rounding(value: str, between: list[NodeProto]) -> Iterator[NodeProto]:
    """Yield the QuantizeLinear of a value and the DequantizeLinear after it."""
    first = next(n for n in between if n.op_type == "QuantizeLinear" and n.input[0] == value)
    yield first
    yield next(n for n in between if n.input[0] == first.output[0])


def _renamed(node: NodeProto, new: dict[str, str]) -> NodeProto:
    copy: NodeProto = type(node)()
    copy.CopyFrom(node)
    copy.ClearField("name")
    copy.ClearField("input")
    copy.input.extend(new.get(name, name) for name in node.input)
    copy.ClearField("output")
    copy.output.extend(new.get(name, name) for name in node.output)
    return copy
