"""Local copies of remote files: downloaded once, validated, and usable offline."""

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
from inceptcli.files.regular_file import sha256_of
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
    """Return an up-to-date local copy of a remote file of at most `most` bytes.

    An existing copy is compared with the server's file by its validator (ETag). If the server
    cannot be reached, the existing copy is used, with a warning.

    Raises:
        FetchError: the file is unavailable or too large; the message is only the reason.
        UserError: the copy cannot be written.
    """
    if address.scheme == "hf":
        from inceptcli.files.remote.hub import hub_copy

        return hub_copy(address, most)
    folder = cache_folder() / "remote" / hashlib.sha256(address.text.encode()).hexdigest()[:32]
    name = re.sub(r"[^\w.-]|^\.", "_", address.name, flags=re.ASCII)  # one byte per character
    kept = folder / (name[-100:] or "file")
    with locked(folder) as alone:
        known = _validator(kept)
        try:
            fetch_into(address, kept, most, known, alone=alone)
        except FetchError as error:
            if known is None or error.is_answer or error.is_broken:
                raise
            logger.warning(f"{address}: {error}; using an earlier copy")
    return kept


@contextmanager
def locked(folder: Path) -> Iterator[bool]:
    """Lock a cache folder for this process; create the folder if needed.

    Yields False on a file system without locks, where several processes may write.

    Raises UserError for errors of the file system.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / ".lock").open("a") as file:
            yield lock(file, wait=True)
    except OSError as error:
        raise UserError(
            f"{folder}: cannot be written: {error.strerror or error}; set HF_HOME "
            "to a writable folder with free space"
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
    """Download a file, or resume its download, unless it has the validator `known`.

    The bytes of an interrupted download are kept in a hidden file next to `kept`, with the server's
    validator. If the validator is strong and unchanged, the next attempt or process requests only
    the rest; otherwise the download restarts. A process that is not `alone` in the folder uses its
    own hidden file and removes it.

    Raises:
        FetchError: the file is unavailable, has more than `most` bytes or another `sha256`; the
            message is only the reason.
        OSError: the file cannot be written.
    """
    own = "" if alone else f".{os.urandom(4).hex()}"
    part = kept.with_name(f".{kept.name}{own}.part")
    try:
        validator = _download(address, part, most, known)
        if part.exists():  # otherwise it is unchanged
            _keep(part, kept, validator, sha256)
    finally:
        if own:
            _discard(part)


def _download(address: Address, part: Path, most: int | None, known: str | None) -> str | None:
    """Download to `part`, unless the file has the validator `known`; return the validator."""
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
    raise AssertionError("a transport makes no attempts")


def _keep(part: Path, kept: Path, validator: str | None, sha256: str | None) -> None:
    if sha256 is not None and (digest := sha256_of(part)) != sha256:
        _discard(part)
        raise FetchError(f"sha256 differs from its index, got {digest}")
    size = part.stat().st_size
    with part.open("rb") as file:
        sync(file.fileno())
    part.replace(kept)
    _note(kept).unlink(missing_ok=True)
    _discard(part)
    if validator:
        with replacing(_note(kept)) as temporary:
            temporary.write_text(json.dumps({"size": size, "validator": validator}))


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
            raise  # an error of the disk
        reason = str(getattr(error, "strerror", "") or error) or type(error).__name__
        problem = FetchError(printable(reason), is_answer=False)
        problem.is_broken = reply is not None
        raise problem from error
    except ValueError as error:  # a host name, here or in a redirect, that cannot exist
        raise FetchError(f"invalid address: {error}") from error


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
    """Return the state of an interrupted download, if it can be resumed."""
    try:
        validator = json.loads(_note(part).read_text())["validator"]
        size = part.stat().st_size
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return Begun(size, validator) if size and isinstance(validator, str) else None


def _validator(kept: Path) -> str | None:
    """Return the validator of a copy, if the copy has its original size."""
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
