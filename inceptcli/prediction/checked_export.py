"""Exports that are run beside the network, on the same pictures, before they are kept."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from inceptcli.data.decode import UnreadableImage, decode
from inceptcli.data.preprocessing import Preprocessing
from inceptcli.data.shapes import draw
from inceptcli.errors import UserError
from inceptcli.prediction.engine import EmbeddingEngine
from inceptcli.weights.file import WEIGHTS_NAME, load_network, read_metadata
from inceptcli.weights.metadata import WeightsMetadata

Target = Literal["timm", "onnx", "hub"]

LARGEST_DIFFERENCE = 1e-3
"""Of two logits, in standard deviations of all logits; what float32 rounding makes is 1e-5."""

MAXIMUM_PICTURES = 32
DRAWN_PICTURES, NOISE_PICTURES = 3, 1


class Check(NamedTuple):
    """How an export did beside the network it came from.

    `difference` is the largest of two logits, `spread` the standard deviation of the network's
    logits over all pictures and classes.
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
    """Write our weights file for `target`, then compare the logits of what was written.

    For `hub`, `output` is a folder for a repository, without its README.md. Of a network without a
    trained classifier the logits are embeddings. `opset` is ONNX's. Pictures are
    the first 32 of `images` that can be read; without images, drawn shapes and noise.

    Raises UserError when the weights cannot be exported or the logits differ; remove `output` then.
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
    if not difference <= LARGEST_DIFFERENCE * spread:  # true of NaN, too
        raise UserError(
            f"{weights}: exported to {target} its logits differ by up to {difference:.2g} on "
            f"{len(crops)} pictures, more than {LARGEST_DIFFERENCE} of their standard deviation "
            f"{spread:.2g}; nothing was written"
        )
    return Check(len(crops), difference, spread)


def _numbers(
    engine: EmbeddingEngine, metadata: WeightsMetadata, crops: NDArray[np.uint8]
) -> NDArray[np.float32]:
    """Logits, or the embeddings of a network without a trained classifier."""
    return engine.logits(crops) if metadata.has_classifier else engine.outputs(crops).embeddings


def _by_torch(
    weights: Path, metadata: WeightsMetadata, crops: NDArray[np.uint8]
) -> NDArray[np.float32]:
    from inceptcli.prediction.torch_engine import TorchEngine

    return _numbers(TorchEngine(load_network(weights)[0], metadata, "cpu"), metadata, crops)


def _through_onnx(
    weights: Path,
    output: Path,
    opset: int | None,
    metadata: WeightsMetadata,
    crops: NDArray[np.uint8],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Of the file written, and of the weights that it was made from."""
    try:
        from inceptcli.networks.onnx_graph import OPSET
        from inceptcli.prediction.export_onnx import export_onnx
        from inceptcli.prediction.onnx_engine import OnnxEngine

        export_onnx(weights, output, opset or OPSET)
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
        noise = np.random.default_rng(0).integers(256, size=(NOISE_PICTURES, *size, 3))
        shapes = [draw(0, index, size) for index in range(DRAWN_PICTURES)]
        return np.concatenate([np.stack(shapes), noise.astype(np.uint8)])
    crops = []
    for path in images:
        with suppress(UnreadableImage):
            crops.append(preprocessing.crop(decode(path)))
        if len(crops) == MAXIMUM_PICTURES:
            break
    if not crops:
        raise UserError(f"{images[0].parent}: none of its {len(images)} images can be read")
    return np.stack(crops)


def _through_timm(
    weights: Path, output: Path, metadata: WeightsMetadata, crops: NDArray[np.uint8]
) -> NDArray[np.float32]:
    import timm
    from safetensors.torch import load_file

    from inceptcli.prediction.torch_engine import TorchEngine
    from inceptcli.weights.exporting import to_timm

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

    from inceptcli.prediction.torch_engine import TorchEngine

    model = timm.create_model(f"local-dir:{folder}", pretrained=True)
    return TorchEngine(model, metadata, "cpu").logits(crops)
