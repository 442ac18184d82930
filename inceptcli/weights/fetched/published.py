"""Weights by name: published ones, and any of the hub, fetched, checked and kept. No torch.

A name such as `imagenet` stands for a file in one of timm's repositories on the Hugging Face hub.
It is converted once into our file, below `inceptcli` in the hub's home folder; from then on neither
the network nor the hub's client is needed.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from pathlib import Path

from inceptcli.data.pixels.preprocessing import Preprocessing
from inceptcli.errors import UsageError, UserError
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
    """How images are cut for the published weights of `network`; the defaults where it has none."""
    tables = (timm_keys.INCEPTION_V4, timm_keys.INCEPTION_RESNET_V2)
    known = {table.network: table.preprocessing for table in tables}
    return known.get(network, Preprocessing((299, 299)))


def find_weights(weights: str, network: str = WEIGHTS_NETWORK) -> Path:
    """Our weights file that `weights` means, fetched when it is a name.

    A published `NAME` is of `network`, `NETWORK:NAME` of that one; `hf-hub:owner/name[@revision]`
    is a repository of the hub. All else is a file or a run directory, such as `./imagenet`.

    Raises UsageError when there is no such file or name, and what `obtain_published`
    and `obtain_from_hub` raise.
    """
    if (name := hub.hub_name(weights)) is not None:
        from inceptcli.weights.fetched import hub_weights

        return hub_weights.obtain_from_hub(name)
    published = published_name(weights, network)
    return resolve(Path(weights)) if published is None else obtain_published(published)


def published_name(weights: str, network: str = WEIGHTS_NETWORK) -> Published | None:
    """What `weights` names, of `network` unless it says `NETWORK:NAME`; None for a path.

    Raises UsageError when that network has no published weights of this name.
    """
    prefix, _, name = weights.rpartition(":")
    if name not in {published.name for published in PUBLISHED}:
        return None
    published = Published(name, prefix or network)
    if published in PUBLISHED:
        return published
    having = [other.network for other in PUBLISHED if other.name == name]
    layout = NETWORKS.get(published.network)
    meant = None if layout is None else layout.released_as
    if meant not in having:
        raise UsageError(
            f"{weights}: no such weights are published for {published.network}; "
            f"networks that have them: {', '.join(having)}"
        )
    raise UsageError(
        f"{weights}: no weights are published for {published.network}, the network as the paper "
        f"prints it; they fit {meant} only, the layout {NETWORKS[meant].layout}; use {meant}"
    )


def obtain_published(published: Published) -> Path:
    """Our file of these weights; the first call downloads and converts, later ones only look.

    Several processes may call at once.

    Raises UserError when they cannot be had, are not what the hub says they are, or when the file
    kept under this name is of other weights.
    """
    kept = cache_folder() / f"{published.network}-{published.name}.safetensors"
    kept_metadata = None
    with suppress(UserError):  # not there yet, damaged, or of another version of this program
        kept_metadata = read_metadata(kept)
    if kept_metadata is not None:
        _check_kept(kept, kept_metadata, published)
        return kept
    logger.info(f"{published.name} for {published.network}: fetching {PUBLISHED[published]}")
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        place = f"{kept.parent}: {error.strerror}"
        raise UserError(f"{place}; set HF_HOME to a folder that can be written") from error
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
    convert(downloaded, kept, declared=[declared], source_note=note)
    logger.info(f"{published.name} for {published.network}: converted to {kept}")
    return kept


def _check_kept(kept: Path, metadata: WeightsMetadata, published: Published) -> None:
    """UserError when the file that is kept under this name is of other weights."""
    from inceptcli.weights.imagenet_classes import imagenet_classes

    network, sha256 = metadata.network, metadata.source_sha256
    if network != network_options(published.network):
        found = f"it is of {network.name} with {network.num_classes} classes"
    elif metadata.classes != imagenet_classes():
        found = "its classes are not those of ImageNet"
    elif metadata.source.get("repository") != PUBLISHED[published]:
        found = f"it was not converted from {PUBLISHED[published]}"
    elif sha256 is None or sha256 != metadata.source.get("sha256"):
        found = "it was converted from another file than the hub's"
    else:
        return
    raise UserError(
        f"{kept}: not {published.name} for {published.network}: {found}; remove it, and it is "
        "fetched again"
    )


def _download(published: Published, kept: Path, task: Task) -> tuple[Path, dict[str, str]]:
    """The checked file in the hub's cache, and where it comes from."""
    repository = PUBLISHED[published]
    try:
        found = hub.fetch(repository, hub.WEIGHTS, None, task)
    except hub.Unavailable as error:
        raise UserError(
            f"{published.name} for {published.network} {error}; give a local weights file, or a "
            f"mirror in HF_ENDPOINT (without HF_HUB_OFFLINE), or copy {kept} from another machine"
        ) from error
    note = {"repository": repository, "commit": found.commit, "sha256": found.sha256}
    return found.path, note
