"""The engine that runs an exported network on ONNX Runtime; imports no torch."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from inceptcli.cores import divide_threads
from inceptcli.errors import UserError
from inceptcli.prediction.engine import Outputs
from inceptcli.text import printable
from inceptcli.weights.file import read_metadata
from inceptcli.weights.metadata import WeightsMetadata
from inceptcli.weights.onnx_file import check_graph, without_tensors
from inceptcli.weights.onnx_limits import check_limits

TENSORS_FOLDER = "session.model_external_initializers_file_folder_path"

ERRORS_ONLY, NOTHING = 3, 4
"""ONNX Runtime's severities; its warnings are about its own optimisations.

What goes wrong with a network is raised, too, and what is logged has colours and the file's names.
"""

LONGEST_REASON = 300


class OnnxEngine:
    """An ONNX file that `export` wrote; see Engine. Normalisation is part of its graph."""

    def __init__(
        self, weights: Path, device: str = "auto", *, few_images: bool = False, at_once: int = 1
    ) -> None:
        """Load the network and make it ready to run: sooner, and slower, for `few_images`.

        On a CPU the threads are divided among `at_once` images.
        Raises UserError when the file cannot be used or asks for more than networks of ours do,
        ONNX Runtime is not installed, or it has no such device.
        """
        metadata = read_metadata(weights)
        self._weights = weights
        self.classes, self.preprocessing = metadata.classes, metadata.preprocessing
        try:
            check_graph(weights)
            import onnxruntime

            file = weights.resolve()  # tensors must lie in its folder; a link may lead out of it
            # Its tensors are mapped; of a model that has them in itself there would be two copies.
            model = without_tensors(file)
            check_limits(model, metadata.preprocessing.image_size)
        except ValueError as error:
            raise UserError(f"{weights}: not an ONNX file of inceptcli: {error}") from error
        except ImportError as error:
            raise UserError(
                f"{weights}: an ONNX file needs ONNX Runtime; pip install 'inceptcli[onnx]'"
            ) from error
        onnxruntime.disable_telemetry_events()
        onnxruntime.set_default_logger_severity(ERRORS_ONLY)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = NOTHING
        images, options.intra_op_num_threads = divide_threads(at_once)
        if few_images:  # which rewriting the graph would keep waiting
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        # Its threads wait busily between operators; after the last one they would keep processors
        # from those that decode.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        self.provider = find_provider(device, onnxruntime.get_available_providers())
        options.add_session_config_entry(TENSORS_FOLDER, str(file.parent))
        try:
            self.session = onnxruntime.InferenceSession(model, options, [self.provider])
        except Exception as error:  # its exceptions have no class in common
            raise UserError(f"{weights}: ONNX Runtime cannot load it: {_reason(error)}") from error
        if self.session.get_providers()[0] != self.provider[0]:
            raise UserError(f"--device {device}: ONNX Runtime cannot use it, see above")
        self._quietly = onnxruntime.RunOptions()
        self._quietly.log_severity_level = NOTHING
        self._output, self._width = self._find_output(metadata)
        self._on_cpu = self.provider[0] == "CPUExecutionProvider"
        self._pool = ThreadPoolExecutor(images) if self._on_cpu and images > 1 else None

    def _find_output(self, metadata: WeightsMetadata) -> tuple[str, int]:
        """The output that is read, and how many numbers it has for a picture."""
        name = "logits" if metadata.has_classifier else "embeddings"
        shapes = {output.name: output.shape for output in self.session.get_outputs()}
        if name not in shapes:
            raise UserError(f"{self._weights}: has no output {name}; export it from its weights")
        if metadata.has_classifier:
            return name, len(metadata.classes)
        width = shapes[name][-1] if shapes[name] else None
        if not isinstance(width, int):
            raise UserError(f"{self._weights}: the width of its embeddings is not fixed")
        return name, width

    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Crops (N, H, W, 3), RGB of 0 to 255, to logits (N, num_classes)."""
        assert self._output == "logits"
        return self._computed(images)

    @property
    def embedding_width(self) -> int:
        """How many numbers `outputs` gives as a picture's embedding."""
        return self._width

    def outputs(self, images: NDArray[np.uint8]) -> Outputs:
        """The embeddings of a network without a classifier; its logits are 0, or NaN if damaged."""
        assert self._output == "embeddings"
        embeddings = self._computed(images)
        damaged = np.where(np.isfinite(embeddings).all(axis=1, keepdims=True), 0, np.nan)
        return Outputs(damaged.repeat(len(self.classes), axis=1).astype(np.float32), embeddings)

    def _computed(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        # On a CPU one by one takes no longer, needs less memory and never depends on the batch.
        parts = np.split(images, len(images)) if self._on_cpu else [images]
        return np.concatenate(list((self._pool.map if self._pool else map)(self._run, parts)))

    def _run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        try:
            (found,) = self.session.run([self._output], {"images": images}, self._quietly)
        except Exception as error:  # see above
            problem = f"ONNX Runtime cannot run it: {_reason(error)}"
            raise UserError(f"{self._weights}: {problem}") from error
        expected = len(images), self._width
        shape, dtype = getattr(found, "shape", None), getattr(found, "dtype", None)
        if shape != expected or dtype != np.float32:
            raise UserError(
                f"{self._weights}: its {self._output} must be float32 of {expected}, got {dtype} "
                f"of {shape}"
            )
        return cast("NDArray[np.float32]", found)


def _reason(error: Exception) -> str:
    return printable((str(error).splitlines() or [type(error).__name__])[0][:LONGEST_REASON])


def find_provider(device: str, available: list[str]) -> tuple[str, dict[str, Any]]:
    """ONNX Runtime's name and options for `device`: cpu, cuda or cuda:N; auto is cpu.

    Raises UserError when ONNX Runtime, as it is installed, does not have it.
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
