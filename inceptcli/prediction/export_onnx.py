"""A weights file as one ONNX file that any runtime can use: pixels in, logits and features out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, save

from inceptcli.networks.onnx_graph import OPSET, onnx_graph
from inceptcli.networks.registry import describe
from inceptcli.networks.state_dict import STATISTICS
from inceptcli.weights.file import read_metadata
from inceptcli.weights.stored_tensors import stored_tensors

Tensors = dict[str, NDArray[np.float32]]


def export_onnx(weights: Path, output: Path, opset: int = OPSET) -> None:
    """Write our weights file as ONNX, batch norm folded and the tensors in it; see `onnx_graph`.

    The model's metadata has what our weights file's header has, under the same key.
    Raises UserError when the file cannot be used.
    """
    metadata = read_metadata(weights)
    view, options = metadata.preprocessing, metadata.network
    stored = stored_tensors(weights, options)
    tensors = folded(
        {key: tensor.read(weights) for key, tensor in stored.items()}, options.batch_norm_eps
    )
    model: ModelProto = onnx_graph(
        describe(options),
        view.image_size,
        view.mean,
        view.std,
        has_classifier=metadata.has_classifier,
        folded=True,
        opset=opset,
    )
    for parameter in model.graph.initializer:
        if parameter.data_location == TensorProto.EXTERNAL:
            parameter.ClearField("data_location")
            del parameter.external_data[:]
            parameter.raw_data = tensors.pop(parameter.name).astype("<f4").tobytes()
    for key, value in metadata.to_header().items():
        model.metadata_props.add(key=key, value=value)
    save(model, output)


def folded(tensors: Tensors, epsilon: float) -> Tensors:
    """The state dict with each batch norm in the convolution or Linear before it.

    Those have a bias then. A batch norm on a residual's sum has none before it and stays.
    """
    found = dict(tensors)
    for key in tensors:
        name, _, layer = key.rpartition(".batch_norm.")
        if layer != "running_var":
            continue
        weight_of = f"{name}.linear" if f"{name}.linear.weight" in tensors else f"{name}.conv"
        scale, offset, mean, variance = (
            tensors[f"{name}.batch_norm.{part}"].astype(np.float64) for part in STATISTICS
        )
        factor = scale / np.sqrt(variance + epsilon)
        weight = tensors[f"{weight_of}.weight"]
        by_filter = factor.reshape(-1, *[1] * (weight.ndim - 1))
        found[f"{weight_of}.weight"] = weight * by_filter.astype(np.float32)
        found[f"{weight_of}.bias"] = (offset - mean * factor).astype(np.float32)
    return found
