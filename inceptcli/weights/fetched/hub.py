"""Files of the Hugging Face hub: fetched through its client, checked against its hashes. No torch.

The client is imported when a file is wanted: it takes 0.3 s.
"""

from __future__ import annotations

import hashlib
import logging
import re
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

from tqdm.std import tqdm

from inceptcli.errors import UsageError, UserError
from inceptcli.files.remote.hub import prepare
from inceptcli.progress.task import Task
from inceptcli.text import printable

logger = logging.getLogger(__name__)

WEIGHTS, CONFIG = "model.safetensors", "config.json"
"""What is fetched of a repository, and nothing else."""

PREFIX = "hf-hub:"
COMMIT = re.compile("[0-9a-f]{40}")
LARGEST_BYTES = 4 * 1024**3
"""Of a weights file; the largest network with 100,000 classes has a fifth of it."""

SMALL_BYTES = 64 * 1024**2
"""The hub keeps larger files by their sha256, smaller ones perhaps as git does."""

_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9_][\w.-]{0,95}", re.ASCII)
_REVISION = re.compile(r"\w[\w./-]{0,199}", re.ASCII)

_AGAIN = (408, 429)
"""HTTP errors of the client's kind that say nothing about the file."""


class HubName(NamedTuple):
    """A repository of the hub and what is meant of it: a branch, tag or commit; None is main."""

    repository: str
    revision: str | None = None

    def __str__(self) -> str:
        return f"{PREFIX}{self.repository}" + (f"@{self.revision}" if self.revision else "")


class Unavailable(Exception):  # noqa: N818 - it names what was met
    """A file cannot be had: the message says from where and why, `status` is of HTTP, if any."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class Absent(Unavailable):
    """A repository does not have the file."""


class Fetched(NamedTuple):
    """A file in the hub's cache, which has the hash that the hub states."""

    path: Path
    commit: str
    sha256: str


def hub_name(text: str) -> HubName | None:
    """The repository that `hf-hub:owner/name[@revision]` names; None for other text.

    Raises UsageError when it is not written so.
    """
    if not text.startswith(PREFIX):
        return None
    repository, at, revision = text.removeprefix(PREFIX).partition("@")
    if not _REPOSITORY.fullmatch(repository) or (at and not _REVISION.fullmatch(revision)):
        raise UsageError(
            f"{printable(text)}: must be {PREFIX}owner/name or {PREFIX}owner/name@revision"
        )
    return HubName(repository, revision or None)


def is_offline() -> bool:
    """Whether the client is told to ask nobody (HF_HUB_OFFLINE)."""
    prepare()
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def commit_of(name: HubName) -> str:
    """The commit that a name means now: 40 hexadecimal digits.

    Where the hub cannot be asked it is what the cache of its client has, with a notice unless
    HF_HUB_OFFLINE is set.

    Raises:
        Unavailable: the hub has no such weights, or neither it nor the cache can say.
        UserError: the weights are larger than any that are read.
    """
    prepare()
    from huggingface_hub import get_hf_file_metadata, hf_hub_url, try_to_load_from_cache

    try:
        url = hf_hub_url(name.repository, WEIGHTS, revision=name.revision)
        found = get_hf_file_metadata(url)
    except Exception as error:  # as in `fetch`
        problem = _unavailable(error, WEIGHTS)
        cached = try_to_load_from_cache(name.repository, WEIGHTS, revision=name.revision)
        status = problem.status
        is_answer = status is not None and 400 <= status < 500 and status not in _AGAIN
        if is_answer or not isinstance(cached, str):
            raise problem from error
        if not is_offline():
            logger.info(f"{name}: {problem}; taken from the cache of an earlier download")
        return Path(cached).parent.name
    if found.size is not None and found.size > LARGEST_BYTES:
        raise UserError(f"{name}: {WEIGHTS} has {found.size} bytes, over {LARGEST_BYTES}")
    if not COMMIT.fullmatch(commit := found.commit_hash or ""):
        raise Unavailable(f"cannot be had from {_endpoint()} (it names no commit)")
    return commit


def fetch(repository: str, name: str, revision: str | None, task: Task) -> Fetched:
    """A file of a repository, from the client's cache if it is there; `task` shows how far it is.

    Raises:
        Unavailable: it cannot be had; Absent where the repository does not have it.
        UserError: it is not the file whose hash the hub states; it is deleted.
    """
    prepare()
    from huggingface_hub import hf_hub_download

    try:
        bar = reporting_to(task)
        path = Path(hf_hub_download(repository, name, revision=revision, tqdm_class=bar))
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        intact = _is_the_hubs(path, sha256, repository, name)
    except Exception as error:  # the client, its HTTP library and its Rust part raise their own
        raise _unavailable(error, name) from error
    if not intact:
        for damaged in (path.resolve(), path):
            damaged.unlink(missing_ok=True)
        raise UserError(
            f"{repository}: {name} has not the sha256 that {_endpoint()} states, "
            f"got {sha256}; it is deleted, run again to fetch it anew"
        )
    return Fetched(path, path.parent.name, sha256)


def is_known_to_lack(repository: str, name: str, commit: str) -> bool:
    """Whether the cache has noted that this commit of a repository does not have a file."""
    prepare()
    from huggingface_hub import _CACHED_NO_EXIST, try_to_load_from_cache

    return try_to_load_from_cache(repository, name, revision=commit) is _CACHED_NO_EXIST


def _endpoint() -> str:
    from huggingface_hub import constants

    return constants.ENDPOINT


def _is_the_hubs(path: Path, sha256: str, repository: str, name: str) -> bool:
    """Whether the hub has a file of this hash under this name; its client compares only sizes.

    The cache names a file by the hub's hash (the etag) and links to it from the commit's folder;
    a cache without links does not keep the hash, so the hub is asked. Of small files the hash is
    git's.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    blobs = path.parents[2] / "blobs"
    if path.is_symlink():
        stated = path.readlink().name
    elif any((blobs / known).exists() for known in _hashes(path, sha256)):
        return True  # copied with its links followed
    else:
        url = hf_hub_url(repository, name, revision=path.parent.name)
        stated = get_hf_file_metadata(url).etag or ""
    return stated == (sha256 if len(stated) == len(sha256) else _git_hash(path))


def _hashes(path: Path, sha256: str) -> list[str]:
    return [sha256] + [_git_hash(path)] * (path.stat().st_size < SMALL_BYTES)


def _git_hash(path: Path) -> str:
    found = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(2**20):
            found.update(chunk)
    return found.hexdigest()


def _unavailable(error: Exception, name: str) -> Unavailable:
    """What to raise for what the client raised."""
    from huggingface_hub import errors

    if is_offline():
        problem = "cannot be had from the cache alone, and HF_HUB_OFFLINE is set"
        return Unavailable(problem)
    cause = error.__cause__ or error
    status = getattr(getattr(cause, "response", None), "status_code", None)
    for known in (error, cause):
        if isinstance(known, errors.RemoteEntryNotFoundError):
            return Absent(f"has no {name}", status)
        if isinstance(known, errors.RevisionNotFoundError):
            return Unavailable("has no such revision", status)
    # One line of it: the client writes paragraphs.
    first = (str(cause).splitlines() or [type(cause).__name__])[0]
    reason = first if status is None else f"HTTP {status}"
    return Unavailable(f"cannot be had from {_endpoint()} ({reason})", status)


MEGABYTE = 1e6


def reporting_to(task: Task) -> type[Any]:
    """A tqdm class that prints nothing and tells `task` the megabytes."""
    shown: list[Any] = []

    class Reporting(tqdm):  # type: ignore[misc]  # untyped
        """Of several bars for one file the first one counts."""

        def __init__(self, *arguments: Any, **options: Any) -> None:
            shown.append(self)
            super().__init__(*arguments, **{**options, "file": StringIO(), "disable": False})

        def display(self, msg: str | None = None, pos: int | None = None) -> None:
            if shown[0] is self:
                task.reach(self.n / MEGABYTE, self.total and self.total / MEGABYTE)

    return Reporting
