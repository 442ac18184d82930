"""Quantize an exported graph to int8 with ONNX Runtime's own tools. No torch.

Activations are uint8 with one range per tensor, weights int8 with one range per filter
(QuantizeLinear and DequantizeLinear nodes). Normalization, the global average pool and the
classifier stay in float32.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable, Collection, Iterable
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from onnx import ModelProto

Method = Literal["percentile", "minmax", "entropy"]

OPERATORS = ["Conv", "Concat", "AveragePool", "MaxPool", "Mul", "Add", "Relu"]
"""Operators that are quantized."""

NORMALIZATION = ("images.luma", "images.scaled", "images.weighted")
"""Nodes with these operators that stay in float32: the normalization of the pixels."""


def quantizable(model: ModelProto) -> list[str]:
    """Return the names of the boxes that are quantized, in the order of the figure."""
    exact = "MaxPool", "Relu"
    return [
        node.name
        for node in model.graph.node
        if node.op_type in OPERATORS
        and node.op_type not in exact
        and node.name not in NORMALIZATION
    ]


def activation_ranges(
    model: ModelProto,
    crops: Iterable[NDArray[np.uint8]],
    method: Method,
    percentile: float,
    done: Callable[[int], None],
) -> Any:
    """Return the range of every activation on `crops`, each (H, W, 3) uint8, as ONNX Runtime's.

    `percentile` leaves out (100 - percentile) / 2 percent of the values on either side. `done` is
    called with 1 after each crop.
    """
    import onnx
    from onnxruntime.quantization import CalibrationMethod, create_calibrator

    methods = {
        "percentile": CalibrationMethod.Percentile,
        "minmax": CalibrationMethod.MinMax,
        "entropy": CalibrationMethod.Entropy,
    }
    # The tools print their progress.
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(io.StringIO()):
        original = Path(folder, "float32.onnx")
        onnx.save(model, original)
        calibrator = create_calibrator(
            original,
            OPERATORS,
            str(Path(folder, "with_outputs.onnx")),
            calibrate_method=methods[method],
            extra_options={"symmetric": False, "percentile": percentile},
        )
        for crop in crops:
            # One at a time: it keeps all activations of the images that it is given.
            calibrator.collect_data(_OneImage(crop))
            done(1)
        return calibrator.compute_data()


class _OneImage:
    """The CalibrationDataReader of one crop."""

    def __init__(self, crop: NDArray[np.uint8]) -> None:
        self._images = iter([{"images": crop[np.newaxis]}])

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        return next(self._images, None)


def quantized_graph(
    model: ModelProto,
    ranges: Any,
    float32: Collection[str] = (),
    only: Collection[str] = (),
) -> ModelProto:
    """Return the int8 graph; the boxes `float32` are not quantized, or none but `only`."""
    import onnx
    from onnxruntime.quantization import QDQQuantizer, QuantType

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    quantizer = QDQQuantizer(
        copy,
        per_channel=True,
        reduce_range=False,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QUInt8,
        tensors_range=ranges,
        nodes_to_quantize=list(only),
        nodes_to_exclude=[*NORMALIZATION, *float32],
        op_types_to_quantize=OPERATORS,
        extra_options={},
    )
    quantizer.quantize_model()
    quantizer.model.topological_sort()
    made: ModelProto = quantizer.model.model
    for tensor in made.graph.initializer:
        tensor.ClearField("data_location")  # set although all tensors are inside
    return made
