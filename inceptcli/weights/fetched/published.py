"""Weights by name: published weights and hub repositories, downloaded and cached. No torch.

A name such as `imagenet` stands for a file in one of timm's Hugging Face Hub repositories. It is
converted once into a weights file in `inceptcli` in the hub's home folder. Later calls need neither
the network nor the hub's client.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from difflib import get_close_matches
from pathlib import Path

from inceptcli.data.pixels.preprocessing import Preprocessing
from inceptcli.errors import MissingFile, UsageError, UserError
from inceptcli.files.cache_folder import cache_folder
from inceptcli.networks.registry import NETWORKS, WEIGHTS_NETWORK, network_options
from inceptcli.progress.display import Display
from inceptcli.progress.task import Task
from inceptcli.weights.fetched import hub
from inceptcli.weights.fetched.published_names import PUBLISHED, Published
from inceptcli.weights.file import read_metadata, resolve
from inceptcli.weights.keys import timm_keys
from inceptcli.weights.metadata import WeightsMetadata

logger = logging.getLogger(__name__)


def published_preprocessing(network: str) -> Preprocessing:
    """Return the preprocessing of the published weights of `network`, or the default."""
    tables = (timm_keys.INCEPTION_V4, timm_keys.INCEPTION_RESNET_V2)
    known = {table.network: table.preprocessing for table in tables}
    return known.get(network, Preprocessing((299, 299)))


def find_weights(weights: str, network: str = WEIGHTS_NETWORK) -> Path:
    """Return the weights file for `weights`; download it if `weights` is a name.

    `NAME` stands for published weights of `network`, `NETWORK:NAME` for those of another network,
    and `hf-hub:owner/name[@revision]` for a hub repository. Anything else is the path of a file or
    a run directory, such as `./imagenet`.

    Raises UsageError if there is no such file or name, otherwise as `obtain_published` and
    `obtain_from_hub`.
    """
    if (name := hub.hub_name(weights)) is not None:
        from inceptcli.weights.fetched import hub_weights

        return hub_weights.obtain_from_hub(name)
    published = published_name(weights, network)
    if published is not None:
        return obtain_published(published)
    try:
        return resolve(Path(weights))
    except MissingFile as error:
        names = {published.shown for published in PUBLISHED} | {entry.name for entry in PUBLISHED}
        if similar := get_close_matches(weights, sorted(names), 1):
            raise MissingFile(f"{error}; did you mean {similar[0]}?") from error
        raise


def published_name(weights: str, network: str = WEIGHTS_NETWORK) -> Published | None:
    """Parse `NAME` (of `network`) or `NETWORK:NAME`; return None for a path.

    Raises UsageError if the network has no published weights with this name.
    """
    prefix, _, name = weights.rpartition(":")
    if name not in {published.name for published in PUBLISHED}:
        return None
    published = Published(name, prefix or network)
    if published in PUBLISHED:
        return published
    having = [other.network for other in PUBLISHED if other.name == name]
    layout = NETWORKS.get(published.network)
    released = None if layout is None else layout.released_as
    if released not in having:
        raise UsageError(
            f"{weights}: no such weights are published for {published.network}, "
            f"only for {', '.join(having)}"
        )
    raise UsageError(
        f"{weights}: no weights are published for {published.network}, the network as printed in "
        f"the paper, only for {released} ({NETWORKS[released].layout}); use {released}"
    )


def obtain_published(published: Published) -> Path:
    """Return the converted weights file; download and convert it on the first call.

    Several processes may call this function at once.

    Raises UserError if the weights cannot be downloaded or have the wrong hash, or if the cached
    file contains other weights.
    """
    kept = cache_folder() / f"{published.network}-{published.name}.safetensors"
    kept_metadata = None
    with suppress(UserError):  # missing, damaged, or written by another version of inceptcli
        kept_metadata = read_metadata(kept)
    if kept_metadata is not None:
        _check_kept(kept, kept_metadata, published)
        return kept
    logger.info(f"{published.name} for {published.network}: downloading {PUBLISHED[published]}")
    with kept_in_cache(kept):
        kept.parent.mkdir(parents=True, exist_ok=True)
    with Display().task("fetch", unit="MB") as task:
        downloaded, note = _download(published, kept, task)

    from inceptcli.weights.foreign.declared import Declared
    from inceptcli.weights.foreign.importing import convert
    from inceptcli.weights.imagenet_classes import imagenet_classes

    declared = Declared(
        f"timm's {note['repository']}",
        imagenet_classes(),
        vars(published_preprocessing(published.network)),
    )
    with kept_in_cache(kept):
        convert(downloaded, kept, declared=[declared], source_note=note)
    logger.info(f"{published.name} for {published.network}: converted to {kept}")
    return kept


@contextmanager
def kept_in_cache(file: Path) -> Iterator[None]:
    """Raise UserError if the block cannot write a file of the cache."""
    try:
        yield
    except OSError as error:
        place = f"{file.parent}: {error.strerror}"
        raise UserError(f"{place}; set HF_HOME to a writable folder with room") from error


def _check_kept(kept: Path, metadata: WeightsMetadata, published: Published) -> None:
    """Raise UserError if the cached file contains other weights."""
    from inceptcli.weights.imagenet_classes import imagenet_classes

    network, sha256 = metadata.network, metadata.source_sha256
    if network != network_options(published.network):
        found = f"its network is {network.name} with {network.num_classes} classes"
    elif metadata.classes != imagenet_classes():
        found = "its classes are not those of ImageNet"
    elif metadata.source.get("repository") != PUBLISHED[published]:
        found = f"it was not converted from {PUBLISHED[published]}"
    elif sha256 is None or sha256 != metadata.source.get("sha256"):
        found = "it was converted from another file than the hub's"
    else:
        return
    raise UserError(
        f"{kept}: not {published.name} for {published.network}: {found}; delete it to download it "
        "again"
    )


def _download(published: Published, kept: Path, task: Task) -> tuple[Path, dict[str, str]]:
    """Return the checked file in the hub's cache and its origin."""
    repository = PUBLISHED[published]
    try:
        found = hub.fetch(repository, hub.WEIGHTS, None, task)
    except hub.Unavailable as error:
        raise UserError(
            f"{published.name} for {published.network} {error}; use a local weights file, set a "
            f"mirror in HF_ENDPOINT (without HF_HUB_OFFLINE), or copy {kept} from another machine"
        ) from error
    note = {"repository": repository, "commit": found.commit, "sha256": found.sha256}
    return found.path, note
