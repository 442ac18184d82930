"""Keras's HDF5 files, `.weights.h5` and `.h5`: tensors in PyTorch's layout, in layer order."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from inceptcli.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

MAXIMUM_BYTES = 2**30
"""Of all datasets together; the largest network has 446 MB in double precision."""

SIGNATURE = b"\x89HDF\r\n\x1a\n"


def read(path: Path) -> dict[str, Tensor]:
    """`LAYER.weight` and so on by Keras's layer names, in the order of `model.layers` by kind.

    Convolutions become (out, in, height, width), dense layers (out, in). A batch norm without gamma
    gets a weight of ones.

    Raises:
        UserError: h5py is not installed; the file is damaged, not Keras's or has other layers.
    """
    try:
        import h5py
    except ImportError:
        remedy = "pip install 'inceptcli[keras]'"
        raise UserError(f"{path}: reading a Keras file needs h5py: {remedy}") from None
    try:
        with h5py.File(path, "r") as file:
            _check_own(file)
            layers = _numbered(file) if "layers" in file else _named(file)
            tensors: dict[str, Tensor] = {}
            for layer, arrays in layers:
                tensors |= {f"{layer}.{part}": value for part, value in _parts(layer, arrays)}
    # h5py documents no list for damaged files; OSError, KeyError and RuntimeError were seen.
    except Exception as error:
        raise UserError(f"{path}: not a Keras weights file: {error}") from error
    return tensors


def _check_own(file: Any) -> None:
    """ValueError where a dataset lies in another file, or all of them are larger than a network."""
    import h5py

    found = 0

    # The visit ends with what is returned; h5py loses an exception.
    def link_problem(name: str, link: Any) -> str | None:
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


def _numbered(file: Any) -> Layers:
    """`.weights.h5`: `layers/KIND_N/vars/M`; N counts each kind in the order of `model.layers`."""
    groups = sorted(file["layers"], key=lambda name: _number(name.rpartition("_")[2]))
    layers = [(name, file["layers"][name]["vars"]) for name in groups]
    return [
        (str(variables.attrs.get("name", name)), [variables[key][()] for key in _sorted(variables)])
        for name, variables in layers
        if len(variables)
    ]


def _sorted(variables: Any) -> list[str]:
    return sorted(variables, key=_number)


def _number(text: str) -> int:
    return int(text) if text.isdecimal() else 0


def _named(file: Any) -> Layers:
    """`.h5` of a whole model, or of its weights as Keras 2 wrote them: names listed in order."""
    group = file.get("model_weights", file)
    layers = []
    for name in map(_text, group.attrs["layer_names"]):
        weights = [group[name][_text(weight)][()] for weight in group[name].attrs["weight_names"]]
        if weights:
            layers.append((name, weights))
    return layers


def _text(name: bytes | str) -> str:
    return name.decode() if isinstance(name, bytes) else name


def _parts(layer: str, arrays: list[NDArray[np.float32]]) -> list[tuple[str, Tensor]]:
    import torch

    tensors = [torch.from_numpy(array) for array in arrays]
    dimensions = [tensor.ndim for tensor in tensors]
    if dimensions in ([4], [4, 1]):
        tensors[0] = tensors[0].permute(3, 2, 0, 1)
        return list(zip(("weight", "bias"), tensors, strict=False))
    if dimensions == [2, 1]:
        return [("weight", tensors[0].T), ("bias", tensors[1])]
    if dimensions in ([1, 1, 1], [1, 1, 1, 1]):
        gamma = tensors[0] if len(tensors) == 4 else torch.ones_like(tensors[0])
        names = ("weight", "bias", "running_mean", "running_var")
        return list(zip(names, (gamma, *tensors[-3:]), strict=True))
    raise ValueError(f"layer {layer} is neither convolution, batch norm nor dense")
