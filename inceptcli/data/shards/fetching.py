"""Fetch remote shards into the cache, with their indices and class lists."""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from inceptcli.data.shards.files import CLASS_FILES, has_class_list
from inceptcli.errors import UsageError, UserError
from inceptcli.files.cache_folder import cache_folder
from inceptcli.files.regular_file import sha256_of
from inceptcli.files.remote.address import Address, data_address
from inceptcli.files.remote.copies import fetch_into, locked
from inceptcli.files.remote.hub import hub_copy, kept_copy
from inceptcli.files.remote.object_store import files_at
from inceptcli.files.remote.transport import FetchError

logger = logging.getLogger(__name__)

MAXIMUM_SIDE_FILE = 64 * 1024**2
"""Maximum size of an index or a class list; a thousand samples take about 100 kB."""

_NAME = re.compile(r"[^/?#*\[\].][^/?#*\[\]]*\.tar")


def fetch_shards(texts: Sequence[str], *, labeled: bool = False) -> list[Path]:
    """Return local copies of shards, with their indices and class lists beside them.

    Missing copies are fetched and logged; existing ones are used without the network. Safe to call
    from several processes at once.

    Args:
        texts: Addresses of .tar files, each read once; all but https may be patterns.
        labeled: Whether class lists are needed; missing ones are then asked for again.

    Raises:
        UsageError: an address does not name .tar files.
        UserError: a shard cannot be fetched or stored, or does not match its index; or its class
            list differs from that of the shards fetched before.
    """
    return [_copy(address, labeled) for address in dict.fromkeys(_addresses(texts))]


def _addresses(texts: Sequence[str]) -> Iterator[Address]:
    for text in texts:
        address = data_address(text)
        listed = [address]
        if address.is_pattern and address.scheme != "https":
            try:
                listed = files_at(address)
            except FetchError as error:
                raise UserError(f"--data {address}: cannot be listed ({error})") from error
            if not listed:
                raise UsageError(f"--data {address}: no file matches this pattern")
        for found in (data_address(entry.text) for entry in listed):  # untrusted
            if not _NAME.fullmatch(found.name) or found.place != found.text:
                raise UsageError(
                    f"--data {found}: an address must name a .tar file, without a query and, for "
                    "https, without a pattern; use a range such as {000000..000006} for several"
                )
            yield found


def _copy(address: Address, labeled: bool) -> Path:
    try:
        if address.scheme == "hf":
            return _in_hub_cache(address, labeled)
        folder = (
            cache_folder() / "shards" / hashlib.sha256(address.folder.encode()).hexdigest()[:16]
        )
        # The folder's name may be the split of its shards.
        kept = folder / ("shards", *address.folder.split("/")[3:-1])[-1] / address.name
        if not kept.is_file():
            with locked(kept.parent) as alone:
                if not kept.is_file():
                    logger.info(f"fetching {address} into {kept.parent}")
                    _fetch_class_lists(address, kept, alone)
                    index = kept.with_name(f"{kept.name}.json")
                    index.unlink(missing_ok=True)  # of a shard that was changed since
                    _fetch_aside(_beside(address, index.name), index, alone)
                    fetch_into(address, kept, sha256=_stated(index), alone=alone)
        elif labeled and not has_class_list(kept.parent):
            with locked(kept.parent) as alone:
                _fetch_class_lists(address, kept, alone)
    except FetchError as error:
        raise UserError(
            f"{address}: cannot be fetched ({error}); run the same command again to continue"
        ) from error
    return kept


def _beside(address: Address, name: str) -> Address:
    return Address(address.scheme, address.folder + name)


def _fetch_class_lists(address: Address, kept: Path, alone: bool) -> None:
    """Fetch the class lists beside a shard, anew if they are there.

    Raises UserError if one is not as it was for the shards fetched before.
    """
    has_shards = any(kept.parent.glob("[!.]*.tar"))
    with TemporaryDirectory(dir=kept.parent, prefix=".") as folder:
        for path in map(kept.with_name, CLASS_FILES):
            fetched = Path(folder) / path.name
            _fetch_aside(_beside(address, path.name), fetched, alone)
            if not fetched.exists():
                continue  # a list that is there is the user's own
            if has_shards and path.exists() and fetched.read_bytes() != path.read_bytes():
                raise UserError(
                    f"{_beside(address, path.name)}: was changed since shards were fetched from "
                    f"there; delete {kept.parent} to fetch all of them again"
                )
            fetched.replace(path)


def _fetch_aside(address: Address, kept: Path, alone: bool) -> None:
    """Fetch a small optional file."""
    try:
        fetch_into(address, kept, MAXIMUM_SIDE_FILE, alone=alone)
    except FetchError as error:
        if not error.is_absent:
            raise UserError(f"{address}: cannot be fetched ({error})") from error


def _in_hub_cache(address: Address, labeled: bool) -> Path:
    there = kept_copy(address)
    if there is not None and (not labeled or has_class_list(there.parent)):
        return there
    logger.info(f"fetching {address}")
    index = None
    for name in (*CLASS_FILES, f"{address.name}.json"):
        try:
            index = hub_copy(_beside(address, name), MAXIMUM_SIDE_FILE)
        except FetchError as error:
            index = None
            if not error.is_absent:
                raise
    kept = hub_copy(address, None)
    stated = index and _stated(index)
    if stated and sha256_of(kept) != stated:
        for damaged in (kept.resolve(), kept):
            damaged.unlink(missing_ok=True)
        raise FetchError("does not match the sha256 in its index")
    return kept


def _stated(index: Path) -> str | None:
    """Return the shard's sha256 from its index; None if unknown."""
    try:
        return str(json.loads(index.read_bytes())["sha256"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
