"""Recognition of another library's layout by its keys, never by the file name."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from inceptcli.errors import UserError
from inceptcli.networks.registry import network_options
from inceptcli.text import listed, printable
from inceptcli.weights.foreign.run_checkpoint import CURRENT, STATE
from inceptcli.weights.formats.foreign_file import ForeignFile, is_counter
from inceptcli.weights.formats.keras_config import KerasConfig
from inceptcli.weights.keys import facenet_keys, keras_keys, slim_keys, timm_keys, torchvision_keys
from inceptcli.weights.keys.key_table import SEPARATOR, KeyTable, beginnings, layout

if TYPE_CHECKING:
    from torch import Tensor

TABLES = (
    timm_keys.INCEPTION_V4,
    timm_keys.INCEPTION_RESNET_V2,
    timm_keys.CADENE_INCEPTION_RESNET_V2,
    facenet_keys.INCEPTION_RESNET_V1,
    slim_keys.INCEPTION_V4,
    slim_keys.INCEPTION_RESNET_V2,
    slim_keys.INCEPTION_RESNET_V1,
    torchvision_keys.INCEPTION_V3,
)

KNOWN = (
    "supported are timm, torchvision (Inception-v3), Cadene, facenet-pytorch, TF-slim and Keras "
    "(InceptionResNetV2, Inception-v4)"
)

OTHER_NETWORKS = {
    "network.stem.": "part of an inceptcli checkpoint; import the whole checkpoints/step-N.ckpt",
    "inception3a.branch1.": "torchvision's GoogLeNet",
    "layer1.0.conv1.": "a ResNet",
    "features.denseblock1.": "a DenseNet",
    "features.0.0.": "torchvision's MobileNet or EfficientNet",
    "conv_stem.": "timm's EfficientNet or MobileNet",
    "features.0.weight": "a VGG or an AlexNet",
    "stages.0.blocks.": "timm's ConvNeXt or a similar network",
    "blocks.0.attn.": "a vision transformer",
    "encoder.layers.encoder_layer_0.": "torchvision's vision transformer",
    "model.layers.0.": "a language model",
    "InceptionV1/": "TF-slim's GoogLeNet",
    "InceptionV3/": "TF-slim's Inception-v3",
    "resnet_v1_": "a ResNet",
    "resnet_v2_": "a ResNet",
    "layer_with_weights-": "Keras's own TensorFlow checkpoint; save the model as .weights.h5",
}
"""Key prefixes of common unsupported networks."""

AVERAGED = {"ema", "swa", "averaged", "average", "avg", "shadow", "exponentialmovingaverage"}
"""Words that mark averaged weights in the names of dictionaries and keys."""


@dataclass(frozen=True)
class Recognized:
    """The tensors of one network in a file, by their library's keys.

    Attributes:
        table: Key table of the library.
        tensors: Tensors by the library's keys, without `prefix`.
        place: Dictionary in the file that contains them.
        prefix: Prefix removed from the keys.
        others: Keys in the dictionary without the prefix.
        missing: Missing keys of the network, except the classifier's.
        averaged: Whether the tensors are a moving average.
        remarks: Notices for the user.
    """

    table: KeyTable
    tensors: dict[str, Tensor]
    place: str = ""
    prefix: str = ""
    others: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    averaged: bool = False
    remarks: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Name for messages: `state_dict_ema`, `model.`."""
        return printable(" ".join(filter(None, (self.place, self.prefix))) or "the file's own keys")


def recognize(path: Path, file: ForeignFile, raw: bool = False) -> Recognized:
    """Return the network in the file; prefer averaged weights, or raw weights with `raw`.

    Raises:
        UserError: no table contains half of a dictionary's keys (the message names the likely
            network); several different networks fit; `raw`, but all weights are averaged.
    """
    if file.is_keras:
        tensors = file.groups[""]
        try:
            table = keras_keys.table(tensors)
            keras_keys.check_layers(table, file.config or KerasConfig())
            return Recognized(table, tensors, remarks=file.remarks)
        except ValueError as error:
            raise UserError(f"{path}: looks like another Keras network: {error}") from error
    networks = [network for place in file.groups for network in _networks(place, file.groups)]
    if not networks:
        keys = [key for group in file.groups.values() for key in group]
        raise UserError(f"{path}: {_looks_like(keys)}; {KNOWN}")
    complete = [network for network in networks if not network.missing]
    fewest = min(len(network.missing) for network in networks)
    pool = complete or [network for network in networks if len(network.missing) == fewest][:1]
    chosen = _chosen(path, pool, raw)
    return Recognized(**{**vars(chosen), "remarks": tuple(_remarks(chosen, networks, file))})


def _chosen(path: Path, pool: list[Recognized], raw: bool) -> Recognized:
    wanted = [network for network in pool if network.averaged != raw]
    if raw and not wanted:
        names = ", ".join(network.name for network in pool)
        raise UserError(f"{path}: --raw: all weights are averaged ({names}); leave --raw out")
    first, *others = wanted or pool
    if different := [network for network in others if not _are_equal(first, network)]:
        names = ", ".join(network.name for network in (first, *different))
        raise UserError(
            f"{path}: contains several matching networks ({names}); save only one of them"
        )
    return first


def _are_equal(first: Recognized, other: Recognized) -> bool:
    import torch

    return first.tensors.keys() == other.tensors.keys() and all(
        torch.equal(tensor, other.tensors[key]) for key, tensor in first.tensors.items()
    )


def _networks(place: str, groups: dict[str, dict[str, Tensor]]) -> list[Recognized]:
    """Return the recognized networks in one dictionary, one per prefix of its keys."""
    group = {key: value for key, value in groups[place].items() if not is_counter(key)}
    votes = Counter(prefix for key in group for prefix in _prefixes(key))
    found = []
    for prefix, count in votes.items():
        if count * 4 < max(votes.values()):
            continue
        tensors = {k.removeprefix(prefix): v for k, v in group.items() if k.startswith(prefix)}
        known = {table.family: table.num_known(tensors) for table in TABLES}
        table = max(TABLES, key=lambda table: known[table.family])
        if known[table.family] * 2 <= len(tensors):
            continue
        others = tuple(key for key in group if not key.startswith(prefix))
        missing = tuple(key for key in _trunk(table) if key not in tensors)
        averaged = _is_averaged(place, prefix, groups)
        found.append(Recognized(table, tensors, place, prefix, others, missing, averaged))
    return found


@cache
def _modules() -> frozenset[str]:
    return frozenset(module for table in TABLES for module in table.their_modules())


def _prefixes(key: str) -> list[str]:
    """Return possible prefixes of a table's key, such as `a.b.` in a.b.features.0.conv.weight."""
    starts = [0, *(found.end() for found in SEPARATOR.finditer(key))]
    return [
        key[:start]
        for start in starts
        if any(part in _modules() for part in beginnings(key[start:]))
    ]


@cache
def _trunk(table_family: KeyTable) -> tuple[str, ...]:
    """Return the library's keys of the network, without the classifier and batch counters."""
    ours = [
        key
        for key in layout(network_options(table_family.network))
        if not key.startswith("classifier.") and not key.endswith(".num_batches_tracked")
    ]
    return tuple(table_family.theirs(ours).values())


def _is_averaged(place: str, prefix: str, groups: dict[str, dict[str, Tensor]]) -> bool:
    words = re.split(r"[._]", f"{place}.{prefix}".lower())
    if any(word in AVERAGED or word.startswith("ema") for word in words):
        return True
    above, _, last = place.rpartition(".")
    beside = f"{above}.{CURRENT}" if above else CURRENT
    return (last == STATE and beside in groups) or "n_averaged" in groups[place]


def _remarks(chosen: Recognized, networks: list[Recognized], file: ForeignFile) -> list[str]:
    """Return notices on which parts of the file were used and skipped."""
    remarks = []
    if len(file.groups) > 1 or chosen.place or chosen.prefix or chosen.averaged:
        kind = "averaged weights" if chosen.averaged else "weights"
        remarks.append(f"using {chosen.name}: {kind}")
    for other in networks:
        if other.place != chosen.place or other.prefix != chosen.prefix:
            lacking = f" without {len(other.missing)} tensors" * bool(other.missing)
            kind = "averaged" if other.averaged else "raw"
            flag = " (--raw uses them)" * (chosen.averaged and not other.averaged and not lacking)
            remarks.append(f"skipped {other.name}: {kind} weights{lacking}{flag}")
    if chosen.others:
        remarks.append(f"skipped {len(chosen.others)} other tensors: {listed(chosen.others)}")
    if counters := [key for key in file.groups[chosen.place] if is_counter(key)]:
        remarks.append(f"skipped {len(counters)} counters, such as {printable(counters[0])}")
    return [*remarks, *file.remarks]


def _looks_like(keys: list[str]) -> str:
    for start, network in OTHER_NETWORKS.items():
        if any(key.startswith(start) for key in keys):
            return f"looks like {network}"
    first = ", ".join(map(printable, keys[:3]))
    return f"not a supported network (its first keys: {first})"
