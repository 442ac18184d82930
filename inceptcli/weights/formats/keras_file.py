"""Keras's files: HDF5 (`.weights.h5`, `.h5`) and archives of it (`.keras`); no keras, no code run.

Tensors come in PyTorch's layout, in layer order.
"""

from __future__ import annotations

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
"""Of all datasets together; the largest network has 446 MB in double precision."""

MAXIMUM_OVERHEAD = 2**26
"""Of what else is in a file: names, groups, the configuration."""

DEEPEST = 20
"""Groups in one another; a longer way takes h5py minutes."""

SIGNATURE = b"\x89HDF\r\n\x1a\n"
CONFIG, WEIGHTS = "config.json", "model.weights.h5"
"""Members of an archive."""

LARGEST_KERNEL = 7
"""Of these networks; the other two dimensions of a convolution's weights have 32 and more."""

TENSORFLOW, THEANO = "tf_kernels", "th_kernels"
"""Keras 1 does not say whose kernels a file has; people say it in the file's name."""


class KerasFile(NamedTuple):
    """Tensors in the order of `model.layers`, what the model says of itself, and remarks."""

    tensors: dict[str, Tensor]
    config: KerasConfig
    remarks: tuple[str, ...] = ()


def is_archive(names: list[str]) -> bool:
    """Whether these members make a `.keras` archive."""
    return WEIGHTS in names and CONFIG in names


def read_keras_file(path: Path) -> KerasFile:
    """`LAYER.weight` and so on by Keras's layer names, in the order of `model.layers` by kind.

    Convolutions become (out, in, height, width), dense layers (out, in). A batch norm without gamma
    gets a weight of ones. Layers of nested models stand beside the others.

    Raises:
        UserError: h5py is not installed; the file is damaged, not Keras's or has other layers.
    """
    try:
        import h5py  # noqa: F401
    except ImportError:
        remedy = "pip install 'inceptcli[keras]'"
        raise UserError(f"{path}: reading a Keras file needs h5py: {remedy}") from None
    try:
        with _opened(path) as (file, config):
            _check_own(file)
            group = file.get("model_weights", file)
            if config is None:
                config = file.attrs.get("model_config")
            said = keras_config.parse_keras_config(config)
            if "layer_names" in group.attrs:
                return _of_names(path, group, said)
            return KerasFile(_tensors(_numbered(file)), said)
    # h5py documents no list for damaged files; OSError, KeyError and RuntimeError were seen.
    except Exception as error:
        raise UserError(f"{path}: not a Keras weights file: {error}") from error


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, bytes | None]]:
    """The HDF5 file, and the configuration that an archive has beside it."""
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


def _check_own(file: Any) -> None:
    """ValueError where a dataset lies in another file, or all of them are larger than a network."""
    import h5py

    found = 0

    # The visit ends with what is returned; h5py loses an exception.
    def link_problem(name: str, link: Any) -> str | None:
        if name.count("/") > DEEPEST:
            return f"its groups are nested more than {DEEPEST} deep"
        is_external = isinstance(link, h5py.ExternalLink)
        return f"{name} lies in another file, which is not read" if is_external else None

    def problem(name: str, thing: Any) -> str | None:
        nonlocal found
        if not isinstance(thing, h5py.Dataset):
            return None
        if thing.external or thing.is_virtual:
            return f"{name} lies in another file, which is not read"
        found += thing.nbytes
        return None if found <= MAXIMUM_BYTES else f"its datasets have over {MAXIMUM_BYTES} bytes"

    if said := file.visititems_links(link_problem) or file.visititems(problem):
        raise ValueError(said)


Layers = list[tuple[str, list["NDArray[np.float32]"]]]


class _Reading:
    """Reads datasets up to a limit: a layer may name one that another has read."""

    def __init__(self) -> None:
        self.left = MAXIMUM_BYTES

    def __call__(self, dataset: Any) -> NDArray[np.float32]:
        if dataset.dtype.kind not in "fiu":
            raise ValueError(f"{dataset.name} is not of numbers")
        self.left -= dataset.nbytes
        if self.left < 0:
            raise ValueError(f"its layers have over {MAXIMUM_BYTES} bytes")
        values: NDArray[np.float32] = dataset[()]
        return values


def _numbered(file: Any) -> Layers:
    """`.weights.h5`: `layers/KIND_N/vars/M`; N counts each kind in the order of `model.layers`.

    Nested models are such trees in `layers/functional`, or below an attribute's name.
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


def _of_names(path: Path, group: Any, config: KerasConfig) -> KerasFile:
    """`.h5` of a whole model, or of its weights as Keras 2 wrote them: names listed in order."""
    layers, weights = _named(group)
    places = {name: place for place, name in reversed(list(enumerate(config.order)))}
    if all(name in places for name, _ in layers):  # what is frozen is saved after the rest
        layers.sort(key=lambda layer: places[layer[0]])
    backend = _text(group.attrs.get("backend", ""))
    is_theanos = _is_theanos(path.name, backend, weights)
    remark = "turned the kernels by 180 degrees, for they are Theano's"
    return KerasFile(_tensors(layers, is_theanos), config, (remark,) if is_theanos else ())


def _named(group: Any) -> tuple[Layers, list[str]]:
    """The layers, those of a nested model by the beginnings of their weights' names; those names.

    A nested model has all weights that train before the others.
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
    """Whether kernels are turned by 180 degrees: Theano convolves, where TensorFlow correlates.

    Raises ValueError where neither the file nor its name says so.
    """
    if THEANO in name or TENSORFLOW in name:
        return THEANO in name
    is_keras_1 = any(weight.removesuffix(":0").endswith("_W") for weight in weights)
    if is_keras_1 and not backend:
        raise ValueError(
            "Keras 1 does not say whether its kernels are TensorFlow's or Theano's, which are "
            f"turned; end the file's name in _{TENSORFLOW}.h5 or _{THEANO}.h5"
        )
    return backend == "theano"


def _text(name: bytes | str) -> str:
    return name.decode() if isinstance(name, bytes) else name


def _tensors(layers: Layers, are_turned: bool = False) -> dict[str, Tensor]:
    """By layer and part; kernels have their channels last, or first in Keras 1 for Theano."""
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
