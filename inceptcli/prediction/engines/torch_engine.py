"""The engine that runs a network with torch, on one accelerator, or where gradients are wanted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TypeVar

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
from inceptcli.prediction.shortcuts import Precision
from inceptcli.processes.cores import compute_threads
from inceptcli.weights.file import load_network
from inceptcli.weights.metadata import WeightsMetadata

Result = TypeVar("Result")

DTYPES = {"32": torch.float32, "bf16": torch.bfloat16, "16": torch.float16}
"""What the first half of a precision's name says; the second is "true" or "mixed"."""


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
    ) -> TorchEngine:
        """The network of a weights file, on `device` as find_device reads it.

        Batch norm is folded into the convolutions. On CUDA it is a CudaEngine, which is given
        `at_once` crops at most. With `compile_network` torch.compile makes the first images take a
        minute or more and all others less.
        Raises UserError when the file cannot be used or this machine has no such device, UsageError
        when that has no use for the precision.
        """
        network, metadata = load_network(weights)
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
        """Crops (N, H, W, 3), RGB of 0 to 255, to logits (N, num_classes).

        Raises UserError when the pictures do not fit into the accelerator's memory, or when the
        network is to be compiled and cannot be.
        """
        return _array(self._computed(images, self._forward))

    def _computed(
        self, images: NDArray[np.uint8], compute: Callable[[Tensor], Result]
    ) -> list[Result]:
        """What `compute` makes of the parts of the images that are computed together, in order."""
        pixels = torch.from_numpy(images).to(self.device).permute(0, 3, 1, 2)
        # On a CPU the batch size changes the order of summation and, near 50 %, a probability by
        # more than 1e-5; one picture at a time is never affected.
        parts = torch.split(pixels, 1 if self.device.type == "cpu" else len(pixels))
        with self._explained(len(pixels)), _exact_convolutions():
            return list(map(compute, parts))

    @contextmanager
    def _explained(self, num_images: int) -> Iterator[None]:
        """Turns what torch raises for want of memory or of a compiler into a UserError."""
        try:
            yield
        except torch.OutOfMemoryError as error:
            raise UserError(
                f"{num_images} pictures at once do not fit into the memory of {self.device}; "
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
        """Pixel values (N, 3, H, W), uint8, to logits in the precision that is asked for."""
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
        """How many numbers `outputs` gives as a picture's embedding."""
        assert isinstance(self.network, Network)
        return self.network.num_features

    def outputs(self, images: NDArray[np.uint8]) -> Outputs:
        """The logits, and of the same pass the embeddings; see EmbeddingEngine."""
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
    """On an NVIDIA or AMD GPU, which computes while the next crops are cut and copied."""

    def __init__(
        self,
        network: nn.Module,
        metadata: WeightsMetadata,
        device: str,
        precision: Precision,
        at_once: int,
        compile_network: bool,
    ) -> None:
        """For at most `at_once` crops; see TorchEngine.load."""
        super().__init__(network, metadata, device, precision)
        compute = self._network_on
        if compile_network:  # as CUDA graphs, which are of one size
            compute = torch.compile(compute, mode="reduce-overhead", dynamic=False)
        self._compute, self._at_once = compute, at_once
        shape = (at_once, *self.preprocessing.image_size, 3)
        self._pipeline = CudaPipeline(self.on_device, self.device, shape, compile_network)

    def on_device(self, images: Tensor) -> Tensor:
        """Pixel values there, (N, 3, H, W), uint8, to logits (N, num_classes), begun."""
        with _exact_convolutions():
            return self._compute(images)

    def start(self, images: Sequence[NDArray[np.uint8]]) -> Pending:
        """The logits, begun; see AsynchronousEngine. Raises UserError as `logits`."""
        with self._explained(sum(map(len, images))):
            return self._pipeline.start(images)

    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """As TorchEngine has it."""
        starts = range(0, len(images), self._at_once)
        return np.concatenate([self.start([images[at : at + self._at_once]])() for at in starts])


def _exact_convolutions() -> AbstractContextManager[None]:
    """Convolutions of float32 as such, and the same from run to run.

    TF32, the default on newer GPUs, rounds to three decimal places.
    """
    flags: AbstractContextManager[None] = torch.backends.cudnn.flags(
        enabled=True, deterministic=True, allow_tf32=False
    )
    return flags


def _array(parts: Iterable[Tensor]) -> NDArray[np.float32]:
    found: NDArray[np.float32] = torch.cat(list(parts)).float().cpu().numpy()
    return found


def find_device(name: str) -> torch.device:
    """The device that `name` means: cpu, cuda, cuda:N, mps, or auto for the best that there is.

    Raises UserError when this machine does not have it.
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
    """How many there are of each kind; the best kind first."""
    return {
        "cuda": torch.cuda.device_count() if torch.cuda.is_available() else 0,
        "mps": int(torch.backends.mps.is_available()),
        "cpu": 1,
    }


def check_precision(precision: Precision, device: torch.device) -> None:
    """UsageError where the device has no use for it."""
    if precision.startswith("16") and device.type == "cpu":
        raise UsageError(
            f"--precision {precision}: a CPU computes slower in it; give bf16-mixed, or 32-true"
        )
