"""The engine that runs networks with torch: on an accelerator, or if gradients are needed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from inceptcli.data.pixels.normalization import normalize
from inceptcli.errors import UsageError, UserError
from inceptcli.networks.compiling import compilation_failure
from inceptcli.networks.folding import fold_batch_norm
from inceptcli.networks.network import Network
from inceptcli.prediction.engines.cuda_pipeline import CudaPipeline
from inceptcli.prediction.engines.engine import Outputs, Pending
from inceptcli.prediction.recorded_options import Precision
from inceptcli.processes.cores import compute_threads
from inceptcli.weights.file import load_network
from inceptcli.weights.metadata import UNCHANGED, WeightsMetadata

Result = TypeVar("Result")

DTYPES = {"32": torch.float32, "bf16": torch.bfloat16, "16": torch.float16}
"""Data type by the first half of a precision's name; the second is "true" or "mixed"."""


_STARTING = threading.RLock()
"""Held while work is queued for a GPU: a pipeline's buffers and cuDNN's flags are shared."""


class TorchEngine:
    """A network in evaluation mode, channels last; see Engine."""

    def __init__(
        self,
        network: nn.Module,
        metadata: WeightsMetadata,
        device: str = "auto",
        precision: Precision = "32-true",
    ) -> None:
        self.classes, self.preprocessing = metadata.classes, metadata.preprocessing
        self.calibration = metadata.calibration
        self.output_kind, self.thresholds = metadata.outputs, metadata.thresholds
        self.device = find_device(device)
        check_precision(precision, self.device)
        bits, kind = precision.split("-")
        self._dtype, self._is_mixed = DTYPES[bits], kind == "mixed"
        network = network.eval().to(self.device, None if self._is_mixed else self._dtype)
        self.network = network.to(memory_format=torch.channels_last)

    @staticmethod
    def load(
        weights: Path,
        device: str = "auto",
        *,
        at_once: int = 1,
        compile_network: bool = False,
        precision: Precision = "32-true",
        preprocessing: Mapping[str, Any] = UNCHANGED,
    ) -> TorchEngine:
        """Load the network of a weights file on `device`; see find_device.

        Batch norm is folded into the convolutions. On CUDA, the result is a CudaEngine for at most
        `at_once` crops. With `compile_network`, torch.compile makes the first images take a minute
        or more and all others less. See load_engine for `preprocessing`.
        Raises UserError if the file cannot be used or the device is missing, UsageError if the
        device does not support the precision.
        """
        network, metadata = load_network(weights)
        metadata = metadata.with_preprocessing(preprocessing)
        torch.set_num_threads(compute_threads())
        found = find_device(device)
        network = network.to(found)
        fold_batch_norm(network)
        if found.type == "cuda":
            return CudaEngine(network, metadata, device, precision, at_once, compile_network)
        if compile_network:
            network.compile()
        return TorchEngine(network, metadata, device, precision)

    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Compute logits (N, num_classes) of crops (N, H, W, 3), RGB of 0 to 255.

        Raises UserError if the crops do not fit into the accelerator's memory, or if the network
        cannot be compiled.
        """
        return _array(self._computed(images, self._forward))

    def _computed(
        self, images: NDArray[np.uint8], compute: Callable[[Tensor], Result]
    ) -> list[Result]:
        """Apply `compute` to each part of the images that is computed together, in order."""
        pixels = torch.from_numpy(images).to(self.device).permute(0, 3, 1, 2)
        # On a CPU the batch size changes the order of summation and, near 50 %, a probability by
        # more than 1e-5; one image at a time is never affected.
        parts = torch.split(pixels, 1 if self.device.type == "cpu" else len(pixels))
        with self._explained(len(pixels)), _exact_convolutions(self.device):
            return list(map(compute, parts))

    @contextmanager
    def _explained(self, num_images: int) -> Iterator[None]:
        """Convert torch's errors for lack of memory or of a compiler to UserError."""
        try:
            yield
        except torch.OutOfMemoryError as error:
            raise UserError(
                f"{num_images} crops at once do not fit into the memory of {self.device}; "
                "give a smaller --batch-size"
            ) from error
        except RuntimeError as error:
            failure = compilation_failure(error)
            if failure is None:
                raise
            raise UserError(failure) from error

    @torch.inference_mode()
    def _forward(self, images: Tensor) -> Tensor:
        return self._network_on(images)

    def _network_on(self, images: Tensor) -> Tensor:
        """Compute logits of pixels (N, 3, H, W), uint8, in the requested precision."""
        pixels = self._normalized(images)
        with self._mixed():
            logits: Tensor = self.network(pixels)
        return logits

    def _normalized(self, images: Tensor) -> Tensor:
        pixels = normalize(images, self.preprocessing.mean, self.preprocessing.std)
        return pixels if self._is_mixed else pixels.to(self._dtype)

    def _mixed(self) -> AbstractContextManager[object]:
        return torch.autocast(self.device.type, self._dtype) if self._is_mixed else nullcontext()

    @property
    def embedding_width(self) -> int:
        """Length of an embedding."""
        assert isinstance(self.network, Network)
        return self.network.num_features

    def outputs(self, images: NDArray[np.uint8]) -> Outputs:
        """Compute logits and embeddings in one pass; see EmbeddingEngine."""
        network = self.network
        assert isinstance(network, Network)

        @torch.inference_mode()
        def compute(part: Tensor) -> tuple[Tensor, Tensor]:
            pixels = self._normalized(part)
            with self._mixed():
                read = network.read(network.forward_features(pixels))
                return network.classifier(read), network.embedding_of(read)

        logits, embeddings = zip(*self._computed(images, compute), strict=True)
        return Outputs(_array(logits), _array(embeddings))


class CudaEngine(TorchEngine):
    """The engine for NVIDIA and AMD GPUs; computes while the next crops are cut and copied."""

    def __init__(
        self,
        network: nn.Module,
        metadata: WeightsMetadata,
        device: str,
        precision: Precision,
        at_once: int,
        compile_network: bool,
    ) -> None:
        """Prepare for at most `at_once` crops; see TorchEngine.load."""
        super().__init__(network, metadata, device, precision)
        compute = self._network_on
        if compile_network:  # as CUDA graphs, which have a fixed size
            compute = torch.compile(compute, mode="reduce-overhead", dynamic=False)
        self._compute, self._at_once = compute, at_once
        shape = (at_once, *self.preprocessing.image_size, 3)
        self._pipeline = CudaPipeline(self.on_device, self.device, shape, compile_network)

    def on_device(self, images: Tensor) -> Tensor:
        """Start computing logits (N, num_classes) of pixels on the device, (N, 3, H, W), uint8."""
        with _exact_convolutions(self.device):
            return self._compute(images)

    def start(self, images: Sequence[NDArray[np.uint8]]) -> Pending:
        """Start computing logits; see AsynchronousEngine. Raises UserError as `logits`."""
        with self._explained(sum(map(len, images))), _STARTING:
            return self._pipeline.start(images)

    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Compute as TorchEngine does."""
        starts = range(0, len(images), self._at_once)
        return np.concatenate([self.start([images[at : at + self._at_once]])() for at in starts])


@contextmanager
def _exact_convolutions(device: torch.device) -> Iterator[None]:
    """Compute float32 convolutions on a GPU in full precision and deterministically.

    TF32, the default on newer GPUs, rounds to three decimal places.
    """
    if device.type == "cpu":
        yield
        return
    flags = torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False)
    with _STARTING, flags:
        yield


def _array(parts: Iterable[Tensor]) -> NDArray[np.float32]:
    found: NDArray[np.float32] = torch.cat(list(parts)).float().cpu().numpy()
    return found


def find_device(name: str) -> torch.device:
    """Return the device that `name` means: cpu, cuda, cuda:N, mps, or auto for the best one.

    Raises UserError if this machine does not have it.
    """
    available = available_devices()
    if name == "auto":
        return torch.device(next(kind for kind, count in available.items() if count))
    device = torch.device(name)
    if (device.index or 0) >= available[device.type]:
        usable = ", ".join(kind for kind, count in available.items() if count)
        raise UserError(f"--device {name}: this machine has no such device; usable: {usable}")
    return device


def available_devices() -> dict[str, int]:
    """Return the number of devices of each kind, the best kind first."""
    return {
        "cuda": torch.cuda.device_count() if torch.cuda.is_available() else 0,
        "mps": int(torch.backends.mps.is_available()),
        "cpu": 1,
    }


def check_precision(precision: Precision, device: torch.device) -> None:
    """Raise UsageError if the device does not support the precision."""
    if precision.startswith("16") and device.type == "cpu":
        raise UsageError(f"--precision {precision}: slower on a CPU; give bf16-mixed or 32-true")
