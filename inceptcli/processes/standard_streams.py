"""Robust standard streams: loss of standard error is ignored, loss of results is an error."""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from inceptcli.errors import UserError

if TYPE_CHECKING:
    from typing_extensions import Buffer


class LastingError(io.FileIO):
    """Standard error that discards output once it cannot be written.

    A closed terminal gives EIO, a pipe without a reader EPIPE. The descriptor is then redirected to
    the null device, so that libraries that write to it directly do not fail either.
    """

    def __init__(self) -> None:
        super().__init__(2, "w", closefd=False)
        self._lost: str | None = None
        self._report: Callable[[str], None] | None = None

    def write(self, text: Buffer, /) -> int:
        """Write all bytes or discard them; return their number."""
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
        """Call `report` once with the reason when standard error is lost."""
        self._report = report
        self._tell()

    def _tell(self) -> None:
        if self._lost is not None and self._report is not None:
            report, self._report = self._report, None
            report(self._lost)


class Results(io.FileIO):
    """Standard output that raises, once, if results cannot be written.

    Raises UserError, or SystemExit with 128 + SIGPIPE if the reader of a pipe is gone, as a shell
    reports other programs; Typer would exit with 1.
    """

    def __init__(self, is_open: bool) -> None:
        super().__init__(1, "w", closefd=False)
        self._is_open = is_open

    def write(self, data: Buffer, /) -> int:
        """Write as many bytes as possible; return their number."""
        if not self._is_open:
            self._is_open = True  # the final flush would fail again
            raise UserError("standard output: closed; results cannot be written")
        try:
            return super().write(data) or 0
        except OSError as error:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # here too
            if error.errno == errno.EPIPE:
                raise SystemExit(128 + signal.SIGPIPE) from None
            raise UserError(f"standard output: {error.strerror}") from error


def secure_standard_streams() -> None:
    """Open all three standard streams, and make standard error never fail.

    The next opened file would otherwise take a closed descriptor, and libraries would write their
    messages into it.
    """
    are_open = [_make_open(descriptor) for descriptor in (0, 1, 2)]
    if sys.stdin is None:
        sys.stdin = open(0, closefd=False)  # noqa: SIM115 (kept open)
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
    """Open a closed descriptor; return whether it was open. Lower ones must be open."""
    try:
        os.fstat(descriptor)
    except OSError:
        os.open(os.devnull, os.O_RDWR)  # takes the lowest free one
        return False
    return True


def tell_loss(report: Callable[[str], None] | None) -> None:
    """Call `report` when standard error is lost, if `secure_standard_streams` was called."""
    raw = getattr(sys.stderr, "buffer", None)
    if isinstance(raw, LastingError):
        raw.tell_loss(report)
