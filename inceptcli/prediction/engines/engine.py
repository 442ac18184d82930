"""The interface of engines, which compute logits from crops; imports no torch."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from inceptcli.data.pixels.preprocessing import Preprocessing
from inceptcli.errors import UsageError, UserError
from inceptcli.prediction.engines.devices import is_cpu
from inceptcli.prediction.recorded_options import Precision
from inceptcli.weights.calibration import Calibration
from inceptcli.weights.metadata import UNCHANGED, ClassName, OutputKind
from inceptcli.weights.onnx_file import is_onnx

logger = logging.getLogger(__name__)

FEW_IMAGES = 4
"""Up to this many images, ONNX Runtime does not optimize the graph.

Optimizing takes as long as it saves for 13 images of irv2-tf at 299, but changes the last digits.
With a limit of 4, nearly all jobs get the same digits.
"""


class Engine(Protocol):
    """A network with its classes and preprocessing."""

    @property
    def classes(self) -> Sequence[ClassName]:
        """The class of each logit, in order."""

    @property
    def preprocessing(self) -> Preprocessing:
        """Preprocessing that makes crops for `logits` from a decoded image."""

    @property
    def calibration(self) -> Calibration | None:
        """Calibration of the weights, if any; logits are without it."""

    @property
    def output_kind(self) -> OutputKind:
        """Function that makes probabilities of the logits."""

    @property
    def thresholds(self) -> Sequence[float] | None:
        """Thresholds of multi-label weights, in the order of the classes; else None."""

    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Compute logits (N, num_classes) of crops (N, H, W, 3), RGB of 0 to 255, N at least 1.

        An image's logits do not depend on other images. The batch size changes them by no more than
        float32 rounding.
        """


Pending = Callable[[], NDArray[np.float32]]
"""Wait for logits (N, num_classes) that are being computed."""


@runtime_checkable
class AsynchronousEngine(Engine, Protocol):
    """An engine whose device computes while this process continues."""

    def start(self, images: Sequence[NDArray[np.uint8]]) -> Pending:
        """Start computing `logits` of all crops; `images` has the crops (N, H, W, 3) of each image.

        At most two batches may be pending.
        """


class Outputs(NamedTuple):
    """Logits (N, num_classes) and embeddings (N, num_features) from the same pass."""

    logits: NDArray[np.float32]
    embeddings: NDArray[np.float32]


class EmbeddingEngine(Engine, Protocol):
    """An engine that also returns embeddings."""

    @property
    def embedding_width(self) -> int:
        """Length of an embedding."""

    def outputs(self, images: NDArray[np.uint8]) -> Outputs:
        """Compute logits and embeddings, the classifier's input; irv1-facenet's have length 1."""


def load_engine(
    weights: Path,
    device: str = "auto",
    *,
    batch_size: int = 1,
    images: int | None = None,
    compile_network: bool = False,
    precision: Precision = "32-true",
    gradients: bool = False,
    preprocessing: Mapping[str, Any] = UNCHANGED,
) -> Engine:
    """Load a weights file: ONNX Runtime on a CPU and for ONNX files, otherwise torch.

    Args:
        weights: Weights file or ONNX file.
        device: auto, cpu, cuda, cuda:N or mps.
        batch_size: Usual number of crops per call.
        images: Number of crops in all, None if unknown. On a CPU, up to FEW_IMAGES start sooner and
            take longer each.
        compile_network: Start later and take less time per image.
        precision: Lightning's name; only 32-true for ONNX Runtime.
        gradients: Use torch even on a CPU.
        preprocessing: Fields of Preprocessing that replace those of the weights; the image size of
            an ONNX file cannot change.

    Raises UserError if the file cannot be used or the device is missing, UsageError if an ONNX file
    is to be compiled or computed in another `precision`, or if the device does not support the
    options.
    """
    if is_onnx(weights):
        if compile_network:
            raise UsageError(
                f"--compile: {weights} is an ONNX file, which ONNX Runtime optimizes itself; leave "
                "out --compile"
            )
        if precision != "32-true":
            raise UsageError(
                f"--precision {precision}: {weights} is an ONNX file, which supports 32-true only; "
                "give the weights that it was exported from"
            )
    on_cpu = not is_onnx(weights) and is_cpu(device)
    if on_cpu and compile_network:
        raise UsageError(
            "--compile needs a GPU; on a CPU, ONNX Runtime optimizes the network itself; leave out "
            "--compile"
        )
    at_once = batch_size if images is None else min(batch_size, images)
    if is_onnx(weights) or (on_cpu and precision == "32-true" and not gradients):
        few = images is not None and images <= FEW_IMAGES
        try:
            from inceptcli.prediction.engines.onnx_engine import OnnxEngine

            return OnnxEngine(
                weights, device, few_images=few, at_once=at_once, preprocessing=preprocessing
            )
        except ImportError as error:
            if is_onnx(weights):
                raise UserError(f"{weights}: an ONNX file needs ONNX Runtime: {error}") from error
            tell_of_torch(str(error))
    from inceptcli.prediction.engines.torch_engine import TorchEngine

    return TorchEngine.load(
        weights,
        device,
        at_once=at_once,
        compile_network=compile_network,
        precision=precision,
        preprocessing=preprocessing,
    )


@cache
def tell_of_torch(reason: str) -> None:
    """Warn once that torch is used on a CPU, with the reason."""
    logger.warning(f"ONNX Runtime cannot be imported ({reason}); using torch, which is slower")
