"""Local copies of remote files: fetched once, checked, and found again without the network."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path

from inceptcli.errors import UserError
from inceptcli.files.atomic_file import replacing, sync
from inceptcli.files.cache_folder import cache_folder
from inceptcli.files.file_lock import lock
from inceptcli.files.remote.address import Address
from inceptcli.files.remote.transport import (
    Begun,
    FetchError,
    PartRefusedError,
    Reply,
    Transport,
)
from inceptcli.text import printable

logger = logging.getLogger(__name__)


def local_copy(address: Address, most: int) -> Path:
    """Return a copy of a remote file of at most `most` bytes, the same as the server has it now.

    A copy that is there is compared with the server's file by its validator (ETag), and is taken
    as it is, with a notice, when the server cannot be asked.

    Raises:
        FetchError: the file cannot be had, or is too large; the message is the reason only.
        UserError: the copy cannot be written.
    """
    if address.scheme == "hf":
        from inceptcli.files.remote.hub import hub_copy

        return hub_copy(address, most)
    folder = cache_folder() / "remote" / hashlib.sha256(address.text.encode()).hexdigest()[:32]
    kept = folder / (re.sub(r"[^\w.-]|^\.", "_", address.name)[-100:] or "file")
    with locked(folder) as alone:
        known = _validator(kept)
        try:
            fetch_into(address, kept, most, known, alone=alone)
        except FetchError as error:
            if known is None or error.is_answer or error.is_broken:
                raise
            logger.warning(f"{address}: {printable(str(error))}; an earlier copy is taken")
    return kept


@contextmanager
def locked(folder: Path) -> Iterator[bool]:
    """Let one process at a time write into a folder of the cache, which is made if need be.

    Yields False on a file system without locks, where several may.

    Raises UserError for what the file system refuses.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / ".lock").open("a") as file:
            yield lock(file, wait=True)
    except OSError as error:
        raise UserError(
            f"{printable(str(folder))}: cannot be kept: {error.strerror or error}; set HF_HOME to "
            "a folder with room"
        ) from error


def fetch_into(
    address: Address,
    kept: Path,
    most: int | None = None,
    known: str | None = None,
    sha256: str | None = None,
    *,
    alone: bool = True,
) -> None:
    """Fetch a file whole, unless it has the validator `known`; what broke off before goes on.

    The bytes of a download that breaks stay in a hidden file beside `kept`, with the server's
    validator: when that is strong and the same, the next attempt or process asks for the rest, else
    it starts anew. A process that is not `alone` in the folder writes, and removes, its own file.

    Raises:
        FetchError: it cannot be had, has more than `most` bytes or not that `sha256`; the message
            is the reason only.
        OSError: it cannot be written.
    """
    own = "" if alone else f".{os.urandom(4).hex()}"
    part = kept.with_name(f".{kept.name}{own}.part")
    try:
        validator = _download(address, part, most, known)
        if part.exists():  # or it is as known
            _keep(part, kept, validator, sha256)
    finally:
        if own:
            _discard(part)


def _download(address: Address, part: Path, most: int | None, known: str | None) -> str | None:
    """Have all bytes in `part`, or none where the file is as `known`; returns the validator."""
    transport = _transport(address.scheme)
    for attempt in range(1, transport.attempts + 1):
        if attempt > 1:
            time.sleep(attempt)
        try:
            return _attempt(transport, address, part, most, known)
        except FetchError as error:
            is_copied = known is not None and not error.is_broken
            if error.is_answer or is_copied or attempt == transport.attempts:
                raise
    raise AssertionError("a transport attempts nothing")


def _keep(part: Path, kept: Path, validator: str | None, sha256: str | None) -> None:
    if sha256 is not None and (digest := sha256_of(part)) != sha256:
        _discard(part)
        raise FetchError(f"has not the sha256 that its index states, got {digest}")
    size = part.stat().st_size
    with part.open("rb") as file:
        sync(file.fileno())
    part.replace(kept)
    _note(kept).unlink(missing_ok=True)
    _discard(part)
    if validator:
        with replacing(_note(kept)) as temporary:
            temporary.write_text(json.dumps({"size": size, "validator": validator}))


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's bytes in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _attempt(
    transport: Transport, address: Address, part: Path, most: int | None, known: str | None
) -> str | None:
    reply = None
    try:
        with transport.open(address, _begun(part), known) as reply:
            if reply is None:
                _discard(part)
                return known
            _store(reply, part, most)
            return reply.validator
    except PartRefusedError as error:
        _discard(part)
        error.is_broken = True
        raise
    except FetchError as error:
        error.is_broken = reply is not None
        raise
    except (OSError, HTTPException) as error:
        if isinstance(error, OSError) and error.filename is not None:
            raise  # the disk's
        reason = str(getattr(error, "strerror", "") or error) or type(error).__name__
        problem = FetchError(printable(reason), is_answer=False)
        problem.is_broken = reply is not None
        raise problem from error


def _store(reply: Reply, part: Path, most: int | None) -> None:
    if most is not None and (reply.size or 0) > most:
        raise FetchError(f"{reply.size} bytes, over the limit of {most}")
    note = _note(part)
    if not reply.start:
        _discard(part)
    with part.open("ab") as file:
        if reply.can_go_on:
            note.write_text(json.dumps({"validator": reply.validator}))
        done = reply.start
        for chunk in reply.chunks:
            done += len(chunk)
            if most is not None and done > most:
                _discard(part)
                raise FetchError(f"more than {most} bytes")
            try:
                file.write(chunk)
                file.flush()
            except OSError as error:
                error.filename = str(part)
                raise
    if reply.size is not None and done != reply.size:
        if done > reply.size:
            _discard(part)
        raise FetchError(
            f"the connection ended after {done} of {reply.size} bytes", is_answer=False
        )


def _begun(part: Path) -> Begun | None:
    """What an earlier download left, if it can go on."""
    try:
        validator = json.loads(_note(part).read_text())["validator"]
        size = part.stat().st_size
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return Begun(size, validator) if size and isinstance(validator, str) else None


def _validator(kept: Path) -> str | None:
    """The validator of a copy that has the size that it had when it was written."""
    try:
        note = json.loads(_note(kept).read_text())
        whole = note["size"] == kept.stat().st_size
        return str(note["validator"]) if whole else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _note(path: Path) -> Path:
    return path.with_name(f".{path.name.removeprefix('.')}.note")


def _discard(part: Path) -> None:
    part.unlink(missing_ok=True)
    _note(part).unlink(missing_ok=True)


def _transport(scheme: str) -> Transport:
    if scheme == "https":
        from inceptcli.files.remote.https import Https  # which loads OpenSSL

        return Https()
    from inceptcli.files.remote.object_store import ObjectStore

    return ObjectStore()
