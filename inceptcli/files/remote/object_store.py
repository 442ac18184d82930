"""Read and list files in object stores (s3, gs) with fsspec."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from inceptcli.errors import UserError
from inceptcli.files.remote.address import Address
from inceptcli.files.remote.transport import Begun, FetchError, Reply

CHUNK = 8 * 1024**2
CONNECT_SECONDS, READ_SECONDS = 10, 60

_ABSENT = (FileNotFoundError, IsADirectoryError)


class ObjectStore:
    """Transport for s3 and gs; fsspec's file systems retry by themselves."""

    attempts = 1

    @contextmanager
    def open(
        self, address: Address, begun: Begun | None, known: str | None
    ) -> Iterator[Reply | None]:
        """Open a file as `Transport.open` describes; raise if it changes while it is read."""
        with _named_errors():
            file = _with_file_system(
                address.scheme,
                lambda system: system.open(address.key, "rb", block_size=CHUNK, cache_type="none"),
            )
        with file:
            details = file.details
            validator = details.get("generation") or details.get("ETag") or details.get("etag")
            if known is not None and validator == known:
                yield None
                return
            start = begun.size if begun and begun.validator == validator else 0
            yield Reply(_chunks(file, start), start, int(file.size), validator, bool(validator))


def files_at(address: Address) -> list[Address]:
    """List the files of a folder or pattern, sorted; for a file, return the file.

    An address whose name has an extension is a file. Raises FetchError if listing fails.
    """
    if not address.is_pattern and "." in address.name:
        return [address]
    if address.scheme == "https":
        if address.is_pattern or not address.name:
            raise FetchError("https cannot list folders or patterns; give the address of each file")
        return [address]
    with _named_errors():
        keys = _with_file_system(address.scheme, lambda system: _keys(system, address))
    return [Address(address.scheme, f"{address.scheme}://{key}") for key in sorted(keys)]


def _keys(system: Any, address: Address) -> list[str]:
    key = address.key.rstrip("/")
    if address.is_pattern and not system.isfile(key):
        found = system.glob(key, detail=True)
        return [name for name, entry in found.items() if entry["type"] == "file"]
    if address.is_pattern or (address.name and system.info(key)["type"] == "file"):
        return [key]
    return [name for name in system.find(key) if name != key]


def _chunks(file: Any, start: int) -> Iterator[bytes]:
    file.seek(start)
    while True:
        with _named_errors():
            chunk = file.read(CHUNK)
        if not chunk:
            return
        yield chunk


def _with_file_system(scheme: str, use: Any) -> Any:
    """Call `use` with the file system; without s3 credentials, retry anonymously."""
    try:
        return use(_file_system(scheme))
    except Exception as error:
        if type(error).__name__ != "NoCredentialsError":
            raise
    return use(_file_system(scheme, anon=True))


def _file_system(scheme: str, **options: Any) -> Any:
    import fsspec

    if scheme == "s3":
        timeouts = {"connect_timeout": CONNECT_SECONDS, "read_timeout": READ_SECONDS}
        options["config_kwargs"] = {**timeouts, "retries": {"max_attempts": 1}}
    if scheme == "gs":
        # Otherwise gcsfs first requests the bucket's type, which needs credentials.
        os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
    if scheme == "hf":
        from inceptcli.files.remote.hub import prepare

        prepare()
    return fsspec.filesystem(scheme, use_listings_cache=False, **options)


@contextmanager
def _named_errors() -> Iterator[None]:
    """Convert errors of the libraries, which do not document them, to FetchError."""
    try:
        yield
    except UserError:
        raise
    except _ABSENT as error:
        raise FetchError("no such file", is_absent=True) from error
    except PermissionError as error:
        reason = "access denied; set the library's credentials in the environment"
        raise FetchError(reason, is_absent=True) from error
    except Exception as error:
        first = (str(error).splitlines() or [""])[0][:300]
        raise FetchError(first or type(error).__name__, is_answer=False) from error
