"""Fetch remote shards into the cache, with their indices and class lists."""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from inceptcli.data.shards.files import CLASS_FILES
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


def fetch_shards(texts: Sequence[str]) -> list[Path]:
    """Return local copies of shards, with their indices and class lists beside them.

    Missing copies are fetched and logged; existing ones are used without the network. Safe to call
    from several processes at once.

    Args:
        texts: Addresses of .tar files; all but https may be patterns.

    Raises:
        UsageError: an address does not name .tar files.
        UserError: a shard cannot be fetched or stored, or does not match its index.
    """
    return [_copy(address) for address in [*_addresses(texts)]]


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


def _copy(address: Address) -> Path:
    try:
        if address.scheme == "hf":
            return _in_hub_cache(address)
        folder = (
            cache_folder() / "shards" / hashlib.sha256(address.folder.encode()).hexdigest()[:16]
        )
        # The folder's name may be the split of its shards.
        kept = folder / ("shards", *address.folder.split("/")[3:-1])[-1] / address.name
        if not kept.is_file():
            with locked(kept.parent) as alone:
                if not kept.is_file():
                    logger.info(f"fetching {address} into {kept.parent}")
                    for name in CLASS_FILES:
                        _fetch_aside(_beside(address, name), kept.with_name(name), alone)
                    index = kept.with_name(f"{kept.name}.json")
                    index.unlink(missing_ok=True)  # of a shard that was changed since
                    _fetch_aside(_beside(address, index.name), index, alone)
                    fetch_into(address, kept, sha256=_stated(index), alone=alone)
    except FetchError as error:
        raise UserError(
            f"{address}: cannot be fetched ({error}); run the same command again to continue"
        ) from error
    return kept


def _beside(address: Address, name: str) -> Address:
    return Address(address.scheme, address.folder + name)


def _fetch_aside(address: Address, kept: Path, alone: bool) -> None:
    """Fetch a small optional file."""
    try:
        if not kept.exists():
            fetch_into(address, kept, MAXIMUM_SIDE_FILE, alone=alone)
    except FetchError as error:
        if not error.is_absent:
            raise UserError(f"{address}: cannot be fetched ({error})") from error


def _in_hub_cache(address: Address) -> Path:
    if (there := kept_copy(address)) is not None:
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
