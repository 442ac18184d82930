"""Names of published weights, which the registry of networks declares. Imports little."""

from __future__ import annotations

from typing import NamedTuple

from inceptcli.networks.registry import NETWORKS, WEIGHTS_NETWORK


class Published(NamedTuple):
    """Name of published weights for one network."""

    name: str
    network: str

    @property
    def shown(self) -> str:
        """Name on the command line: `imagenet`, or `NETWORK:imagenet` for other networks."""
        return self.name if self.network == WEIGHTS_NETWORK else f"{self.network}:{self.name}"


PUBLISHED = {
    Published(name, network): repository
    for network, layout in NETWORKS.items()
    for name, repository in layout.published.items()
}
"""Hub repositories of published weights, in the order of the networks."""
