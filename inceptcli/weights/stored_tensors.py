"""Offsets, types and shapes of the tensors in a weights file, checked against its network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from inceptcli.errors import UserError
from inceptcli.networks.registry import NetworkOptions, describe
from inceptcli.networks.state_dict import COUNTER, Shape, state_dict_shapes
from inceptcli.text import printable
from inceptcli.weights.file import AUXILIARY_HEAD, reason

BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8}
"""Bytes per value by safetensors type; our networks use no other types."""

LONGEST_KEY = 100


class StoredTensor(NamedTuple):
    """Type (safetensors' name), shape, and offset and length in bytes of a tensor in a file."""

    dtype: str
    shape: Shape
    offset: int
    length: int

    def read(self, path: Path) -> NDArray[np.float32]:
        """Read the values as float32."""
        with path.open("rb") as file:
            file.seek(self.offset)
            if self.dtype == "BF16":  # the upper half of a float32
                halves = np.fromfile(file, "<u2", prod(self.shape)).astype(np.uint32)
                values = (halves << 16).view(np.float32)
            else:
                kind = np.dtype(f"<f{BYTES[self.dtype]}")
                stored = np.fromfile(file, kind, prod(self.shape))
                with np.errstate(over="ignore", invalid="ignore"):  # overflow to inf, as torch
                    values = stored.astype(np.float32)
        return values.reshape(self.shape)


def stored_tensors(path: Path, network: NetworkOptions) -> dict[str, StoredTensor]:
    """Return the network's tensors in the weights file at `path` by state-dict key.

    Tensors of an auxiliary head are left out. No torch is imported.

    Raises UserError if tensors are missing, unexpected or have the wrong shape or type.
    """
    try:
        found = _stored(path)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: not an inceptcli weights file: {reason(path, error)}") from error
    own = {
        key: tensor
        for key, tensor in found.items()
        if tensor.dtype not in BYTES or not key.startswith(AUXILIARY_HEAD)
    }
    expected = state_dict_shapes(describe(network))
    if (problem := _problem(expected, own)) is not None:
        raise UserError(f"{path}: tensors do not fit {network.name}: {problem}")
    return own


def _stored(path: Path) -> dict[str, StoredTensor]:
    """Return the tensors of the file, which safetensors guarantees to be contiguous.

    A tensor with a type missing in BYTES is the last one, since later offsets are unknown.
    """
    with path.open("rb") as raw:
        place = 8 + int.from_bytes(raw.read(8), "little")
    found = {}
    with safe_open(path, framework="np") as file:
        for key in file.offset_keys():
            part = file.get_slice(key)
            dtype, shape = part.get_dtype(), tuple(part.get_shape())
            length = prod(shape) * BYTES.get(dtype, 0)
            found[key] = StoredTensor(dtype, shape, place, length)
            if dtype not in BYTES:
                break
            place += length
    return found


def _problem(expected: Mapping[str, Shape], found: Mapping[str, StoredTensor]) -> str | None:
    """Return the first kind of mismatch, or None."""
    mistyped = [
        key
        for key, tensor in found.items()
        if tensor.dtype not in BYTES
        or (key in expected and (tensor.dtype == "I64") != key.endswith(COUNTER))
    ]
    if mistyped:
        return f"wrong type of {_listed(mistyped)}: {found[mistyped[0]].dtype}"
    if unexpected := [key for key in found if key not in expected]:
        return f"unexpected {_listed(unexpected)}"
    if missing := [key for key in expected if key not in found]:
        return f"missing {_listed(missing)}"
    misshapen = [key for key, shape in expected.items() if found[key].shape != shape]
    if misshapen:
        sizes = found[misshapen[0]].shape, expected[misshapen[0]]
        given, wanted = ("x".join(map(str, size)) or "a number" for size in sizes)
        return f"wrong shape of {_listed(misshapen)}: {given}, expected {wanted}"
    return None


def _listed(keys: Sequence[str]) -> str:
    first = printable(keys[0][:LONGEST_KEY])
    return f"{first} and {len(keys) - 1} more" if len(keys) > 1 else first
