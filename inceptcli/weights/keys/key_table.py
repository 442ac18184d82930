"""Mapping between our state-dict keys and those of other libraries."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from inceptcli.data.pixels.preprocessing import Preprocessing
from inceptcli.networks.registry import NetworkOptions, describe
from inceptcli.networks.state_dict import (
    COUNTER,
    Shape,
    auxiliary_head_shapes,
    state_dict_shapes,
)
from inceptcli.weights.file import AUXILIARY_HEAD

if TYPE_CHECKING:
    from torch import Tensor


SEPARATOR = re.compile(r"[./]")


@dataclass(frozen=True, eq=False)
class KeyTable:
    """Key table of one network in one library, usable in both directions.

    Attributes:
        family: Library and network, for messages.
        network: Registered name of the layout with the same computation.
        modules: Our modules to theirs. `a.0-3.b` and `c.6-9.d` stand for a.0.b and c.6.d to a.3.b
            and c.9.d. Below the modules the names agree.
        preprocessing: Usual preprocessing of their images.
        imagenet: Whether 1000 classes are ImageNet's, and the first of 1001 is the background.
        endings: Our key endings below the modules to theirs, if the names differ.
        options: NetworkOptions that differ from the registered defaults.
    """

    family: str
    network: str
    modules: Mapping[str, str]
    preprocessing: Preprocessing
    imagenet: bool = True
    endings: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def has_auxiliary_head(self) -> bool:
        """Whether this library saves the auxiliary head with the network."""
        return any(module.startswith(AUXILIARY_HEAD) for module in self.modules)

    def theirs(self, keys: Iterable[str]) -> dict[str, str]:
        """Map our state-dict keys to theirs by replacing the longest matching module."""
        modules = dict(self._expanded())
        renamed = {}
        for key in keys:
            ours = next(part for part in beginnings(key) if part in modules)
            below = key.removeprefix(ours)
            renamed[key] = modules[ours] + self.endings.get(
                below, below.replace(".batch_norm.", ".bn.")
            )
        return renamed

    def num_known(self, keys: Iterable[str]) -> int:
        """Return how many of the keys belong to a module of the library."""
        modules = set(self.their_modules())
        return sum(any(part in modules for part in beginnings(key)) for key in keys)

    def their_modules(self) -> Iterator[str]:
        """Return the library's names of all modules."""
        return (theirs for _, theirs in self._expanded())

    def _expanded(self) -> Iterator[tuple[str, str]]:
        for ours, theirs in self.modules.items():
            yield from zip(expand(ours), expand(theirs), strict=True)


def expand(name: str) -> list[str]:
    """Expand ranges: `a.0-2.b` to a.0.b, a.1.b, a.2.b, and `a_1b-c` to a_1b, a_1c."""
    if counted := re.search(r"(?<=[._])(\d+)-(\d+)", name):
        first, last = int(counted[1]), int(counted[2])
        parts = [str(number) for number in range(first, last + 1)]
    elif counted := re.search(r"(?<=\d)([a-z])-([a-z])", name):
        parts = [chr(letter) for letter in range(ord(counted[1]), ord(counted[2]) + 1)]
    else:
        return [name]
    return [name.replace(counted[0], part, 1) for part in parts]


def beginnings(key: str) -> Iterator[str]:
    """Yield the key and its prefixes, longest first: a.b.c, a.b, a; also for a/b."""
    ends = [found.start() for found in SEPARATOR.finditer(key)]
    return (key[:end] for end in (len(key), *reversed(ends)))


@lru_cache(maxsize=8)
def layout(options: NetworkOptions) -> dict[str, Tensor]:
    """Return the state dict of this network on the meta device, without values."""
    return _on_meta(state_dict_shapes(describe(options)))


@lru_cache(maxsize=8)
def auxiliary_layout(options: NetworkOptions) -> dict[str, Tensor]:
    """Return the state dict of the auxiliary head, with its prefix in a weights file."""
    shapes = auxiliary_head_shapes(describe(options))
    return _on_meta({f"{AUXILIARY_HEAD}{key}": shape for key, shape in shapes.items()})


def _on_meta(shapes: Mapping[str, Shape]) -> dict[str, Tensor]:
    import torch

    kinds = {True: torch.int64, False: torch.float32}
    return {
        key: torch.empty(shape, dtype=kinds[key.endswith(COUNTER)], device="meta")
        for key, shape in shapes.items()
    }
