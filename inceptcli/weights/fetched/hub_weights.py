"""Weights of any repository of the Hugging Face hub whose layout is known. No torch until then.

A repository is converted once into our file, kept by its commit below `inceptcli/hub` in the hub's
home folder. It has model.safetensors, of another library with what its config.json says, or ours.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from safetensors import safe_open

from inceptcli.errors import UserError
from inceptcli.files.cache_folder import cache_folder
from inceptcli.progress.display import Display
from inceptcli.progress.task import Task
from inceptcli.weights.fetched import hub
from inceptcli.weights.fetched.hub import COMMIT, CONFIG, WEIGHTS, Absent, HubName, Unavailable
from inceptcli.weights.file import (
    AUXILIARY_HEAD,
    load_auxiliary_head,
    load_network,
    read_metadata,
    save,
)
from inceptcli.weights.foreign.declared import Declared, declared_in

logger = logging.getLogger(__name__)

OURS = "a weights file of inceptcli"
"""The family of a file that is not converted."""


class Repository(NamedTuple):
    """What was fetched: the weights file in the hub's cache, what describes it, where it is from.

    `note` has repository, revision, commit and sha256.
    """

    weights: Path
    declared: list[Declared]
    note: dict[str, str]


def obtain_from_hub(name: HubName) -> Path:
    """Our file of these weights; the first call downloads and converts, later ones only look.

    A branch or tag is asked for at each call, which needs the network or the client's cache; a
    commit that is kept is not. Several processes may call at once.

    Raises UserError when they cannot be had, are not what the hub says they are or are of no known
    layout, or when the file kept under this name is of other weights.
    """
    if name.revision and COMMIT.fullmatch(name.revision) and _is_kept(name, name.revision):
        return _place(name, name.revision)
    commit = _commit(name)
    kept = _place(name, commit)
    if _is_kept(name, commit):
        logger.info(f"{name}: commit {commit}")
        return kept
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        place = f"{kept.parent}: {error.strerror}"
        raise UserError(f"{place}; set HF_HOME to a folder that can be written") from error
    logger.info(f"{name}: fetching commit {commit}")
    found = _fetched(name, commit)
    if _is_ours(found.weights):
        _keep_ours(name, found, kept)
    else:
        _convert(name, found, kept)
    logger.info(f"{name}: kept as {kept}")
    return kept


def fetched(name: HubName) -> Repository:
    """A repository's files as they are, for `import`; raises as `obtain_from_hub`."""
    commit = _commit(name)
    logger.info(f"{name}: commit {commit}")
    return _fetched(name, commit)


def _place(name: HubName, commit: str) -> Path:
    folder = name.repository.replace("/", "--")
    return cache_folder() / "hub" / folder / f"{commit}.safetensors"


def _is_kept(name: HubName, commit: str) -> bool:
    """Whether our file is there; UserError when it is of other weights."""
    kept = _place(name, commit)
    metadata = None
    with suppress(UserError):  # not there yet, damaged, or of another version of this program
        metadata = read_metadata(kept)
    if metadata is None:
        return False
    source, sha256 = metadata.source, metadata.source_sha256
    if (source.get("repository"), source.get("commit")) != (name.repository, commit):
        found = f"it is not of commit {commit} of {name.repository}"
    elif sha256 is None or sha256 != source.get("sha256"):
        found = "it was made of another file than the hub's"
    else:
        return True
    raise UserError(f"{kept}: not {name}: {found}; remove it, and it is fetched again")


def _commit(name: HubName) -> str:
    try:
        return hub.commit_of(name)
    except Unavailable as error:
        raise _error(name, error) from error


def _fetched(name: HubName, commit: str) -> Repository:
    try:
        with Display().task("fetch", unit="MB") as task:
            declared, unknown = _config(name, commit, task)
            # By its branch, so that the client's cache knows the branch's commit offline.
            weights = hub.fetch(name.repository, WEIGHTS, name.revision, task)
        if weights.commit != commit:
            raise UserError(f"{name}: has changed while it was fetched; run again")
        if unknown is not None and not _is_ours(weights.path):
            raise unknown
    except Unavailable as error:
        raise _error(name, error) from error
    note = {
        "repository": name.repository, "revision": name.revision or "main",
        "commit": commit, "sha256": weights.sha256,
    }  # fmt: skip
    return Repository(weights.path, declared, note)


def _config(name: HubName, commit: str, task: Task) -> tuple[list[Declared], Unavailable | None]:
    """What config.json says, before the weights are fetched: they may be of another network.

    With it, why nobody knows whether there is one: a cache may lack it, and our files need none.

    Raises UserError when the network is another.
    """
    from inceptcli.weights.exporting import TIMM

    if hub.is_known_to_lack(name.repository, CONFIG, commit):
        return [], None
    try:
        config = hub.fetch(name.repository, CONFIG, commit, task)
    except Absent:
        return [], None
    except Unavailable as error:
        return [], error
    declared = declared_in(config.path, f"{CONFIG} of {name.repository}")
    if declared is None:
        return [], None
    *known, last = (architecture for architecture, _ in TIMM.values())
    if declared.architecture is not None and declared.architecture not in (*known, last):
        raise UserError(
            f"{name}: its {CONFIG} says {declared.architecture}, which is no network of this "
            f"program; of timm's, {', '.join(known)} and {last} are"
        )
    return [declared], None


def _is_ours(weights: Path) -> bool:
    try:
        with safe_open(weights, framework="np") as file:
            return "inceptcli" in (file.metadata() or {})
    except Exception:  # said by whoever reads it
        return False


def _keep_ours(name: HubName, found: Repository, kept: Path) -> None:
    try:
        network, metadata = load_network(found.weights)
        head = load_auxiliary_head(found.weights)
    except UserError as error:
        raise UserError(f"{name}: {error}") from error
    tensors = network.state_dict() | {f"{AUXILIARY_HEAD}{key}": head[key] for key in head}
    source = {"family": OURS, **metadata.source, **found.note}
    sha256 = found.note["sha256"]
    save(kept, tensors, replace(metadata, source=source, source_sha256=sha256))


def _convert(name: HubName, found: Repository, kept: Path) -> None:
    from inceptcli.weights.foreign.importing import convert

    try:
        report = convert(found.weights, kept, declared=found.declared, source_note=found.note)
    except UserError as error:
        raise UserError(f"{name}: {error}") from error
    for remark in report.remarks:
        logger.info(f"{name}: {remark}")


def _error(name: HubName, error: Unavailable) -> UserError:
    """One line, with what may be done about it."""
    if isinstance(error, Absent):
        advice = f"only {WEIGHTS} is fetched; download what it has and give it to inceptcli import"
    elif error.status in (401, 403):
        advice = "where it is private or gated, `hf auth login` or HF_TOKEN gives access"
    elif error.status is not None:
        advice = "look at its page for the names of its revisions and files"
    else:
        advice = (
            "give a local weights file, or a mirror in HF_ENDPOINT (without HF_HUB_OFFLINE), or "
            "copy the hub's cache from another machine"
        )
    return UserError(f"{name} {error}; {advice}")
