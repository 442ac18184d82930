"""Count a network's shapes, parameters and multiply-adds: `inceptcli.summarize`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from inceptcli.data.pixels.preprocessing import Preprocessing
from inceptcli.errors import MissingFile, UsageError
from inceptcli.jobs.python_errors import python_errors
from inceptcli.networks.registry import (
    NETWORKS,
    NetworkOptions,
    network_options,
)
from inceptcli.networks.summary import Summary
from inceptcli.networks.summary import summarize as summary_of
from inceptcli.weights.fetched.hub import hub_name
from inceptcli.weights.fetched.published import (
    find_weights,
    published_name,
    published_preprocessing,
)
from inceptcli.weights.file import read_metadata
from inceptcli.weights.metadata import WeightsMetadata


def summarize(
    network: str | os.PathLike[str],
    *,
    num_classes: int | None = None,
    image_size: int | tuple[int, int] | None = None,
) -> Summary:
    """Summarize a network by name, or the network of weights; imports no torch.

    Args:
        network: a network's name, or weights as `load` takes them.
        num_classes: number of classes of a network by name; by default 1000.
        image_size: side, or height and width, in pixels; by default the weights' own, 299 for a
            name.

    Returns:
        `parameters`, `multiply_adds` and `stages`, each with `output_shape`, parameters and
        multiply-adds.

    Raises:
        FileNotFoundError, ValueError, RuntimeError: as in `load`.
    """
    with python_errors():
        found = described_network(os.fspath(network), num_classes)
        size = image_size or found.preprocessing.image_size
        size = (size, size) if isinstance(size, int) else size
        return summary_of(found.options, size)


class DescribedNetwork(NamedTuple):
    """A network by its options, its preprocessing, and the metadata if it has weights."""

    options: NetworkOptions
    preprocessing: Preprocessing
    metadata: WeightsMetadata | None


def described_network(network: str, num_classes: int | None) -> DescribedNetwork:
    """Describe a registered network or weights; a name is looked up first.

    Raises UsageError for what is neither, UserError for weights that cannot be read.
    """
    if network in NETWORKS:
        options = network_options(network, num_classes=num_classes)
        return DescribedNetwork(options, published_preprocessing(network), None)
    is_name = hub_name(network) is not None or published_name(network) is not None
    if not is_name and not Path(network).exists():
        known = ", ".join(NETWORKS)
        raise MissingFile(f"{network}: neither a network nor a weights file; networks: {known}")
    metadata = read_metadata(find_weights(network))
    if num_classes is not None:
        raise UsageError(
            f"--num-classes is for a network's name; {network} has {metadata.network.num_classes}"
        )
    return DescribedNetwork(metadata.network, metadata.preprocessing, metadata)
