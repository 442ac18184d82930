"""A weights file, or an ONNX file that `export` wrote, as a session of ONNX Runtime; no torch."""

from __future__ import annotations

import os
from collections.abc import Callable
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
"""A run replaces its weights once an epoch; a file that changes more often is not whole."""

LONGEST_REASON = 300


class OnnxModel(NamedTuple):
    """A network for ONNX Runtime: the graph, tensors that are not mapped, and what the rest is of.

    Those that are mapped lie in `folder`; None means that none are.
    """

    metadata: WeightsMetadata
    graph: bytes
    converted: dict[str, NDArray[np.float32]]
    folder: str | None


class MappedFile:
    """Whether a file has the content that it had when this was made."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file, self._content = _seen(path)

    def is_unchanged(self) -> bool:
        """Whether the path leads to that very content."""
        return _seen(self.path) == (self._file, self._content)

    def check(self) -> None:
        """UserError where somebody has written into the file; it may be replaced or removed."""
        file, content = _seen(self.path)
        if file == self._file and content != self._content:
            raise UserError(
                f"{self.path}: was written into while it was in use; run again, and replace such a "
                "file by renaming another one (mv)"
            )


def _seen(path: Path) -> tuple[object, object]:
    """What another file, and another content, would have another of; None of what is not there."""
    try:
        found = path.stat()
    except OSError:
        return None, None
    return (found.st_dev, found.st_ino), (found.st_size, found.st_mtime_ns)


def open_session(
    weights: Path, provider: tuple[str, dict[str, Any]], session_options: Callable[[], Any]
) -> tuple[WeightsMetadata, Any, MappedFile]:
    """What the file says of itself, a session that maps its tensors, and the file.

    All are of one content: a run replaces its weights after each validation.
    Raises UserError when the file cannot be used or asks for more than networks of ours do.
    """
    import onnxruntime

    for _ in range(MOST_ATTEMPTS):
        mapped = MappedFile(weights)
        try:
            model, options = _model(weights), session_options()
            if model.folder is not None:
                options.add_session_config_entry(TENSORS_FOLDER, model.folder)
            values = map(onnxruntime.OrtValue.ortvalue_from_numpy, model.converted.values())
            options.add_external_initializers(list(model.converted), list(values))
            session = onnxruntime.InferenceSession(model.graph, options, [provider])
        except Exception as error:  # ONNX Runtime's have no class in common
            if mapped.is_unchanged():
                raise runtime_error(error, f"{weights}: ONNX Runtime cannot load it") from error
        else:
            if mapped.is_unchanged():
                return model.metadata, session, mapped
    raise UserError(f"{weights}: changes again and again; run again when it is whole")


def runtime_error(error: Exception, problem: str) -> Exception:
    """What to raise for an error of ONNX Runtime: the `problem` with its reason."""
    if isinstance(error, UserError | ImportError | MemoryError):
        return error
    reason = printable((str(error).splitlines() or [type(error).__name__])[0][:LONGEST_REASON])
    if "bad_alloc" in reason or "Cannot allocate memory" in reason:
        return MemoryError(reason)
    return UserError(f"{problem}: {reason}")


def _model(weights: Path) -> OnnxModel:
    metadata = read_metadata(weights)
    # Tensors must lie in the folder that ONNX Runtime is given, and a link may lead out of it.
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
    # As a whole the model would be in memory twice.
    return OnnxModel(metadata, weights.read_bytes() if folder is None else graph, {}, folder)


def _described(
    weights: Path, file: Path, metadata: WeightsMetadata
) -> tuple[bytes, dict[str, NDArray[np.float32]]]:
    """The described network, its parameters in the weights file, and those that cannot be mapped.

    `file` is where the path leads.
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
    """Whether ONNX Runtime can compute with what lies in the file, and can be told its name."""
    return tensor.dtype == "F32" and tensor.offset % 4 == 0 and _is_text(file)


def _is_text(path: Path) -> bool:
    """Whether the path is UTF-8, which ONNX Runtime wants; names of files may be any bytes."""
    try:
        os.fsencode(path).decode()
    except UnicodeDecodeError:
        return False
    return True
