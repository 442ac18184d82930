"""Every network as it is registered, and with each option that changes what it is made of."""

from __future__ import annotations

from typing import Any

from inceptcli.networks.registry import NETWORKS, NetworkOptions

CHANGES: list[dict[str, Any]] = [
    {},
    {"in_channels": 1, "num_classes": 7},
    {"repeats": (1, 2, 3)},
    {"width": 0.15},
    {"shortcut": False},
    {"batch_norm_on_sums": "last", "width": 0.25},
    {"batch_norm_on_sums": "all", "residual_scales": (1.0, 0.5, 0.25)},
    {"count_padding": True},
    {"batch_norm_scale": False},
]


def fits(name: str, changes: dict[str, Any]) -> bool:
    """Whether the network has such options."""
    layout = NETWORKS[name]
    needed = {
        "repeats": layout.repeats is not None,
        "shortcut": layout.residual_scales is not None,
        "batch_norm_on_sums": layout.residual_scales is not None,
        "count_padding": layout.has_padded_pools,
    }
    return all(needed.get(option, True) for option in changes)


def num_sums_with_batch_norm(options: NetworkOptions) -> int:
    """How many residual sums have batch norm."""
    return {"none": 0, "last": 1, "all": sum(options.repeats or ())}[options.batch_norm_on_sums]


VARIANTS = [(name, changes) for name in NETWORKS for changes in CHANGES if fits(name, changes)]
