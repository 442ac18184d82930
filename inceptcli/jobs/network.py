"""Networks as torch modules, for other training code: `inceptcli.network`."""

from __future__ import annotations

import os
from typing import Any, cast

from inceptcli.jobs.python_errors import python_errors
from inceptcli.jobs.summarize import described_network
from inceptcli.networks.network import Network
from inceptcli.networks.registry import NETWORKS, build, network_options
from inceptcli.recipe.schema import check
from inceptcli.weights.fetched.published import find_weights
from inceptcli.weights.file import load_network


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
    text = os.fspath(name)
    if text in NETWORKS:
        with python_errors():
            check({"network": {"name": text, **_plain(options)}})
        return build(network_options(text, num_classes=num_classes, **options))
    if num_classes is not None or options:
        raise ValueError(f"{text}: weights define their own classes and options; give a network")
    with python_errors():
        described_network(text, None)  # whose error lists the networks
        return cast(Network, load_network(find_weights(text))[0])


def _plain(options: dict[str, Any]) -> dict[str, Any]:
    """Return options as a recipe states them, with lists."""
    return {
        key: list(value) if isinstance(value, tuple) else value for key, value in options.items()
    }
