"""Count a network's shapes, parameters and multiply-adds: `inceptcli.summarize`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from inceptcli.data.pixels.preprocessing import Preprocessing
from inceptcli.errors import MissingFile, UsageError
from inceptcli.jobs.arguments import check_given
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
    """Summarize a network, given by name or by weights; imports no torch.

    Args:
        network: name of a network, or weights, as for `load`.
        num_classes: number of classes, only for a name; by default 1000.
        image_size: side, or height and width, in pixels; by default that of the weights, or 299 for
            a name.

    Returns:
        `parameters`, `multiply_adds` and `stages`, each with `output_shape`, parameters and
        multiply-adds.

    Raises:
        FileNotFoundError, ValueError, RuntimeError: as in `load`.
    """
    check_given(network=network)
    with python_errors():
        found = described_network(os.fspath(network), num_classes)
        own = found.preprocessing.image_size
        return summary_of(
            found.options, own if image_size is None else _height_and_width(image_size)
        )


def _height_and_width(size: object) -> tuple[int, int]:
    """Return one or two sides in pixels as two; raise ValueError for anything else."""
    match size:
        case int(side):
            return side, side
        case [int(height), int(width)]:
            return height, width
    raise ValueError(f"image_size must be one or two whole numbers of pixels, got {size!r}")


class DescribedNetwork(NamedTuple):
    """Options and preprocessing of a network, and the metadata of its weights, if any."""

    options: NetworkOptions
    preprocessing: Preprocessing
    metadata: WeightsMetadata | None


def described_network(network: str, num_classes: int | None) -> DescribedNetwork:
    """Describe a network or weights; network names take precedence.

    Raises UsageError if `network` is neither, UserError if the weights cannot be read.
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
            f"--num-classes needs the name of a network; the weights {network} have "
            f"{metadata.network.num_classes} classes"
        )
    return DescribedNetwork(metadata.network, metadata.preprocessing, metadata)
