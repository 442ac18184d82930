"""The engine that runs networks on ONNX Runtime, the default on CPUs; imports no torch."""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inceptcli.errors import UserError
from inceptcli.prediction.engines.engine import Outputs
from inceptcli.prediction.engines.onnx_session import open_session, runtime_error
from inceptcli.processes.cores import divide_threads
from inceptcli.weights.metadata import UNCHANGED

ERRORS_ONLY, NOTHING = 3, 4
"""Log levels of ONNX Runtime; its warnings concern its own optimizations.

Errors of a network are raised as exceptions, too; the log adds colors and source locations.
"""


def quiet_onnxruntime() -> Any:
    """Import ONNX Runtime without telemetry and warnings; raise ImportError if it is missing."""
    # Its wheels would contact Microsoft and leave files in the home or temporary folder.
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime

    onnxruntime.disable_telemetry_events()
    onnxruntime.set_default_logger_severity(ERRORS_ONLY)
    return onnxruntime


class OnnxEngine:
    """A weights file or exported ONNX file; see EmbeddingEngine."""

    def __init__(
        self,
        weights: Path,
        device: str = "auto",
        *,
        few_images: bool = False,
        at_once: int = 1,
        preprocessing: Mapping[str, Any] = UNCHANGED,
    ) -> None:
        """Load the network; with `few_images` it starts sooner and runs slower.

        On a CPU, threads are divided among `at_once` images. See load_engine for `preprocessing`.
        Raises UserError if the file cannot be used, exceeds the limits of our networks, or ONNX
        Runtime has no such device; ImportError if ONNX Runtime is not installed.
        """
        onnxruntime = quiet_onnxruntime()
        images, threads = divide_threads(at_once)
        self.provider = find_provider(device, onnxruntime.get_available_providers())
        metadata, self.session, self._file = open_session(
            weights, self.provider, partial(session_options, threads, few_images), preprocessing
        )
        if self.session.get_providers()[0] != self.provider[0]:
            raise UserError(f"--device {device}: ONNX Runtime cannot use it; see the log above")
        self.classes, self.preprocessing = metadata.classes, metadata.preprocessing
        self.calibration = metadata.calibration
        self.output_kind, self.thresholds = metadata.outputs, metadata.thresholds
        self._weights, self._has_classifier = weights, metadata.has_classifier
        self._quietly = onnxruntime.RunOptions()
        self._quietly.log_severity_level = NOTHING
        self._widths = self._find_widths()
        self._on_cpu = self.provider[0] == "CPUExecutionProvider"
        self._pool = ThreadPoolExecutor(images) if self._on_cpu and images > 1 else None

    def _find_widths(self) -> dict[str, int]:
        """Return the width of each output that is read."""
        shapes = {output.name: output.shape for output in self.session.get_outputs()}
        name = "logits" if self._has_classifier else "features"
        if name not in shapes:
            raise UserError(f"{self._weights}: has no output {name}; export it from its weights")
        widths = {"logits": len(self.classes)} if self._has_classifier else {}
        features = shapes.get("features") or [None]
        return widths | ({"features": features[-1]} if isinstance(features[-1], int) else {})

    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Compute logits (N, num_classes) of crops (N, H, W, 3), RGB of 0 to 255."""
        (logits,) = self._computed(images, ["logits"])
        return logits

    @property
    def embedding_width(self) -> int:
        """Length of an embedding.

        Raises UserError if the network has no output of fixed width.
        """
        if "features" not in self._widths:
            raise UserError(f"{self._weights}: has no features; export it from its weights")
        return self._widths["features"]

    def outputs(self, images: NDArray[np.uint8]) -> Outputs:
        """Compute both; without a classifier logits are 0, or NaN for damaged networks."""
        if self._has_classifier:
            return Outputs(*self._computed(images, ["logits", "features"]))
        (features,) = self._computed(images, ["features"])
        damaged = np.where(np.isfinite(features).all(axis=1, keepdims=True), 0, np.nan)
        return Outputs(damaged.repeat(len(self.classes), axis=1).astype(np.float32), features)

    def _computed(self, images: NDArray[np.uint8], names: list[str]) -> list[NDArray[np.float32]]:
        # One by one takes no longer on a CPU, needs less memory and never depends on the batch.
        parts = np.split(images, len(images)) if self._on_cpu else [images]
        found = (self._pool.map if self._pool else map)(lambda part: self._run(part, names), parts)
        outputs = [np.concatenate(output) for output in zip(*found, strict=True)]
        self._file.check()
        return outputs

    def _run(self, images: NDArray[np.uint8], names: list[str]) -> list[NDArray[np.float32]]:
        try:
            found: list[Any] = self.session.run(names, {"images": images}, self._quietly)
        except Exception as error:  # its exceptions have no common base class
            raise runtime_error(error, f"{self._weights}: ONNX Runtime cannot run it") from error
        for name, output in zip(names, found, strict=True):
            expected = len(images), self._widths[name]
            shape, dtype = getattr(output, "shape", None), getattr(output, "dtype", None)
            if shape != expected or dtype != np.float32:
                raise UserError(
                    f"{self._weights}: its {name} must be float32 of {expected}, got {dtype} of "
                    f"{shape}"
                )
        return found


def session_options(threads: int, few_images: bool = False, is_quantized: bool = False) -> Any:
    """Return ONNX Runtime's options; with `few_images` a float32 graph is not optimized.

    An int8 graph would be computed in float32 without optimization, which takes longer.
    """
    from onnxruntime import GraphOptimizationLevel, SessionOptions

    options = SessionOptions()
    options.log_severity_level = NOTHING
    options.intra_op_num_threads = threads
    if few_images and not is_quantized:  # optimizing the graph would delay them
        options.graph_optimization_level = GraphOptimizationLevel.ORT_DISABLE_ALL
    # Its threads spin between operators; after the last one they would take processors from
    # the threads that decode.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    # Without VNNI, the fast int8 kernels overflow; where there is VNNI, this changes nothing.
    options.add_session_config_entry("session.x64quantprecision", "1")
    return options


def find_provider(device: str, available: list[str]) -> tuple[str, dict[str, Any]]:
    """Return ONNX Runtime's name and options for `device`: cpu, cuda or cuda:N; auto is cpu.

    Raises UserError if the installed ONNX Runtime does not support it.
    """
    kind, _, number = device.partition(":")
    if kind in ("auto", "cpu"):
        return "CPUExecutionProvider", {}
    cuda = "CUDAExecutionProvider"
    if kind == "cuda" and cuda in available:
        # TF32 rounds to three decimal places.
        return cuda, {"device_id": int(number or 0), "use_tf32": 0}
    usable = "cpu, cuda" if cuda in available else "cpu"
    raise UserError(f"--device {device}: ONNX Runtime here has no such device; usable: {usable}")
