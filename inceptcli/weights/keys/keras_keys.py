"""Keras's networks: which of its layers is which module of ours.

Keras numbers layers per process and groups per save, so that no name says which layer it is. What
every file keeps is the order of `model.layers`, in which Keras itself loads: deepest first, that is
by the number of layers to the output; layers equally deep stand in the order of their paths. Who
sorts `model.layers` by name, as one of the authors of Inception-v4 in Keras did, saves in the order
in which layers were made.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from inceptcli.data.pixels.preprocessing import Preprocessing
from inceptcli.networks.registry import build, network_options
from inceptcli.text import printable
from inceptcli.weights.formats.keras_config import KerasConfig
from inceptcli.weights.keys.key_table import KeyTable, expand, layout

if TYPE_CHECKING:
    from torch import Tensor

Paths = Sequence[tuple[str, Sequence[str]]]
"""Modules of ours, each with its convolutions in an order of Keras's."""


@dataclass(frozen=True)
class KerasNetwork:
    """One network as Keras has it.

    Attributes:
        family: Whose, as people call it.
        network: Registered name of the layout with the same computation.
        layers: Its convolutions in the order of `model.layers`; batch norms follow the same order.
        preprocessing: What its images go through.
        made: Its convolutions in the order in which they are made, where files have that, too.
    """

    family: str
    network: str
    layers: Paths
    preprocessing: Preprocessing
    made: Paths | None = None

    def orders(self) -> list[tuple[list[str], bool]]:
        """Modules that are or hold a convolution; whether layers are sorted by number before."""
        orders = [(convolutions(self.layers), False)]
        return orders if self.made is None else [*orders, (convolutions(self.made), True)]


_INCEPTION_RESNET_V2: Paths = (
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
    ("", ("projection",)),
)

_INCEPTION_V4: Paths = (
    ("stem", ("0", "1", "2", "3.strided.0", "4.deep.0", "4.deep.1", "4.short.0", "4.deep.2")),
    ("stem", ("4.short.1", "4.deep.3", "5.strided.0")),
    (
        "inception_a.0-3",
        ("twice.0", "once.0", "twice.1", "direct.0", "once.1", "twice.2", "pooled.1"),
    ),
    ("reduction_a", ("deep.0", "deep.1", "strided.0", "deep.2")),
    (
        "inception_b.0-6",
        (
            *("twice.0", "twice.1", "once.0", "twice.2", "once.1", "twice.3", "direct.0"),
            *("once.2", "twice.4", "pooled.1"),
        ),
    ),
    ("reduction_b", ("deep.0", "deep.1", "short.0", "deep.2", "short.1", "deep.3")),
    (
        "inception_c.0-2",
        (
            *("twice.0", "twice.1", "once.0", "twice.2", "once.1.wide.0", "once.1.tall.0"),
            *("twice.3.wide.0", "twice.3.tall.0", "direct.0", "pooled.1"),
        ),
    ),
)

_INCEPTION_V4_MADE: Paths = (
    ("stem", ("0", "1", "2", "3.strided.0", "4.short.0", "4.short.1", "4.deep.0", "4.deep.1")),
    ("stem", ("4.deep.2", "4.deep.3", "5.strided.0")),
    (
        "inception_a.0-3",
        ("direct.0", "once.0", "once.1", "twice.0", "twice.1", "twice.2", "pooled.1"),
    ),
    ("reduction_a", ("strided.0", "deep.0", "deep.1", "deep.2")),
    (
        "inception_b.0-6",
        (
            *("direct.0", "once.0", "once.1", "once.2", "twice.0", "twice.1", "twice.2"),
            *("twice.3", "twice.4", "pooled.1"),
        ),
    ),
    ("reduction_b", ("short.0", "short.1", "deep.0", "deep.1", "deep.2", "deep.3")),
    (
        "inception_c.0-2",
        (
            *("direct.0", "once.0", "once.1.wide.0", "once.1.tall.0", "twice.0", "twice.1"),
            *("twice.2", "twice.3.wide.0", "twice.3.tall.0", "pooled.1"),
        ),
    ),
)

# Keras's documentation resizes whole pictures, whatever their aspect; its default is bilinear.
INCEPTION_RESNET_V2 = KerasNetwork(
    "Keras, InceptionResNetV2",
    "irv2-tf",
    _INCEPTION_RESNET_V2,
    Preprocessing((299, 299), "squash", 1.0, "bilinear"),
)

# Source: kentsommer/keras-inceptionV4 and titu1994/Inception-v4 on GitHub, of the same graph; the
# former's evaluate_image.py cuts images as TF-slim does.
INCEPTION_V4 = KerasNetwork(
    "Keras, Inception-v4",
    "iv4-tf",
    _INCEPTION_V4,
    Preprocessing((299, 299), "squash", 0.875, "bilinear"),
    _INCEPTION_V4_MADE,
)

NETWORKS = (INCEPTION_RESNET_V2, INCEPTION_V4)


def convolutions(paths: Paths) -> list[str]:
    """The modules of ours that are or hold a convolution, in this order."""
    return [
        f"{module}.{path}" if module else path
        for modules, inner in paths
        for module in expand(modules)
        for path in inner
    ]


def table(tensors: dict[str, Tensor]) -> KeyTable:
    """The table of one file; `tensors` as `keras_file.read` gives them, in the file's order.

    Raises:
        ValueError: the file has other layers than these networks, with the numbers of both.
    """
    convolved = [_layer(key) for key, tensor in tensors.items() if tensor.ndim == 4]
    normed = [_layer(key) for key in tensors if key.endswith(".running_mean")]
    dense = [_layer(key) for key, tensor in tensors.items() if tensor.ndim == 2]
    fitting = []
    for network in NETWORKS:
        for ours, is_sorted in network.orders():
            units = [module for module in ours if not module.endswith(".linear")]
            if (len(convolved), len(normed)) != (len(ours), len(units)) or len(dense) > 1:
                continue
            theirs = sorted(convolved, key=_number) if is_sorted else convolved
            norms = sorted(normed, key=_number) if is_sorted else normed
            modules = {
                module if module.endswith(".linear") else f"{module}.conv": layer
                for module, layer in zip(ours, theirs, strict=True)
            }
            modules |= {f"{m}.batch_norm": norm for m, norm in zip(units, norms, strict=True)}
            modules["classifier"] = dense[0] if dense else "predictions"
            fitting.append(
                KeyTable(network.family, network.network, modules, network.preprocessing)
            )
    if not fitting:
        known = "; ".join(map(_counts, NETWORKS))
        raise ValueError(
            f"{len(convolved)} convolutions, {len(normed)} batch norms and {len(dense)} dense "
            f"layers; {known}"
        )
    return next((found for found in fitting if _has_shapes(found, tensors)), fitting[0])


def check_layers(found: KeyTable, config: KerasConfig) -> None:
    """ValueError where a convolution has another stride or padding than in the network."""
    import torch
    from torch import nn

    if not config.convolutions:
        return
    with torch.device("meta"):
        network = build(network_options(found.network))
    for ours, theirs in found.modules.items():
        module = network.get_submodule(ours)
        if theirs not in config.convolutions or not isinstance(module, nn.Conv2d):
            continue
        strides, padding = config.convolutions[theirs]
        expected = "valid" if module.padding == (0, 0) else "same"
        is_padded = module.kernel_size != (1, 1) and padding != expected
        if strides != module.stride or is_padded:
            raise ValueError(
                f"{printable(theirs)} has strides {list(strides)} and padding {padding}, where "
                f"{found.family} has {list(module.stride)} and {expected}"
            )


def _counts(network: KerasNetwork) -> str:
    ours = convolutions(network.layers)
    units = [module for module in ours if not module.endswith(".linear")]
    return f"{network.family} has {len(ours)}, {len(units)} and one"


def _has_shapes(found: KeyTable, tensors: dict[str, Tensor]) -> bool:
    """Whether every convolution is as large as the network's."""
    expected = {
        key: tensor.shape
        for key, tensor in layout(network_options(found.network)).items()
        if tensor.ndim == 4
    }
    theirs = found.theirs(expected)
    return all(tensors[theirs[key]].shape == shape for key, shape in expected.items())


def _layer(key: str) -> str:
    return key.rpartition(".")[0]


def _number(layer: str) -> int:
    """The number that Keras gave this layer; the first of a kind has none."""
    found = re.search(r"\d+$", layer.partition("/")[0])
    return int(found[0]) if found else 0
