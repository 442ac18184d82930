"""What a transport answers when it is asked for a file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from inceptcli.errors import UserError
from inceptcli.files.remote.address import Address


class FetchError(UserError):
    """A remote file cannot be had; the message is the reason only.

    Attributes:
        is_answer: Whether the server itself says so (not found, no access), so that neither
            another attempt nor an earlier copy would be right.
        is_absent: Whether there is no such file.
        is_broken: Whether the server has the file, other than an earlier copy, but not all of it
            came.
    """

    def __init__(self, reason: str, *, is_answer: bool = True, is_absent: bool = False) -> None:
        super().__init__(reason)
        self.is_answer, self.is_absent, self.is_broken = is_answer, is_absent, False


class PartRefusedError(FetchError):
    """The server does not have the rest of what was begun; the download starts anew."""

    def __init__(self) -> None:
        super().__init__("it does not have the part that was asked for", is_answer=False)


class Begun(NamedTuple):
    """The bytes of a download that broke, and the validator of the file that they are from."""

    size: int
    validator: str


@dataclass
class Reply:
    """A file's bytes from `start` on.

    Attributes:
        chunks: The bytes.
        start: 0, or the size of what was `Begun`, if the server has the same file still.
        size: Bytes of the whole file, if the server states them.
        validator: Changes when the file does (an ETag), if the server states one.
        can_go_on: Whether the validator is strong: a part of the file fits to another part.
    """

    chunks: Iterator[bytes]
    start: int
    size: int | None
    validator: str | None
    can_go_on: bool


class Transport(Protocol):
    """Opens remote files of one or more schemes."""

    attempts: int
    """How often a file is asked for; a library that tries again by itself is asked once."""

    def open(
        self, address: Address, begun: Begun | None, known: str | None
    ) -> AbstractContextManager[Reply | None]:
        """Ask for a file; None when it still has the validator `known`.

        Raises FetchError when it cannot be had, OSError or HTTPException when a connection fails,
        also while the chunks are read.
        """
