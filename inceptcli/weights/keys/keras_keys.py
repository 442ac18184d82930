"""Mapping of Keras layers to our modules.

Keras numbers layers per process and groups per save, so names do not identify layers. Every file
keeps the order of `model.layers`, in which Keras itself loads: layers are sorted by their distance
to the output, largest first, and layers at the same distance are in the order of their paths.
One Keras implementation of Inception-v4 sorts `model.layers` by name, which is the creation order.
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
"""Our modules, each with its convolutions in Keras's order."""


@dataclass(frozen=True)
class KerasNetwork:
    """A network in Keras.

    Attributes:
        family: Library and network, for messages.
        network: Registered name of the layout with the same computation.
        layers: Convolutions in the order of `model.layers`; batch norms have the same order.
        preprocessing: Usual preprocessing of its images.
        made: Convolutions in the order of creation, if some files use it.
    """

    family: str
    network: str
    layers: Paths
    preprocessing: Preprocessing
    made: Paths | None = None

    def orders(self) -> list[tuple[list[str], bool]]:
        """Return the possible orders of convolutions, each with whether to sort by number first."""
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

# Keras's documentation resizes whole images without keeping the aspect ratio; default: bilinear.
INCEPTION_RESNET_V2 = KerasNetwork(
    "Keras, InceptionResNetV2",
    "irv2-tf",
    _INCEPTION_RESNET_V2,
    Preprocessing((299, 299), "squash", 1.0, "bilinear"),
)

# Source: kentsommer/keras-inceptionV4 and titu1994/Inception-v4 on GitHub, with the same graph; the
# former's evaluate_image.py crops images as TF-slim does.
INCEPTION_V4 = KerasNetwork(
    "Keras, Inception-v4",
    "iv4-tf",
    _INCEPTION_V4,
    Preprocessing((299, 299), "squash", 0.875, "bilinear"),
    _INCEPTION_V4_MADE,
)

NETWORKS = (INCEPTION_RESNET_V2, INCEPTION_V4)


def convolutions(paths: Paths) -> list[str]:
    """Return our modules that are or contain a convolution, in the order of `paths`."""
    return [
        f"{module}.{path}" if module else path
        for modules, inner in paths
        for module in expand(modules)
        for path in inner
    ]


def table(tensors: dict[str, Tensor]) -> KeyTable:
    """Return the key table of a file with `tensors` from `read_keras_file`, in the file's order.

    Raises:
        ValueError: the numbers of layers do not fit these networks; the message gives both.
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
    """Raise ValueError if a convolution's stride or padding differs from the network's."""
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
                f"{printable(theirs)} has strides {list(strides)} and padding {padding}, but "
                f"{found.family} has {list(module.stride)} and {expected}"
            )


def _counts(network: KerasNetwork) -> str:
    ours = convolutions(network.layers)
    units = [module for module in ours if not module.endswith(".linear")]
    return f"{network.family} has {len(ours)}, {len(units)} and one"


def _has_shapes(found: KeyTable, tensors: dict[str, Tensor]) -> bool:
    """Return whether all convolutions have the network's shapes."""
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
    """Return Keras's number of a layer; the first layer of a kind has none and counts as 0."""
    found = re.search(r"\d+$", layer.partition("/")[0])
    return int(found[0]) if found else 0
