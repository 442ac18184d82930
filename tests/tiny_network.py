"""The network of tests: every kind of module, each stage once, a quarter of the channels."""

from __future__ import annotations

from typing import Any

from inceptcli.networks.registry import NETWORKS, NetworkOptions, network_options

TINY_NETWORK: dict[str, Any] = {"name": "irv1", "repeats": [1, 1, 1], "width": 0.25}
"""The section `network` of a recipe."""

TINY_FLAGS = [
    "--arch", "irv1", "--set", "network.repeats=[1, 1, 1]", "--set", "network.width=0.25"
]  # fmt: skip


def tiny_options(name: str = "irv1", **changes: Any) -> NetworkOptions:
    """Any network made as small."""
    repeats = {} if NETWORKS[name].repeats is None else {"repeats": (1, 1, 1)}
    return network_options(name, **{**repeats, "width": TINY_NETWORK["width"], **changes})
