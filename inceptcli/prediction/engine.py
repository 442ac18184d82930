"""The boundary between pictures and whatever computes their logits; imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from inceptcli.data.preprocessing import Preprocessing
from inceptcli.errors import UsageError
from inceptcli.prediction.shortcuts import Precision
from inceptcli.weights.metadata import ClassName
from inceptcli.weights.onnx_file import is_onnx

FEW_IMAGES = 4
"""What prepares a network to be faster takes as long as it saves for five of irv2-tf at 299."""


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


BATCH_SIZE, CUDA_BATCH_SIZE = 16, 256


def default_batch_size(weights: Iterable[Path], device: str, crops: int) -> int:
    """How many crops at once: BATCH_SIZE, on a CUDA device the whole pictures about its own.

    A large batch keeps a GPU busy, and a CPU computes crop by crop. UserError as `load_engine`.
    """
    if all(map(is_onnx, weights)):
        return BATCH_SIZE
    from inceptcli.prediction.torch_engine import find_device

    if find_device(device).type != "cuda":
        return BATCH_SIZE
    return round(CUDA_BATCH_SIZE / crops) * crops


def devices_of(weights: Iterable[Path], device: str, devices: int | Literal["auto"]) -> list[str]:
    """The names of so many devices of a kind, from the first on; auto means all that there are.

    Raises UsageError when there are not so many, or one is named by its number, or an ONNX file is
    among the weights.
    """
    if devices == 1 or (devices == "auto" and any(map(is_onnx, weights))):
        return [device]
    if onnx := next(filter(is_onnx, weights), None):
        raise UsageError(f"--devices {devices}: {onnx} is an ONNX file, which one device computes")
    from inceptcli.prediction.torch_engine import available_devices, find_device

    found = find_device(device)
    there = available_devices()[found.type] if found.index is None else 1
    wanted = there if devices == "auto" else devices
    if wanted > there:
        raise UsageError(
            f"--devices {devices}: --device {device} is {there} here; --devices auto takes all"
        )
    return [device] if wanted == 1 else [f"{found.type}:{number}" for number in range(wanted)]


def load_engine(
    weights: Path,
    device: str = "auto",
    *,
    batch_size: int = 1,
    images: int | None = None,
    compile_network: bool = False,
    precision: Precision = "32-true",
) -> Engine:
    """The engine for a weights file: ONNX Runtime for an ONNX file, torch for any other.

    It is made for `images` in all, None where that is not known, of which it is mostly given
    `batch_size` at once. For FEW_IMAGES it is ready sooner and may take longer for each; with
    `compile_network` it is ready later and takes less.

    Raises UserError when the file cannot be used or this machine has no such device, UsageError
    when an ONNX file is to be compiled or computed in another `precision`, or the device has no use
    for that.
    """
    few = images is not None and images <= FEW_IMAGES
    at_once = batch_size if images is None else min(batch_size, images)
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
        from inceptcli.prediction.onnx_engine import OnnxEngine

        return OnnxEngine(weights, device, few_images=few, at_once=at_once)
    from inceptcli.prediction.torch_engine import TorchEngine

    return TorchEngine.load(
        weights,
        device,
        few_images=few,
        at_once=at_once,
        compile_network=compile_network,
        precision=precision,
    )
