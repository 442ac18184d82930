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
from inceptcli.data.shapes import CLASSES, draw
from inceptcli.errors import UserError
from inceptcli.prediction.engine import Engine
from inceptcli.prediction.torch_engine import TorchEngine
from inceptcli.weights.file import load_network
from inceptcli.weights.metadata import WeightsMetadata

Target = Literal["timm", "onnx"]

LARGEST_DIFFERENCE = 1e-3
"""Of two logits, in standard deviations of all logits; what float32 rounding makes is 1e-5."""

MAXIMUM_PICTURES = 32
NOISE_PICTURES = 2


class Check(NamedTuple):
    """How an export did beside the network it came from.

    `difference` is the largest of two logits, `spread` the standard deviation of the network's
    logits over all pictures and classes.
    """

    num_pictures: int
    difference: float
    spread: float


def export(weights: Path, target: Target, output: Path, images: Sequence[Path] = ()) -> Check:
    """Write our weights file for `target`, then compare the logits of what was written.

    Pictures are the first 32 of `images` that can be read; without images, drawn shapes and noise.

    Raises UserError when the weights cannot be exported or the logits differ; remove `output` then.
    """
    network, metadata = load_network(weights)
    crops = _crops(images, metadata.preprocessing)
    expected = TorchEngine(network, metadata, "cpu").logits(crops)
    exported: Engine
    if target == "onnx":
        from inceptcli.prediction.export_onnx import export_onnx
        from inceptcli.prediction.onnx_engine import OnnxEngine

        export_onnx(network, metadata, output)
        exported = OnnxEngine(output, "cpu")
    else:
        exported = _export_to_timm(weights, output, metadata)
    spread = float(expected.std())
    difference = float(np.abs(exported.logits(crops) - expected).max())
    if not difference <= LARGEST_DIFFERENCE * spread:  # true of NaN, too
        raise UserError(
            f"{weights}: exported to {target} its logits differ by up to {difference:.2g} on "
            f"{len(crops)} pictures, more than {LARGEST_DIFFERENCE} of their standard deviation "
            f"{spread:.2g}; nothing was written"
        )
    return Check(len(crops), difference, spread)


def _crops(images: Sequence[Path], preprocessing: Preprocessing) -> NDArray[np.uint8]:
    if not images:
        size = preprocessing.image_size
        noise = np.random.default_rng(0).integers(256, size=(NOISE_PICTURES, *size, 3))
        shapes = [draw(0, index, size) for index in range(len(CLASSES))]
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


def _export_to_timm(weights: Path, output: Path, metadata: WeightsMetadata) -> Engine:
    import timm
    from safetensors.torch import load_file

    from inceptcli.weights.exporting import to_timm

    written = to_timm(weights, output)
    model = timm.create_model(written.model, num_classes=written.num_classes)
    model.load_state_dict(load_file(output))
    return TorchEngine(model, metadata, "cpu")
