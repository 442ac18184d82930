"""Weights from Hugging Face Hub repositories with a known layout. Imports torch only to convert.

A repository's model.safetensors may be our weights file, or another library's, described by
config.json. It is converted once and cached by commit in `inceptcli/hub` in the hub's home folder.
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
from inceptcli.weights.fetched.published import kept_in_cache
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
"""Family of weights files that need no conversion."""


class Repository(NamedTuple):
    """A downloaded repository: weights file in the hub's cache, its description and origin.

    `note` has the keys repository, revision, commit and sha256.
    """

    weights: Path
    declared: list[Declared]
    note: dict[str, str]


def obtain_from_hub(name: HubName) -> Path:
    """Return the converted weights file; download and convert it on the first call.

    A branch or tag is resolved on each call, from the network or the client's cache. A cached
    commit needs neither. Several processes may call this function at once.

    Raises UserError if the weights cannot be downloaded, have the wrong hash or an unknown layout,
    or if the cached file contains other weights.
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
        raise UserError(f"{place}; set HF_HOME to a writable folder") from error
    logger.info(f"{name}: downloading commit {commit}")
    found = _fetched(name, commit)
    if _is_ours(found.weights):
        _keep_ours(name, found, kept)
    else:
        _convert(name, found, kept)
    logger.info(f"{name}: saved as {kept}")
    return kept


def fetched(name: HubName) -> Repository:
    """Download a repository's files unconverted, for `import`; raises as `obtain_from_hub`."""
    commit = _commit(name)
    logger.info(f"{name}: commit {commit}")
    return _fetched(name, commit)


def _place(name: HubName, commit: str) -> Path:
    folder = name.repository.replace("/", "--")
    return cache_folder() / "hub" / folder / f"{commit}.safetensors"


def _is_kept(name: HubName, commit: str) -> bool:
    """Return whether the converted file is cached; raise UserError if it has other weights."""
    kept = _place(name, commit)
    metadata = None
    with suppress(UserError):  # missing, damaged, or written by another version of inceptcli
        metadata = read_metadata(kept)
    if metadata is None:
        return False
    source, sha256 = metadata.source, metadata.source_sha256
    if (source.get("repository"), source.get("commit")) != (name.repository, commit):
        found = f"it was not converted from commit {commit} of {name.repository}"
    elif sha256 is None or sha256 != source.get("sha256"):
        found = "it was converted from another file than the hub's"
    else:
        return True
    raise UserError(f"{kept}: not {name}: {found}; delete it to download it again")


def _commit(name: HubName) -> str:
    try:
        return hub.commit_of(name)
    except Unavailable as error:
        raise _error(name, error) from error


def _fetched(name: HubName, commit: str) -> Repository:
    try:
        with Display().task("fetch", unit="MB") as task:
            declared, unknown = _config(name, commit, task)
            # Requested by branch, so that the client's cache can resolve the branch offline.
            weights = hub.fetch(name.repository, WEIGHTS, name.revision, task)
        if weights.commit != commit:
            raise UserError(f"{name}: changed during the download; run again")
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
    """Read config.json before downloading the weights, to detect unsupported networks early.

    Also return the reason if it is unknown whether config.json exists: an offline cache may lack
    it, and our weights files do not need it.

    Raises UserError for an unsupported network.
    """
    from inceptcli.weights.timm_export import TIMM

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
            f"{name}: its {CONFIG} states {declared.architecture}, which is not supported; "
            f"supported networks of timm: {', '.join(known)} and {last}"
        )
    return [declared], None


def _is_ours(weights: Path) -> bool:
    try:
        with safe_open(weights, framework="np") as file:
            return "inceptcli" in (file.metadata() or {})
    except Exception:  # reported when the file is read
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
    with kept_in_cache(kept):
        save(kept, tensors, replace(metadata, source=source, source_sha256=sha256))


def _convert(name: HubName, found: Repository, kept: Path) -> None:
    from inceptcli.weights.foreign.importing import convert

    try:
        with kept_in_cache(kept):
            report = convert(found.weights, kept, declared=found.declared, source_note=found.note)
    except UserError as error:
        raise UserError(f"{name}: {error}") from error
    for remark in report.remarks:
        logger.info(f"{name}: {remark}")


def _error(name: HubName, error: Unavailable) -> UserError:
    """Return a one-line error with a remedy."""
    if isinstance(error, Absent):
        advice = f"only {WEIGHTS} is supported; download another file and use inceptcli import"
    elif error.status in (401, 403):
        advice = "if it is private or gated, log in with `hf auth login` or set HF_TOKEN"
    elif error.status is not None:
        advice = "check the names of its revisions and files on its page"
    else:
        advice = (
            "use a local weights file, set a mirror in HF_ENDPOINT (without HF_HUB_OFFLINE), or "
            "copy the hub's cache from another machine"
        )
    return UserError(f"{name} {error}; {advice}")
