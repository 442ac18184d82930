"""Which weights are published, and where. Imports little, for completion and lists."""

from __future__ import annotations

from typing import NamedTuple

from inceptcli.networks.registry import NETWORKS, WEIGHTS_NETWORK


class Published(NamedTuple):
    """Weights that can be had by name, for one network."""

    name: str
    network: str

    @property
    def shown(self) -> str:
        """What to write for them: `imagenet`, or with the network where it is not the default."""
        return self.name if self.network == WEIGHTS_NETWORK else f"{self.network}:{self.name}"


PUBLISHED = {
    Published(name, network): repository
    for network, layout in NETWORKS.items()
    for name, repository in layout.published.items()
}
"""The hub's repositories, in the order of the networks."""
