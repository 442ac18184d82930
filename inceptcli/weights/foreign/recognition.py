"""Whose weights are these? Told by their keys, never by the file's name."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from inceptcli.errors import UserError
from inceptcli.networks.registry import network_options
from inceptcli.text import printable
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
    "timm, torchvision (Inception-v3), Cadene, facenet-pytorch, TF-slim and Keras "
    "(InceptionResNetV2, Inception-v4) are read"
)

OTHER_NETWORKS = {
    "network.stem.": "a part of an inceptcli checkpoint; import checkpoints/step-N.ckpt itself",
    "inception3a.branch1.": "torchvision's GoogLeNet",
    "layer1.0.conv1.": "a ResNet",
    "features.denseblock1.": "a DenseNet",
    "features.0.0.": "torchvision's MobileNet or EfficientNet",
    "conv_stem.": "timm's EfficientNet or MobileNet",
    "features.0.weight": "a VGG or an AlexNet",
    "stages.0.blocks.": "timm's ConvNeXt or a relative",
    "blocks.0.attn.": "a vision transformer",
    "encoder.layers.encoder_layer_0.": "torchvision's vision transformer",
    "model.layers.0.": "a language model",
    "InceptionV1/": "TF-slim's GoogLeNet",
    "InceptionV3/": "TF-slim's Inception-v3",
    "resnet_v1_": "a ResNet",
    "resnet_v2_": "a ResNet",
    "layer_with_weights-": "Keras's own TensorFlow checkpoint; save the model as .weights.h5",
}
"""Beginnings of keys that people's other networks have."""

AVERAGED = {"ema", "swa", "averaged", "average", "avg", "shadow", "exponentialmovingaverage"}
"""Words in the names of averaged weights."""


@dataclass(frozen=True)
class Recognized:
    """The tensors of one network in a file, by their library's keys.

    `place` is the dictionary that has them, `prefix` what was removed from the keys, `others` the
    keys without that prefix, `missing` the keys of the table's network that are not there, except
    the classifier's. `averaged` says whether they are a running average.
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
        """What to call it in a message: `state_dict_ema`, `model.`."""
        return printable(" ".join(filter(None, (self.place, self.prefix))) or "the file's own keys")


def recognize(path: Path, file: ForeignFile, raw: bool = False) -> Recognized:
    """The network in the file, averaged where the file has both, or with `raw` as trained.

    Raises:
        UserError: no table knows half of a dictionary's keys, which says what the network looks
            like; several different networks fit; `raw` and there are averaged weights only.
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
        raise UserError(f"{path}: --raw: it has averaged weights only ({names}); leave --raw out")
    first, *others = wanted or pool
    if different := [network for network in others if not _are_equal(first, network)]:
        names = ", ".join(network.name for network in (first, *different))
        raise UserError(
            f"{path}: holds several networks that fit ({names}); save the one you mean alone"
        )
    return first


def _are_equal(first: Recognized, other: Recognized) -> bool:
    import torch

    return first.tensors.keys() == other.tensors.keys() and all(
        torch.equal(tensor, other.tensors[key]) for key, tensor in first.tensors.items()
    )


def _networks(place: str, groups: dict[str, dict[str, Tensor]]) -> list[Recognized]:
    """What in one dictionary fits a table, once for each prefix of its keys."""
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
    """What may stand before a table's key; of a.b.features.0.conv.weight `a.b.`."""
    starts = [0, *(found.end() for found in SEPARATOR.finditer(key))]
    return [
        key[:start]
        for start in starts
        if any(part in _modules() for part in beginnings(key[start:]))
    ]


@cache
def _trunk(table_family: KeyTable) -> tuple[str, ...]:
    """The library's keys of the whole network but its classifier and counters of batches."""
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
    """What was taken of the file, and what was passed over."""
    remarks = []
    if len(file.groups) > 1 or chosen.place or chosen.prefix or chosen.averaged:
        kind = "averaged weights" if chosen.averaged else "weights"
        remarks.append(f"took {chosen.name}: {kind}")
    for other in networks:
        if other.place != chosen.place or other.prefix != chosen.prefix:
            lacking = f", which lacks {len(other.missing)} tensors" * bool(other.missing)
            kind = "averaged" if other.averaged else "raw"
            flag = " (--raw takes them)" * (chosen.averaged and not other.averaged and not lacking)
            remarks.append(f"passed over {other.name}: {kind} weights{lacking}{flag}")
    if chosen.others:
        listed = ", ".join(map(printable, chosen.others[:3]))
        more = ", ..." if len(chosen.others) > 3 else ""
        remarks.append(f"passed over {len(chosen.others)} other tensors: {listed}{more}")
    if counters := [key for key in file.groups[chosen.place] if is_counter(key)]:
        remarks.append(f"passed over {len(counters)} counters, as {printable(counters[0])}")
    return [*remarks, *file.remarks]


def _looks_like(keys: list[str]) -> str:
    for start, network in OTHER_NETWORKS.items():
        if any(key.startswith(start) for key in keys):
            return f"looks like {network}"
    first = ", ".join(map(printable, keys[:3]))
    return f"looks like none of the networks known here (its first keys: {first})"
