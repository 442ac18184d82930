"""Export weights and compare the exported network with the original on the same images."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from inceptcli.data.pixels.decode import UnreadableImage, decode
from inceptcli.data.pixels.preprocessing import Preprocessing
from inceptcli.data.pixels.shapes import draw
from inceptcli.errors import UserError
from inceptcli.networks.registry import describe
from inceptcli.networks.state_dict import STATISTICS
from inceptcli.prediction.engines.engine import EmbeddingEngine
from inceptcli.weights.calibration import Calibration
from inceptcli.weights.file import WEIGHTS_NAME, load_network, read_metadata
from inceptcli.weights.metadata import WeightsMetadata
from inceptcli.weights.stored_tensors import stored_tensors

if TYPE_CHECKING:
    from onnx import ModelProto

Target = Literal["timm", "onnx", "hub"]

LARGEST_DIFFERENCE = 1e-3
"""Largest accepted difference of two logits, in standard deviations of all logits.

Float32 rounding causes 1e-5.
"""

MAXIMUM_IMAGES = 32
DRAWN_IMAGES, NOISE_IMAGES = 3, 1


class Check(NamedTuple):
    """Comparison of an export with the network that it came from.

    `difference` is the largest difference of two logits, `spread` the standard deviation of the
    network's logits over all images and classes.
    """

    num_pictures: int
    difference: float
    spread: float


def export(
    weights: Path,
    target: Target,
    output: Path,
    images: Sequence[Path] = (),
    opset: int | None = None,
) -> Check:
    """Write a weights file for `target`, then compare the logits of the exported network.

    For networks without a trained classifier, embeddings are compared. For `hub`, `output` is a
    folder for a repository, without its README.md. `opset` is ONNX's. The comparison uses the first
    32 readable files of `images`; without images, drawn shapes and noise.

    Raises UserError if the weights cannot be exported or the logits differ; then remove `output`.
    """
    metadata = read_metadata(weights)
    crops = _crops(images, metadata.preprocessing)
    if target == "onnx":
        exported, expected = _through_onnx(weights, output, opset, metadata, crops)
    else:
        through = _through_hub if target == "hub" else _through_timm
        exported = through(weights, output, metadata, crops)
        expected = _by_torch(weights, metadata, crops)
    spread = float(expected.std())
    difference = float(np.abs(exported - expected).max())
    if not difference <= LARGEST_DIFFERENCE * spread:  # also true for NaN
        raise UserError(
            f"{weights}: exported to {target}, its logits differ by up to {difference:.2g} on "
            f"{len(crops)} images, more than {LARGEST_DIFFERENCE} of their standard deviation "
            f"{spread:.2g}; nothing was written"
        )
    return Check(len(crops), difference, spread)


def _numbers(
    engine: EmbeddingEngine, metadata: WeightsMetadata, crops: NDArray[np.uint8]
) -> NDArray[np.float32]:
    """Return logits, or embeddings if the network has no trained classifier."""
    return engine.logits(crops) if metadata.has_classifier else engine.outputs(crops).embeddings


def _by_torch(
    weights: Path, metadata: WeightsMetadata, crops: NDArray[np.uint8]
) -> NDArray[np.float32]:
    from inceptcli.prediction.engines.torch_engine import TorchEngine

    return _numbers(TorchEngine(load_network(weights)[0], metadata, "cpu"), metadata, crops)


def _through_onnx(
    weights: Path,
    output: Path,
    opset: int | None,
    metadata: WeightsMetadata,
    crops: NDArray[np.uint8],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the outputs of the file written, and of the weights that it was made from."""
    try:
        from inceptcli.prediction.engines.onnx_engine import OnnxEngine

        export_onnx(weights, output, opset)
        exported, expected = (
            _numbers(OnnxEngine(file, "cpu", few_images=True), metadata, crops)
            for file in (output, weights)
        )
    except ImportError as error:
        raise UserError(f"--to onnx needs onnx and ONNX Runtime: {error}") from error
    return exported, expected


def _crops(images: Sequence[Path], preprocessing: Preprocessing) -> NDArray[np.uint8]:
    if not images:
        size = preprocessing.image_size
        noise = np.random.default_rng(0).integers(256, size=(NOISE_IMAGES, *size, 3))
        shapes = [draw(0, index, size) for index in range(DRAWN_IMAGES)]
        return np.concatenate([np.stack(shapes), noise.astype(np.uint8)])
    crops = []
    for path in images:
        with suppress(UnreadableImage):
            crops.append(preprocessing.crop(decode(path)))
        if len(crops) == MAXIMUM_IMAGES:
            break
    if not crops:
        raise UserError(f"{images[0].parent}: none of its {len(images)} images can be read")
    return np.stack(crops)


def _through_timm(
    weights: Path, output: Path, metadata: WeightsMetadata, crops: NDArray[np.uint8]
) -> NDArray[np.float32]:
    import timm
    from safetensors.torch import load_file

    from inceptcli.prediction.engines.torch_engine import TorchEngine
    from inceptcli.weights.timm_export import to_timm

    written = to_timm(weights, output)
    model = timm.create_model(written.model, num_classes=written.num_classes)
    model.load_state_dict(load_file(output))
    return TorchEngine(model, metadata, "cpu").logits(crops)


def _through_hub(
    weights: Path, folder: Path, metadata: WeightsMetadata, crops: NDArray[np.uint8]
) -> NDArray[np.float32]:
    from inceptcli.weights.hub_folder import write_for_hub

    if write_for_hub(weights, folder) is None:
        return _by_torch(folder / WEIGHTS_NAME, metadata, crops)
    import timm

    from inceptcli.prediction.engines.torch_engine import TorchEngine

    model = timm.create_model(f"local-dir:{folder}", pretrained=True)
    return TorchEngine(model, metadata, "cpu").logits(crops)


Tensors = dict[str, NDArray[np.float32]]


def export_onnx(weights: Path, output: Path, opset: int | None = None) -> None:
    """Write a weights file as ONNX; see `exported_graph`.

    Raises UserError if the file cannot be used, ImportError without onnx.
    """
    from onnx import save

    metadata = read_metadata(weights)
    kept = replace(metadata, calibration=calibration_for_onnx(metadata))
    save(exported_graph(weights, kept, opset), output)


def calibration_for_onnx(metadata: WeightsMetadata) -> Calibration | None:
    """Return the calibration, or None if an ONNX file cannot compute as it was made.

    An ONNX file has its own image size and precision.
    """
    found = metadata.calibration
    return None if found and found.options.keys() & {"image_size", "precision"} else found


def exported_graph(
    weights: Path, metadata: WeightsMetadata, opset: int | None = None
) -> ModelProto:
    """Return a weights file as ONNX, batch norm folded and tensors inside; see `onnx_graph`.

    The model's metadata has `metadata`, under the same key as the header of a weights file.
    Raises UserError if the file cannot be used, ImportError without onnx.
    """
    from onnx import TensorProto

    from inceptcli.networks.onnx_graph import OPSET, onnx_graph

    view, options = metadata.preprocessing, metadata.network
    stored = stored_tensors(weights, options)
    tensors = folded(
        {key: tensor.read(weights) for key, tensor in stored.items()}, options.batch_norm_eps
    )
    model = onnx_graph(
        describe(options),
        view.image_size,
        view.mean,
        view.std,
        has_classifier=metadata.has_classifier,
        folded=True,
        opset=opset or OPSET,
    )
    for parameter in model.graph.initializer:
        if parameter.data_location == TensorProto.EXTERNAL:
            parameter.ClearField("data_location")
            del parameter.external_data[:]
            parameter.raw_data = tensors.pop(parameter.name).astype("<f4").tobytes()
    for key, value in metadata.to_header().items():
        model.metadata_props.add(key=key, value=value)
    return model


def folded(tensors: Tensors, epsilon: float) -> Tensors:
    """Return the state dict with each batch norm folded into the convolution or Linear before it.

    These layers gain a bias. A batch norm on a residual sum has no such layer and stays.
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
