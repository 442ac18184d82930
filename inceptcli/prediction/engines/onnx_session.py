"""Open a weights file or exported ONNX file as an ONNX Runtime session; no torch."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from inceptcli.errors import UserError
from inceptcli.networks.registry import describe
from inceptcli.text import printable
from inceptcli.weights.file import read_metadata
from inceptcli.weights.metadata import WeightsMetadata
from inceptcli.weights.onnx_file import is_onnx, without_tensors
from inceptcli.weights.onnx_limits import check_limits
from inceptcli.weights.stored_tensors import StoredTensor, stored_tensors

TENSORS_FOLDER = "session.model_external_initializers_file_folder_path"

MOST_ATTEMPTS = 10
"""A run replaces its weights once per epoch; a file that changes more often is broken."""

LONGEST_REASON = 300


class OnnxModel(NamedTuple):
    """A network for ONNX Runtime: metadata, graph, and tensors that cannot be mapped.

    Mapped tensors are in files in `folder`; None if there are none.
    """

    metadata: WeightsMetadata
    graph: bytes
    converted: dict[str, NDArray[np.float32]]
    folder: str | None


class MappedFile:
    """Detects changes of a file since this object was made."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file, self._content = _seen(path)

    def is_unchanged(self) -> bool:
        """Whether the path still has the same content."""
        return _seen(self.path) == (self._file, self._content)

    def check(self) -> None:
        """Raise UserError if the file was modified in place; replacing or removing it is fine."""
        file, content = _seen(self.path)
        if file == self._file and content != self._content:
            raise UserError(
                f"{self.path}: was modified while in use; run again, and replace such a file by "
                "renaming another one (mv)"
            )


def _seen(path: Path) -> tuple[object, object]:
    """Return the file's identity and a fingerprint of its content; None if it is missing."""
    try:
        found = path.stat()
    except OSError:
        return None, None
    return (found.st_dev, found.st_ino), (found.st_size, found.st_mtime_ns)


def open_session(
    weights: Path,
    provider: tuple[str, dict[str, Any]],
    session_options: Callable[[bool], Any],
    preprocessing: Mapping[str, Any],
) -> tuple[WeightsMetadata, Any, MappedFile]:
    """Return the file's metadata, a session that maps its tensors, and the mapped file.

    All are of the same content, although a run replaces its weights after each validation. See
    load_engine for `preprocessing`. `session_options` is told whether the network is quantized.
    Raises UserError if the file cannot be used or exceeds the limits of our networks.
    """
    import onnxruntime

    for _ in range(MOST_ATTEMPTS):
        mapped = MappedFile(weights)
        try:
            model = _model(weights, preprocessing)
            options = session_options(model.metadata.quantization is not None)
            if model.folder is not None:
                options.add_session_config_entry(TENSORS_FOLDER, model.folder)
            values = map(onnxruntime.OrtValue.ortvalue_from_numpy, model.converted.values())
            options.add_external_initializers(list(model.converted), list(values))
            session = onnxruntime.InferenceSession(model.graph, options, [provider])
        except Exception as error:  # its exceptions have no common base class
            if mapped.is_unchanged():
                raise runtime_error(error, f"{weights}: ONNX Runtime cannot load it") from error
        else:
            if mapped.is_unchanged():
                return model.metadata, session, mapped
    raise UserError(f"{weights}: keeps changing; run again when it is complete")


def runtime_error(error: Exception, problem: str) -> Exception:
    """Return the exception to raise for an error of ONNX Runtime: `problem` with its reason."""
    if isinstance(error, UserError | ImportError | MemoryError):
        return error
    reason = printable((str(error).splitlines() or [type(error).__name__])[0][:LONGEST_REASON])
    if "bad_alloc" in reason or "Cannot allocate memory" in reason:
        return MemoryError(reason)
    return UserError(f"{problem}: {reason}")


def _model(weights: Path, preprocessing: Mapping[str, Any]) -> OnnxModel:
    metadata = read_metadata(weights).with_preprocessing(preprocessing)
    # ONNX Runtime requires tensors below the given folder, and a link may point elsewhere.
    file = weights.resolve()
    folder = str(file.parent) if _is_text(file) else None
    if not is_onnx(weights):
        graph, converted = _described(weights, file, metadata)
        return OnnxModel(metadata, graph, converted, folder)
    try:
        graph = without_tensors(weights, "" if folder is None else file.name)
        check_limits(graph, metadata.preprocessing.image_size)
    except ValueError as error:
        raise UserError(f"{weights}: not an ONNX file of inceptcli: {error}") from error
    # A model passed as bytes would be in memory twice.
    return OnnxModel(metadata, weights.read_bytes() if folder is None else graph, {}, folder)


def _described(
    weights: Path, file: Path, metadata: WeightsMetadata
) -> tuple[bytes, dict[str, NDArray[np.float32]]]:
    """Return the graph, with parameters in the weights file, and those that cannot be mapped.

    `file` is the resolved path.
    """
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
    stored = stored_tensors(weights, metadata.network)
    converted = {}
    for parameter in model.graph.initializer:
        if parameter.data_location != TensorProto.EXTERNAL:
            continue
        tensor = stored[parameter.name]
        if _is_mappable(file, tensor):
            del parameter.external_data[:]
            place = {"location": file.name, "offset": tensor.offset, "length": tensor.length}
            for key, value in place.items():
                parameter.external_data.add(key=key, value=str(value))
        else:
            converted[parameter.name] = tensor.read(weights)
    graph: bytes = model.SerializeToString()
    return graph, converted


def _is_mappable(file: Path, tensor: StoredTensor) -> bool:
    """Whether ONNX Runtime can use the tensor directly from the file."""
    return tensor.dtype == "F32" and tensor.offset % 4 == 0 and _is_text(file)


def _is_text(path: Path) -> bool:
    """Whether the path is UTF-8, as ONNX Runtime requires; file names may be any bytes."""
    try:
        os.fsencode(path).decode()
    except UnicodeDecodeError:
        return False
    return True
