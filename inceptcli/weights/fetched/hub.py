"""Downloads from the Hugging Face Hub through its client, with checked hashes. No torch.

The client is imported on first use, since that takes 0.3 s.
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
from inceptcli.files.regular_file import sha256_of
from inceptcli.files.remote.hub import prepare
from inceptcli.progress.task import Task

logger = logging.getLogger(__name__)

WEIGHTS, CONFIG = "model.safetensors", "config.json"
"""The only files downloaded from a repository."""

PREFIX = "hf-hub:"
COMMIT = re.compile("[0-9a-f]{40}")
LARGEST_BYTES = 4 * 1024**3
"""Size limit of a weights file; the largest network with 100,000 classes has a fifth of it."""

SMALL_BYTES = 64 * 1024**2
"""The hub identifies larger files by SHA-256, smaller files possibly by git's hash."""

_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9_][\w.-]{0,95}", re.ASCII)
_REVISION = re.compile(r"\w[\w./-]{0,199}", re.ASCII)

_AGAIN = (408, 429)
"""HTTP 4xx status codes that do not concern the file itself."""


class HubName(NamedTuple):
    """A hub repository and its revision: a branch, tag or commit; None stands for main."""

    repository: str
    revision: str | None = None

    def __str__(self) -> str:
        return f"{PREFIX}{self.repository}" + (f"@{self.revision}" if self.revision else "")


class Unavailable(Exception):  # noqa: N818 - named after the condition
    """A file cannot be downloaded; the message gives the reason, `status` any HTTP status."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class Absent(Unavailable):
    """The repository does not have the file."""


class Fetched(NamedTuple):
    """A file in the hub's cache with the hash stated by the hub."""

    path: Path
    commit: str
    sha256: str


def hub_name(text: str) -> HubName | None:
    """Parse `hf-hub:owner/name[@revision]`; return None for text without this prefix.

    Raises UsageError if the rest is malformed.
    """
    if not text.startswith(PREFIX):
        return None
    repository, at, revision = text.removeprefix(PREFIX).partition("@")
    if not _REPOSITORY.fullmatch(repository) or (at and not _REVISION.fullmatch(revision)):
        raise UsageError(f"{text}: must be {PREFIX}owner/name or {PREFIX}owner/name@revision")
    return HubName(repository, revision or None)


def is_offline() -> bool:
    """Return whether the client may not use the network (HF_HUB_OFFLINE)."""
    prepare()
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def commit_of(name: HubName) -> str:
    """Return the current commit of a name: 40 hexadecimal digits.

    If the hub cannot be reached, the commit comes from its client's cache, with a notice unless
    HF_HUB_OFFLINE is set.

    Raises:
        Unavailable: the hub does not have the weights, or neither the hub nor the cache knows the
            commit.
        UserError: the weights file is larger than LARGEST_BYTES.
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
            logger.info(f"{name}: {problem}; using the cached earlier download")
        return Path(cached).parent.name
    if found.size is not None and found.size > LARGEST_BYTES:
        raise UserError(f"{name}: {WEIGHTS} has {found.size} bytes, over {LARGEST_BYTES}")
    if not COMMIT.fullmatch(commit := found.commit_hash or ""):
        raise Unavailable(f"cannot be downloaded from {_endpoint()} (it names no commit)")
    return commit


def fetch(repository: str, name: str, revision: str | None, task: Task) -> Fetched:
    """Download a file of a repository unless it is cached; `task` shows the progress.

    Raises:
        Unavailable: the download fails; Absent if the repository does not have the file.
        UserError: the file does not have the hash stated by the hub; it is deleted.
    """
    prepare()
    from huggingface_hub import hf_hub_download

    try:
        bar = reporting_to(task)
        path = Path(hf_hub_download(repository, name, revision=revision, tqdm_class=bar))
        sha256 = sha256_of(path)
        intact = _is_the_hubs(path, sha256, repository, name)
    except Exception as error:  # the client, its HTTP library and its Rust code raise many types
        raise _unavailable(error, name) from error
    if not intact:
        for damaged in (path.resolve(), path):
            damaged.unlink(missing_ok=True)
        raise UserError(
            f"{repository}: {name} does not have the sha256 that {_endpoint()} states, "
            f"got {sha256}; the file is deleted, run again to download it"
        )
    return Fetched(path, path.parent.name, sha256)


def is_known_to_lack(repository: str, name: str, commit: str) -> bool:
    """Return whether the cache records that this commit does not have the file."""
    prepare()
    from huggingface_hub import _CACHED_NO_EXIST, try_to_load_from_cache

    return try_to_load_from_cache(repository, name, revision=commit) is _CACHED_NO_EXIST


def _endpoint() -> str:
    from huggingface_hub import constants

    return constants.ENDPOINT


def _is_the_hubs(path: Path, sha256: str, repository: str, name: str) -> bool:
    """Return whether the file has the hash stated by the hub; its client compares only sizes.

    The cache names files by the hub's hash (the etag) and links to them from the commit's folder. A
    cache without links does not store the hash, so it is requested from the hub. For small files it
    may be git's hash.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    blobs = path.parents[2] / "blobs"
    if path.is_symlink():
        stated = path.readlink().name
    elif any((blobs / known).exists() for known in _hashes(path, sha256)):
        return True  # the cache was copied with its links resolved
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
    """Convert an exception of the client to Unavailable."""
    from huggingface_hub import errors

    if is_offline():
        problem = "is not in the cache, and HF_HUB_OFFLINE is set"
        return Unavailable(problem)
    cause = error.__cause__ or error
    status = getattr(getattr(cause, "response", None), "status_code", None)
    for known in (error, cause):
        if isinstance(known, errors.RemoteEntryNotFoundError):
            return Absent(f"has no {name}", status)
        if isinstance(known, errors.RevisionNotFoundError):
            return Unavailable("has no such revision", status)
    # The client's messages have several paragraphs; keep the first line.
    first = (str(cause).splitlines() or [type(cause).__name__])[0]
    reason = first if status is None else f"HTTP {status}"
    return Unavailable(f"cannot be downloaded from {_endpoint()} ({reason})", status)


MEGABYTE = 1e6


def reporting_to(task: Task) -> type[Any]:
    """Return a tqdm class that reports megabytes to `task` and prints nothing."""
    shown: list[Any] = []

    class Reporting(tqdm):  # type: ignore[misc]  # untyped
        """Progress bar; if the client opens several for one file, only the first reports."""

        def __init__(self, *arguments: Any, **options: Any) -> None:
            shown.append(self)
            super().__init__(*arguments, **{**options, "file": StringIO(), "disable": False})

        def display(self, msg: str | None = None, pos: int | None = None) -> None:
            if shown[0] is self:
                task.reach(self.n / MEGABYTE, self.total and self.total / MEGABYTE)

    return Reporting
