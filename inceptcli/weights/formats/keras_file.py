"""Reading of Keras files: HDF5 (`.weights.h5`, `.h5`) and archives (`.keras`).

Tensors are returned in PyTorch's layout, in layer order. Keras is not imported and no code is run.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from zipfile import ZipFile

from inceptcli.errors import UserError
from inceptcli.weights.formats import keras_config
from inceptcli.weights.formats.keras_config import KerasConfig

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

MAXIMUM_BYTES = 2**30
"""Limit for all datasets together; the largest network has 446 MB in double precision."""

MAXIMUM_OVERHEAD = 2**26
"""Limit for the rest of a file: names, groups, the configuration."""

DEEPEST = 20
"""Limit of nested groups; h5py takes minutes for deeper nesting."""

SIGNATURE = b"\x89HDF\r\n\x1a\n"
CONFIG, WEIGHTS = "config.json", "model.weights.h5"
"""Members of an archive."""

LARGEST_KERNEL = 7
"""Largest kernel side in these networks; the channel dimensions are at least 32."""

TENSORFLOW, THEANO = "tf_kernels", "th_kernels"
"""Backends in file names; Keras 1 does not store the backend in the file."""


class KerasFile(NamedTuple):
    """Tensors in the order of `model.layers`, the model's configuration, and remarks."""

    tensors: dict[str, Tensor]
    config: KerasConfig
    remarks: tuple[str, ...] = ()


def is_archive(names: list[str]) -> bool:
    """Return whether these are the members of a `.keras` archive."""
    return WEIGHTS in names and CONFIG in names


def read_keras_file(path: Path) -> KerasFile:
    """Read tensors as `LAYER.weight` etc. by Keras's layer names, in the order of `model.layers`.

    Convolutions become (out, in, height, width), dense layers (out, in). A batch norm without gamma
    gets a weight of ones. Nested models are flattened.

    Raises:
        UserError: h5py is not installed; the file is damaged, not from Keras, or has unsupported
            layers.
    """
    try:
        import h5py  # noqa: F401
    except ImportError:
        remedy = "pip install 'inceptcli[keras]'"
        raise UserError(f"{path}: reading a Keras file needs h5py: {remedy}") from None
    try:
        with _opened(path) as (file, config):
            _check_datasets(file)
            group = file.get("model_weights", file)
            if config is None:
                config = file.attrs.get("model_config")
            parsed = keras_config.parse_keras_config(config)
            if "layer_names" in group.attrs:
                return _read_named(path, group, parsed)
            return KerasFile(_tensors(_numbered_layers(file)), parsed)
    # h5py documents no exceptions for damaged files (OSError, KeyError and RuntimeError seen).
    except Exception as error:
        raise UserError(f"{path}: not a Keras weights file: {error}") from error


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, bytes | None]]:
    """Open the HDF5 file; yield it with the configuration of a `.keras` archive, if any."""
    import h5py

    with path.open("rb") as start:
        if start.read(len(SIGNATURE)) == SIGNATURE:
            with h5py.File(path, "r") as file:
                yield file, None
            return
    with ZipFile(path) as archive:
        config = _member(archive, CONFIG, MAXIMUM_OVERHEAD)
        weights = _member(archive, WEIGHTS, MAXIMUM_BYTES + MAXIMUM_OVERHEAD)
    with h5py.File(BytesIO(weights), "r") as file:
        yield file, config


def _member(archive: ZipFile, name: str, most: int) -> bytes:
    if archive.getinfo(name).file_size > most:
        raise ValueError(f"its {name} has over {most} bytes")
    return archive.read(name)


def _check_datasets(file: Any) -> None:
    """Raise ValueError if a dataset is in another file or all datasets exceed MAXIMUM_BYTES."""
    import h5py

    found = 0

    # Returning a value stops the traversal; h5py swallows exceptions.
    def link_problem(name: str, link: Any) -> str | None:
        if name.count("/") > DEEPEST:
            return f"its groups are nested more than {DEEPEST} deep"
        is_external = isinstance(link, h5py.ExternalLink)
        return f"{name} is in another file, which is not supported" if is_external else None

    def problem(name: str, thing: Any) -> str | None:
        nonlocal found
        if not isinstance(thing, h5py.Dataset):
            return None
        if thing.external or thing.is_virtual:
            return f"{name} is in another file, which is not supported"
        found += thing.nbytes
        return None if found <= MAXIMUM_BYTES else f"its datasets have over {MAXIMUM_BYTES} bytes"

    if first_problem := file.visititems_links(link_problem) or file.visititems(problem):
        raise ValueError(first_problem)


Layers = list[tuple[str, list["NDArray[np.float32]"]]]


class _Reading:
    """Reader of datasets with a total limit, since several layers may name the same dataset."""

    def __init__(self) -> None:
        self.left = MAXIMUM_BYTES

    def __call__(self, dataset: Any) -> NDArray[np.float32]:
        if dataset.dtype.kind not in "fiu":
            raise ValueError(f"{dataset.name} is not numeric")
        self.left -= dataset.nbytes
        if self.left < 0:
            raise ValueError(f"its layers have over {MAXIMUM_BYTES} bytes")
        values: NDArray[np.float32] = dataset[()]
        return values


def _numbered_layers(file: Any) -> Layers:
    """Read the layers of a `.weights.h5` file.

    Variables are in `layers/KIND_N/vars/M`; N counts the layers of a kind in the order of
    `model.layers`. Nested models have the same structure in `layers/functional` or below an
    attribute's name.
    """
    found: list[str] = []

    def note(name: str, thing: Any) -> None:
        parts = name.split("/")
        is_state = parts[0] == "optimizer" or any(p.startswith("seed_generator") for p in parts)
        if parts[-1] == "vars" and not is_state and len(thing):
            found.append(name)

    file.visititems(note)
    found.sort(key=lambda name: [_number(part.rpartition("_")[2]) for part in name.split("/")])
    layers: Layers = []
    names = set()
    values = _Reading()
    for place in found:
        variables = file[place]
        name = str(variables.attrs.get("name", place))
        name = place if name in names else name
        names.add(name)
        layers.append((name, [values(variables[key]) for key in sorted(variables, key=_number)]))
    return layers


def _number(text: str) -> int:
    return int(text) if text.isdecimal() else 0


def _read_named(path: Path, group: Any, config: KerasConfig) -> KerasFile:
    """Read an `.h5` file of a whole model, or of weights from Keras 2, with its list of names."""
    layers, weights = _named_layers(group)
    places = {name: place for place, name in reversed(list(enumerate(config.order)))}
    if all(name in places for name, _ in layers):  # frozen layers are saved after the others
        layers.sort(key=lambda layer: places[layer[0]])
    backend = _text(group.attrs.get("backend", ""))
    is_theanos = _is_theanos(path.name, backend, weights)
    remark = "rotated the kernels by 180 degrees, since they are Theano's"
    return KerasFile(_tensors(layers, is_theanos), config, (remark,) if is_theanos else ())


def _named_layers(group: Any) -> tuple[Layers, list[str]]:
    """Return the layers and the names of all weights.

    Layers of a nested model are identified by the prefixes of their weights' names. A nested model
    stores trainable weights before the others.
    """
    layers: Layers = []
    all_weights = []
    values = _Reading()
    for layer in map(_text, group.attrs["layer_names"]):
        weights = [_text(name) for name in group[layer].attrs["weight_names"]]
        all_weights += weights
        parts: dict[str, list[NDArray[np.float32]]] = {}
        for name in weights:
            parts.setdefault(name.rpartition("/")[0], []).append(values(group[layer][name]))
        layers += [
            (layer if len(parts) == 1 else name.rpartition("/")[2], arrays)
            for name, arrays in parts.items()
        ]
    return layers, all_weights


def _is_theanos(name: str, backend: str, weights: list[str]) -> bool:
    """Return whether kernels are rotated by 180 degrees: Theano convolves, TensorFlow correlates.

    Raises ValueError if neither the file nor its name states the backend.
    """
    if stated := re.search(rf"(?:^|_)({THEANO}|{TENSORFLOW})", name):
        return stated[1] == THEANO
    is_keras_1 = any(weight.removesuffix(":0").endswith("_W") for weight in weights)
    if is_keras_1 and not backend:
        raise ValueError(
            "Keras 1 does not record whether kernels are TensorFlow's or Theano's, which are "
            f"rotated; end the file name in _{TENSORFLOW}.h5 or _{THEANO}.h5"
        )
    return backend == "theano"


def _text(name: bytes | str) -> str:
    return name.decode() if isinstance(name, bytes) else name


def _tensors(layers: Layers, are_turned: bool = False) -> dict[str, Tensor]:
    """Return tensors by layer and part; kernels are channels-last, or channels-first in Theano."""
    kernels = [array for _, arrays in layers for array in arrays if array.ndim == 4]
    order = (3, 2, 0, 1)
    if any(max(kernel.shape[:2]) > LARGEST_KERNEL for kernel in kernels):
        order = (0, 1, 2, 3)
    found: dict[str, Tensor] = {}
    for layer, arrays in layers:
        for part, value in _parts(layer, arrays):
            if value.ndim == 4:
                value = value.permute(order)
                value = value.flip(2, 3) if are_turned else value
            found[f"{layer}.{part}"] = value
    return found


def _parts(layer: str, arrays: list[NDArray[np.float32]]) -> list[tuple[str, Tensor]]:
    import torch

    tensors = [torch.from_numpy(array) for array in arrays]
    dimensions = [tensor.ndim for tensor in tensors]
    if dimensions in ([4], [4, 1]):
        return list(zip(("weight", "bias"), tensors, strict=False))
    if dimensions == [2, 1]:
        return [("weight", tensors[0].T), ("bias", tensors[1])]
    if dimensions in ([1, 1, 1], [1, 1, 1, 1]):
        gamma = tensors[0] if len(tensors) == 4 else torch.ones_like(tensors[0])
        names = ("weight", "bias", "running_mean", "running_var")
        return list(zip(names, (gamma, *tensors[-3:]), strict=True))
    raise ValueError(f"layer {layer} is neither convolution, batch norm nor dense")
