"""Networks as torch modules, for other training code: `inceptcli.network`."""

from __future__ import annotations

import os
from dataclasses import fields
from typing import Any, cast

from inceptcli.errors import UsageError
from inceptcli.jobs.arguments import check_given, plain_values
from inceptcli.jobs.python_errors import python_errors
from inceptcli.jobs.summarize import described_network
from inceptcli.networks.network import Network
from inceptcli.networks.registry import NETWORKS, NetworkOptions, build, network_options
from inceptcli.recipe.schema import check
from inceptcli.weights.fetched.published import find_weights
from inceptcli.weights.file import load_network

OWN_ARGUMENTS = ("name", "num_classes")
"""Fields of NetworkOptions that `network` takes as arguments of their own."""


def network(
    name: str | os.PathLike[str], *, num_classes: int | None = None, **options: Any
) -> Network:
    """Build a network with random weights, or load one from weights.

    The network takes images (N, 3, H, W), float32 in [-1, 1], RGB, at least 75 pixels per side, and
    returns logits (N, num_classes).

    Args:
        name: a network (`iv4`, `irv1`, `irv2`, `iv4-tf`, `irv2-tf`, `irv1-facenet`, `iv3`), built
            with random weights in training mode; or weights, as for `load`, loaded in evaluation
            mode.
        num_classes: number of classes of a network with random weights; by default 1000.
        **options: recipe keys of the section `network`: width, repeats, residual_scales,
            shortcut, batch_norm_on_sums, in_channels, dropout, batch_norm_eps, batch_norm_momentum,
            batch_norm_scale, initialization, count_padding.

    Raises:
        FileNotFoundError: the weights do not exist.
        ValueError: the network does not have the option, or options are given for weights.
        RuntimeError: the weights cannot be read or downloaded.
    """
    check_given(name=name)
    text = os.fspath(name)
    if text in NETWORKS:
        with python_errors():
            _check_known(options)
            check({"network": {"name": text, **plain_values(options)}})
        return build(network_options(text, num_classes=num_classes, **options))
    if num_classes is not None or options:
        raise ValueError(f"{text}: weights define their own classes and options; give a network")
    with python_errors():
        described_network(text, None)  # whose error lists the networks
        return cast(Network, load_network(find_weights(text))[0])


def _check_known(options: dict[str, Any]) -> None:
    """Raise UsageError for an option that networks do not have; recipes have more, for training."""
    known = [each.name for each in fields(NetworkOptions) if each.name not in OWN_ARGUMENTS]
    if unknown := [name for name in options if name not in known]:
        raise UsageError(f"network.{unknown[0]} is no option here; options: {', '.join(known)}")
