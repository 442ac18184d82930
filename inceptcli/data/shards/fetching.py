"""Shards at https addresses: fetched once, whole, by this process itself. No torch."""

from __future__ import annotations

import hashlib
import json
import logging
import re
import time
from collections.abc import Iterator, Sequence
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib import request
from urllib.error import HTTPError, URLError

from inceptcli.errors import UsageError, UserError
from inceptcli.files.atomic_file import replacing
from inceptcli.files.cache_folder import cache_folder
from inceptcli.files.file_lock import lock
from inceptcli.text import printable

logger = logging.getLogger(__name__)

TIMEOUT = 60.0
"""Seconds without an answer."""

ATTEMPTS = 3
ABSENT = {403, 404, 410}
"""What a server says of a file that it does not have; object stores say 403."""

CHUNK = 1024**2
MAXIMUM_SIDE_FILE = 64 * 1024**2
"""Bytes of an index or a list of classes: a thousand samples take about 100 kB."""

ADDRESS = re.compile(r"(https://[^/?#*\[\]]+(?:/[^?#*\[\]]*)?/)([^/?#*\[\].][^/?#*\[\]]*\.tar)")


class _HttpsAlone(request.HTTPRedirectHandler):
    def redirect_request(
        self, req: request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> request.Request | None:
        if not newurl.startswith("https://"):
            raise URLError("it leads to an address without https")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def fetch_shards(addresses: Sequence[str]) -> list[Path]:
    """The shards' copies in the cache, beside them their indices and lists of classes.

    What is not there is fetched, with a notice. A copy that is there is taken as it is,
    without the network. Several processes may call at once.

    Raises:
        UsageError: an address is not that of one .tar file.
        UserError: a shard cannot be had or kept, or is not what its index says.
    """
    places = []
    for address in addresses:
        parts = ADDRESS.fullmatch(address)
        if parts is None:
            raise UsageError(
                f"--data {printable(address)}: an address must be that of a .tar file, without a "
                "pattern or a query; a range such as {000000..000006} gives several"
            )
        places.append((address, parts[1], parts[2]))
    return [_kept(address, folder, name) for address, folder, name in places]


def _kept(address: str, folder: str, name: str) -> Path:
    kept = cache_folder() / "shards" / hashlib.sha256(folder.encode()).hexdigest()[:16] / name
    if kept.is_file():
        return kept
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        with (kept.parent / ".lock").open("a") as file:
            alone = lock(file, wait=True)
            if not kept.is_file():
                for abandoned in kept.parent.glob(".*.partial") if alone else ():
                    abandoned.unlink()  # of a process that was killed
                logger.info(f"fetching {address} into {kept.parent}")
                for list_name in ("classes.json", "classes.txt"):
                    _fetch_aside(folder + list_name, kept.with_name(list_name))
                index = _fetch_aside(f"{address}.json", kept.with_name(f"{name}.json"))
                _fetch(address, kept, _stated(index))
    except OSError as error:
        raise UserError(
            f"{printable(str(kept))}: cannot be kept: {error.strerror or error}; set HF_HOME to a "
            "folder with room"
        ) from error
    return kept


def _fetch_aside(address: str, kept: Path) -> bytes | None:
    """A small file that there need not be."""
    if not kept.exists():
        content = b""
        for chunk in _chunks(address, optional=True):
            content += chunk
            if len(content) > MAXIMUM_SIDE_FILE:
                raise UserError(f"{address}: more than {MAXIMUM_SIDE_FILE} bytes")
        if not content:
            return None
        with replacing(kept) as temporary:
            temporary.write_bytes(content)
    return kept.read_bytes()


def _stated(index: bytes | None) -> str | None:
    """The shard's sha256 by its index."""
    try:
        return str(json.loads(index or b"")["sha256"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def _fetch(address: str, kept: Path, sha256: str | None) -> None:
    digest = hashlib.sha256()
    with replacing(kept) as temporary:
        with temporary.open("wb") as file:
            for chunk in _chunks(address):
                digest.update(chunk)
                file.write(chunk)
        if sha256 not in (None, digest.hexdigest()):
            raise UserError(
                f"{address}: has not the sha256 that its index states, got {digest.hexdigest()}"
            )


def _chunks(address: str, *, optional: bool = False) -> Iterator[bytes]:
    """The bytes of a file; a connection that breaks is made anew and goes on where it broke.

    Raises UserError when the file cannot be had; an `optional` one that is absent is empty.
    """
    done = 0
    for attempt in range(1, ATTEMPTS + 1):
        if attempt > 1:
            time.sleep(attempt)
        try:
            with _open(address, done) as answer:
                again = 0 if answer.status == 206 else done  # a server without ranges
                end = None if answer.length is None else answer.length + done - again
                while again and (chunk := answer.read(min(again, CHUNK))):
                    again -= len(chunk)
                while chunk := answer.read(CHUNK):
                    done += len(chunk)
                    yield chunk
            if end is None or done == end:
                return
            reason = f"the connection ended after {done} of {end} bytes"
        except HTTPError as error:
            if optional and error.code in ABSENT:
                return
            reason = f"HTTP {error.code}"
            if error.code < 500 and error.code != 429:
                break
        except (OSError, HTTPException) as error:
            reason = str(getattr(error, "reason", "") or error) or type(error).__name__
    raise UserError(
        f"{address}: cannot be had ({printable(reason)}); the same command goes on with what is "
        "missing"
    )


def _open(address: str, start: int) -> Any:
    """The answer to a request for a file from byte `start` on; by https alone."""
    opener = request.OpenerDirector()
    for handler in (
        request.ProxyHandler(),
        request.HTTPSHandler(),
        request.HTTPDefaultErrorHandler(),
        request.HTTPErrorProcessor(),
        _HttpsAlone(),
    ):
        opener.add_handler(handler)
    headers = {"User-Agent": "inceptcli"} | ({"Range": f"bytes={start}-"} if start else {})
    return opener.open(request.Request(address, headers=headers), timeout=TIMEOUT)
