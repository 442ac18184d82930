"""Keras's InceptionResNetV2: which of its layers is which module of ours.

Keras numbers layers per process and groups per save, so that no name says which layer it is. What
every file keeps is the order of `model.layers`, in which Keras itself loads: deepest first, that is
by the number of layers to the output; layers equally deep stand in the order of their paths.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from inceptcli.data.preprocessing import Preprocessing
from inceptcli.weights.key_table import KeyTable, expand

if TYPE_CHECKING:
    from torch import Tensor

FAMILY = "Keras, InceptionResNetV2"

CONVOLUTIONS = (
    ("stem", ("0", "1", "2", "4", "5")),
    (
        "stem.7",
        ("twice.0", "once.0", "twice.1", "direct.0", "once.1", "twice.2", "pooled.1"),
    ),
    (
        "inception_a.0-9",
        ("twice.0", "once.0", "twice.1", "direct.0", "once.1", "twice.2", "linear"),
    ),
    ("reduction_a", ("deep.0", "deep.1", "strided.0", "deep.2")),
    ("inception_b.0-19", ("deep.0", "deep.1", "direct.0", "deep.2", "linear")),
    (
        "reduction_b",
        ("twice.0", "short.0", "once.0", "twice.1", "short.1", "once.1", "twice.2"),
    ),
    ("inception_c.0-9", ("deep.0", "deep.1", "direct.0", "deep.2", "linear")),
)
"""Modules of ours in Keras's order, followed by `projection`; batch norms follow the same order."""

# Keras's documentation resizes whole pictures, whatever their aspect; its default is bilinear.
PREPROCESSING = Preprocessing((299, 299), "squash", 1.0, "bilinear")


def convolutions() -> list[str]:
    """The modules of ours that are or hold a convolution, in Keras's order."""
    ordered = [
        f"{module}.{path}"
        for modules, paths in CONVOLUTIONS
        for module in expand(modules)
        for path in paths
    ]
    return [*ordered, "projection"]


def table(tensors: dict[str, Tensor]) -> KeyTable:
    """The table of one file; `tensors` as `keras_file.read` gives them, in the file's order.

    Raises:
        ValueError: the file has other layers than this network, with the numbers of both.
    """
    convolved = [key for key, tensor in tensors.items() if tensor.ndim == 4]
    normed = [key for key in tensors if key.endswith(".running_mean")]
    dense = [key for key, tensor in tensors.items() if tensor.ndim == 2]
    ours = convolutions()
    units = [module for module in ours if not module.endswith(".linear")]
    found, expected = (len(convolved), len(normed)), (len(ours), len(units))
    if found != expected or len(dense) > 1:
        raise ValueError(
            f"{found[0]} convolutions, {found[1]} batch norms and {len(dense)} dense layers; "
            f"{FAMILY} has {expected[0]}, {expected[1]} and one"
        )
    modules = {
        module if module.endswith(".linear") else f"{module}.conv": _layer(key)
        for module, key in zip(ours, convolved, strict=True)
    }
    for module, key in zip(units, normed, strict=True):
        modules[f"{module}.batch_norm"] = _layer(key)
    modules["classifier"] = _layer(dense[0]) if dense else "predictions"
    return KeyTable(FAMILY, "irv2-tf", modules, PREPROCESSING)


def _layer(key: str) -> str:
    return key.rpartition(".")[0]
