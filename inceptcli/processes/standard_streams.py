"""Standard streams: a reader of notices that leaves ends no work, results that are lost do."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from inceptcli.errors import UserError

if TYPE_CHECKING:
    from typing_extensions import Buffer


class LastingError(io.FileIO):
    """Standard error; once it cannot be written, what is written there goes nowhere.

    A terminal that is gone answers EIO, a pipe without a reader EPIPE. The descriptor then leads to
    the null device, so that libraries that write to it themselves do not fail either.
    """

    def __init__(self) -> None:
        super().__init__(2, "w", closefd=False)
        self._lost: str | None = None
        self._report: Callable[[str], None] | None = None

    def write(self, text: Buffer, /) -> int:
        """All of it, whatever becomes of it."""
        view = memoryview(text)
        try:
            done = 0
            while done < len(view):
                done += super().write(view[done:]) or len(view)
        except OSError as error:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            self._lost = error.strerror or type(error).__name__
            self._tell()
        return len(view)

    def tell_loss(self, report: Callable[[str], None] | None) -> None:
        """Have `report` told, once, why nothing can be read here any more."""
        self._report = report
        self._tell()

    def _tell(self) -> None:
        if self._lost is not None and self._report is not None:
            report, self._report = self._report, None
            report(self._lost)


class Results(io.FileIO):
    """Standard output; results that cannot be written there are an error, told once.

    Raises UserError, or BrokenPipeError where nobody reads on.
    """

    def __init__(self, is_open: bool) -> None:
        super().__init__(1, "w", closefd=False)
        self._is_open = is_open

    def write(self, data: Buffer, /) -> int:
        """As much as can be written."""
        if not self._is_open:
            self._is_open = True  # what is left would fail again at the end
            raise UserError("standard output: is closed, so results have no place to go")
        try:
            return super().write(data) or 0
        except OSError as error:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # here too
            if error.errno == errno.EPIPE:
                raise
            raise UserError(f"standard output: {error.strerror}") from error


def secure_standard_streams() -> None:
    """Give this process three open standard streams, the last of which never fails.

    A closed descriptor would be taken by the next file that is opened, and notices of libraries
    would be written into it.
    """
    are_open = [_make_open(descriptor) for descriptor in (0, 1, 2)]
    if sys.stdin is None:
        sys.stdin = open(0, closefd=False)  # noqa: SIM115 (it stays open)
    given, notices = sys.stdout, sys.stderr
    sys.stdout = io.TextIOWrapper(
        io.BufferedWriter(Results(are_open[1])),
        given.encoding if given else "utf-8",
        given.errors if given else "strict",
        line_buffering=bool(given and given.line_buffering),
    )
    sys.stderr = io.TextIOWrapper(
        LastingError(),
        notices.encoding if notices else "utf-8",
        "backslashreplace",
        line_buffering=True,
        write_through=True,
    )


def _make_open(descriptor: int) -> bool:
    """Whether it was open; each one below has to be."""
    try:
        os.fstat(descriptor)
    except OSError:
        os.open(os.devnull, os.O_RDWR)  # takes the lowest that is free
        return False
    return True


def tell_loss(report: Callable[[str], None] | None) -> None:
    """Have `report` told when standard error is lost, if this process secured it."""
    raw = getattr(sys.stderr, "buffer", None)
    if isinstance(raw, LastingError):
        raw.tell_loss(report)
