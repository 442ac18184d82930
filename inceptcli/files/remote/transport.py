"""The interface of transports, which open remote files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from inceptcli.errors import UserError
from inceptcli.files.remote.address import Address


class FetchError(UserError):
    """A remote file is unavailable; the message is only the reason.

    Attributes:
        is_answer: Whether the server reported the error (not found, no access), so that neither a
            retry nor an earlier copy is appropriate.
        is_absent: Whether the file does not exist.
        is_broken: Whether the server has a newer file, but the download is incomplete.
    """

    def __init__(self, reason: str, *, is_answer: bool = True, is_absent: bool = False) -> None:
        super().__init__(reason)
        self.is_answer, self.is_absent, self.is_broken = is_answer, is_absent, False


class PartRefusedError(FetchError):
    """The server cannot resume the download, which restarts."""

    def __init__(self) -> None:
        super().__init__("the requested part is not available", is_answer=False)


class Begun(NamedTuple):
    """The number of bytes of an interrupted download, and the validator of its file."""

    size: int
    validator: str


@dataclass
class Reply:
    """A file's bytes from `start` on.

    Attributes:
        chunks: The bytes.
        start: 0, or the size in `Begun` if the server still has the same file.
        size: Size of the whole file in bytes, if the server sends it.
        validator: A value that changes with the file (an ETag), if the server sends one.
        can_go_on: Whether the validator is strong, so that the download can be resumed.
    """

    chunks: Iterator[bytes]
    start: int
    size: int | None
    validator: str | None
    can_go_on: bool


class Transport(Protocol):
    """A transport for remote files of one or more schemes."""

    attempts: int
    """Maximum number of requests per file; 1 for libraries that retry by themselves."""

    def open(
        self, address: Address, begun: Begun | None, known: str | None
    ) -> AbstractContextManager[Reply | None]:
        """Request a file; yield None if it still has the validator `known`.

        Raises FetchError if the file is unavailable, and OSError or HTTPException if the
        connection fails, also while the chunks are read.
        """
