"""The boundary between pictures and whatever computes their logits; imports no torch."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from inceptcli.data.pixels.preprocessing import Preprocessing
from inceptcli.errors import UsageError, UserError
from inceptcli.prediction.engines.devices import is_cpu
from inceptcli.prediction.shortcuts import Precision
from inceptcli.weights.metadata import ClassName
from inceptcli.weights.onnx_file import is_onnx

logger = logging.getLogger(__name__)

FEW_IMAGES = 4
"""To rewrite the graph takes what it saves for 13 images of irv2-tf at 299, but moves the last
digits: with 4 nearly all jobs have the same ones."""


class Engine(Protocol):
    """A network with its classes and the preprocessing that it was trained for."""

    @property
    def classes(self) -> Sequence[ClassName]:
        """What each logit stands for, in order."""

    @property
    def preprocessing(self) -> Preprocessing:
        """How a decoded picture is cut before it is given to `logits`."""

    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Crops (N, H, W, 3), RGB of 0 to 255, N at least 1, to logits (N, num_classes).

        A picture's logits do not depend on the others; how many are given at once changes them by
        no more than float32 rounding.
        """


Pending = Callable[[], NDArray[np.float32]]
"""Waits for logits (N, num_classes) that are being computed."""


@runtime_checkable
class AsynchronousEngine(Engine, Protocol):
    """An engine whose device computes while this process goes on."""

    def start(self, images: Sequence[NDArray[np.uint8]]) -> Pending:
        """Crops (N, H, W, 3) of each of some pictures; `logits` of all of them, begun.

        Two may be begun and not waited for.
        """


class Outputs(NamedTuple):
    """Logits (N, num_classes), and the embeddings (N, num_features) of the same pass."""

    logits: NDArray[np.float32]
    embeddings: NDArray[np.float32]


class EmbeddingEngine(Engine, Protocol):
    """An engine that also hands out what its classifier reads."""

    @property
    def embedding_width(self) -> int:
        """How many numbers `outputs` gives as a picture's embedding."""

    def outputs(self, images: NDArray[np.uint8]) -> Outputs:
        """As `logits`; embeddings are the classifier's input, irv1-facenet's of length 1."""


def load_engine(
    weights: Path,
    device: str = "auto",
    *,
    batch_size: int = 1,
    images: int | None = None,
    compile_network: bool = False,
    precision: Precision = "32-true",
    gradients: bool = False,
) -> Engine:
    """The engine for a weights file: ONNX Runtime on a CPU and for an ONNX file, else torch.

    It is made for `images` in all, None where that is not known, of which it is mostly given
    `batch_size` at once. On a CPU it is ready sooner for FEW_IMAGES and takes longer for each.
    With `compile_network` it is ready later and takes less. With `gradients` torch computes, and on
    a CPU in another `precision`, too.

    Raises UserError when the file cannot be used or this machine has no such device, UsageError
    when an ONNX file is to be compiled or computed in another `precision`, or the device has no use
    for that.
    """
    if is_onnx(weights):
        if compile_network:
            raise UsageError(
                f"--compile: {weights} is an ONNX file, which ONNX Runtime makes fast by itself; "
                "give it without --compile"
            )
        if precision != "32-true":
            raise UsageError(
                f"--precision {precision}: {weights} is an ONNX file, which computes in 32-true; "
                "give the weights that it was exported from"
            )
    on_cpu = not is_onnx(weights) and is_cpu(device)
    if on_cpu and compile_network:
        raise UsageError(
            "--compile is for a GPU; on a CPU ONNX Runtime computes, which has its own kernels; "
            "leave it out"
        )
    at_once = batch_size if images is None else min(batch_size, images)
    if is_onnx(weights) or (on_cpu and precision == "32-true" and not gradients):
        few = images is not None and images <= FEW_IMAGES
        try:
            from inceptcli.prediction.engines.onnx_engine import OnnxEngine

            return OnnxEngine(weights, device, few_images=few, at_once=at_once)
        except ImportError as error:
            if is_onnx(weights):
                raise UserError(f"{weights}: an ONNX file needs ONNX Runtime: {error}") from error
            tell_of_torch(str(error))
    from inceptcli.prediction.engines.torch_engine import TorchEngine

    return TorchEngine.load(
        weights, device, at_once=at_once, compile_network=compile_network, precision=precision
    )


@cache
def tell_of_torch(reason: str) -> None:
    """Say once why torch computes on a CPU."""
    logger.warning(f"ONNX Runtime cannot be imported ({reason}); torch computes, and takes longer")
