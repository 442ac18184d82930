"""Whose key is whose: the state-dict keys of our layouts beside those of another library."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from inceptcli.data.preprocessing import Preprocessing
from inceptcli.networks.registry import NetworkOptions, build

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class KeyTable:
    """One network as one library lays it out; read in either direction.

    Attributes:
        family: Whose layout, as people call it.
        network: Registered name of the layout with the same computation.
        modules: A module of ours to the same module of theirs. `a.0-3.b` and `c.6-9.d` stand for
            a.0.b and c.6.d to a.3.b and c.9.d; below the modules the names agree.
        preprocessing: What their images go through.
        imagenet: Whether 1000 classes are ImageNet's and a 1001st stands before them.
    """

    family: str
    network: str
    modules: Mapping[str, str]
    preprocessing: Preprocessing
    imagenet: bool = True

    def theirs(self, keys: Iterable[str]) -> dict[str, str]:
        """Each of our state-dict keys with theirs: the longest module that starts it is renamed."""
        modules = dict(self._expanded())
        renamed = {}
        for key in keys:
            ours = next(part for part in _beginnings(key) if part in modules)
            below = key.removeprefix(ours).replace(".batch_norm.", ".bn.")
            renamed[key] = modules[ours] + below
        return renamed

    def num_known(self, keys: Iterable[str]) -> int:
        """How many of another file's keys are below a module of theirs."""
        modules = set(self.their_modules())
        return sum(any(part in modules for part in _beginnings(key)) for key in keys)

    def their_modules(self) -> Iterator[str]:
        """Their name of every module of the table."""
        return (theirs for _, theirs in self._expanded())

    def _expanded(self) -> Iterator[tuple[str, str]]:
        for ours, theirs in self.modules.items():
            yield from zip(expand(ours), expand(theirs), strict=True)


def expand(name: str) -> list[str]:
    """`a.0-2.b` is a.0.b, a.1.b, a.2.b; a name without a range is itself."""
    counted = re.search(r"(?<=\.)(\d+)-(\d+)", name)
    if counted is None:
        return [name]
    first, last = int(counted[1]), int(counted[2])
    return [name.replace(counted[0], str(index), 1) for index in range(first, last + 1)]


def _beginnings(key: str) -> Iterator[str]:
    """a.b.c, a.b, a."""
    parts = key.split(".")
    return (".".join(parts[:length]) for length in range(len(parts), 0, -1))


@lru_cache(maxsize=8)
def layout(options: NetworkOptions) -> dict[str, Tensor]:
    """The state dict of this network without its values, on the meta device."""
    import torch

    with torch.device("meta"):
        return build(options).state_dict()
