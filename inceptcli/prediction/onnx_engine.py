"""The engine that runs a network on ONNX Runtime, the CPU's; imports no torch."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from inceptcli.cores import divide_threads
from inceptcli.errors import UserError
from inceptcli.networks.registry import describe
from inceptcli.prediction.engine import Outputs
from inceptcli.text import printable
from inceptcli.weights.file import read_metadata
from inceptcli.weights.metadata import WeightsMetadata
from inceptcli.weights.onnx_file import is_onnx, without_tensors
from inceptcli.weights.onnx_limits import check_limits
from inceptcli.weights.stored_tensors import StoredTensor, stored_tensors

TENSORS_FOLDER = "session.model_external_initializers_file_folder_path"

ERRORS_ONLY, NOTHING = 3, 4
"""ONNX Runtime's severities; its warnings are about its own optimisations.

What goes wrong with a network is raised, too, and what is logged has colours and the file's names.
"""

LONGEST_REASON = 300


class Model(NamedTuple):
    """A network for ONNX Runtime: the graph, whose tensors it maps from a file in `folder`."""

    metadata: WeightsMetadata
    graph: bytes
    folder: Path


class OnnxEngine:
    """A weights file, or an ONNX file that `export` wrote; see EmbeddingEngine."""

    def __init__(
        self, weights: Path, device: str = "auto", *, few_images: bool = False, at_once: int = 1
    ) -> None:
        """Load the network and make it ready to run: sooner, and slower, for `few_images`.

        On a CPU the threads are divided among `at_once` images.
        Raises UserError when the file cannot be used or asks for more than networks of ours do, or
        ONNX Runtime has no such device; ImportError where it is not installed.
        """
        import onnxruntime

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
        metadata, self.session = self._load(weights, options)
        if self.session.get_providers()[0] != self.provider[0]:
            raise UserError(f"--device {device}: ONNX Runtime cannot use it, see above")
        self.classes, self.preprocessing = metadata.classes, metadata.preprocessing
        self._weights, self._has_classifier = weights, metadata.has_classifier
        self._quietly = onnxruntime.RunOptions()
        self._quietly.log_severity_level = NOTHING
        self._widths = self._find_widths()
        self._on_cpu = self.provider[0] == "CPUExecutionProvider"
        self._pool = ThreadPoolExecutor(images) if self._on_cpu and images > 1 else None

    def _load(self, weights: Path, options: Any) -> tuple[WeightsMetadata, Any]:
        """What the file says of itself, and ONNX Runtime's session, which maps its tensors.

        Both are of one content: a run replaces its weights after each validation.
        """
        import onnxruntime

        seen = _identity(weights)
        try:
            model = _model(weights)
            if (folder := _as_text(model.folder)) is not None:
                options.add_session_config_entry(TENSORS_FOLDER, folder)
            session = onnxruntime.InferenceSession(model.graph, options, [self.provider])
        except Exception as error:  # ONNX Runtime's have no class in common
            if _identity(weights) != seen:
                return self._load(weights, options)
            if isinstance(error, UserError | ImportError):
                raise
            raise UserError(f"{weights}: ONNX Runtime cannot load it: {_reason(error)}") from error
        if _identity(weights) != seen:
            return self._load(weights, options)
        return model.metadata, session

    def _find_widths(self) -> dict[str, int]:
        """How many numbers each output that is read has for a picture."""
        shapes = {output.name: output.shape for output in self.session.get_outputs()}
        name = "logits" if self._has_classifier else "features"
        if name not in shapes:
            raise UserError(f"{self._weights}: has no output {name}; export it from its weights")
        widths = {"logits": len(self.classes)} if self._has_classifier else {}
        features = shapes.get("features") or [None]
        return widths | ({"features": features[-1]} if isinstance(features[-1], int) else {})

    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Crops (N, H, W, 3), RGB of 0 to 255, to logits (N, num_classes)."""
        (logits,) = self._computed(images, ["logits"])
        return logits

    @property
    def embedding_width(self) -> int:
        """How many numbers `outputs` gives as a picture's embedding.

        Raises UserError where the network has no output of such a width.
        """
        if "features" not in self._widths:
            raise UserError(f"{self._weights}: has no features; export it from its weights")
        return self._widths["features"]

    def outputs(self, images: NDArray[np.uint8]) -> Outputs:
        """Both outputs; without a classifier logits are 0, or NaN where the network is damaged."""
        if self._has_classifier:
            return Outputs(*self._computed(images, ["logits", "features"]))
        (features,) = self._computed(images, ["features"])
        damaged = np.where(np.isfinite(features).all(axis=1, keepdims=True), 0, np.nan)
        return Outputs(damaged.repeat(len(self.classes), axis=1).astype(np.float32), features)

    def _computed(self, images: NDArray[np.uint8], names: list[str]) -> list[NDArray[np.float32]]:
        # On a CPU one by one takes no longer, needs less memory and never depends on the batch.
        parts = np.split(images, len(images)) if self._on_cpu else [images]
        found = (self._pool.map if self._pool else map)(lambda part: self._run(part, names), parts)
        return [np.concatenate(output) for output in zip(*found, strict=True)]

    def _run(self, images: NDArray[np.uint8], names: list[str]) -> list[NDArray[np.float32]]:
        try:
            found: list[Any] = self.session.run(names, {"images": images}, self._quietly)
        except Exception as error:  # see above
            problem = f"ONNX Runtime cannot run it: {_reason(error)}"
            raise UserError(f"{self._weights}: {problem}") from error
        for name, output in zip(names, found, strict=True):
            expected = len(images), self._widths[name]
            shape, dtype = getattr(output, "shape", None), getattr(output, "dtype", None)
            if shape != expected or dtype != np.float32:
                raise UserError(
                    f"{self._weights}: its {name} must be float32 of {expected}, got {dtype} of "
                    f"{shape}"
                )
        return found


def _identity(path: Path) -> tuple[int, ...]:
    """What another file, or another content, would have another of."""
    found = path.stat()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _model(weights: Path) -> Model:
    """What ONNX Runtime runs; UserError as OnnxEngine."""
    # Tensors must lie in the folder that it is given, and a link may lead out of it.
    file = weights.resolve()
    metadata = read_metadata(file)
    size = metadata.preprocessing.image_size
    if not is_onnx(file):
        return Model(metadata, _described(file, metadata), file.parent)
    try:
        graph = without_tensors(file)  # which would be there twice
        check_limits(graph, size)
    except ValueError as error:
        raise UserError(f"{weights}: not an ONNX file of inceptcli: {error}") from error
    return Model(metadata, graph, file.parent)


def _described(file: Path, metadata: WeightsMetadata) -> bytes:
    """The described network, its parameters in the weights file that they were read from."""
    from onnx import TensorProto

    from inceptcli.networks.onnx_graph import onnx_graph

    view = metadata.preprocessing
    model = onnx_graph(
        describe(metadata.network),
        view.image_size,
        view.mean,
        view.std,
        has_classifier=metadata.has_classifier,
    )
    stored = stored_tensors(file, metadata.network)
    for parameter in model.graph.initializer:
        if parameter.data_location != TensorProto.EXTERNAL:
            continue
        tensor = stored[parameter.name]
        del parameter.external_data[:]
        if _is_mappable(file, tensor):
            place = {"location": file.name, "offset": tensor.offset, "length": tensor.length}
            for key, value in place.items():
                parameter.external_data.add(key=key, value=str(value))
        else:
            parameter.data_location = TensorProto.DEFAULT
            parameter.raw_data = tensor.read(file).tobytes()
    graph: bytes = model.SerializeToString()
    return graph


def _is_mappable(file: Path, tensor: StoredTensor) -> bool:
    """Whether ONNX Runtime can compute with what lies in the file, and can be told its name."""
    return tensor.dtype == "F32" and tensor.offset % 4 == 0 and _as_text(file) is not None


def _as_text(path: Path) -> str | None:
    """The path in UTF-8, which ONNX Runtime wants; None where its bytes are something else."""
    try:
        return os.fsencode(path).decode()
    except UnicodeDecodeError:
        return None


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
