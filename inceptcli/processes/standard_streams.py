"""Robust standard streams: loss of standard error is ignored, loss of results is an error."""

from __future__ import annotations

import errno
import io
import os
import select
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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


class Results(io.BufferedWriter):
    """Standard output that raises, once, if results cannot be written.

    Raises UserError, or SystemExit with 128 + SIGPIPE if the reader of a pipe is gone, as a shell
    reports other programs; Typer would exit with 1.

    The raw stream below has no Python code: a signal's exception between a write and its return
    would leave the bytes in the buffer, and they would be written twice.
    """

    def __init__(self, is_open: bool) -> None:
        super().__init__(io.FileIO(1, "w", closefd=False))
        self._is_open = is_open

    def write(self, data: Buffer, /) -> int:
        """Write all bytes; return their number."""
        view, done = memoryview(data).cast("B"), 0
        if len(view) and not self._is_open:
            self._is_open = True  # the final flush would fail again
            raise UserError("standard output: closed; results cannot be written")
        while done < len(view):
            with _explained():
                try:
                    done += super().write(view[done:])
                except BlockingIOError as error:
                    done += error.characters_written
                    _wait_for_reader()
        return done

    def flush(self) -> None:
        """Write what is buffered."""
        while True:
            with _explained():
                try:
                    return super().flush()
                except BlockingIOError:
                    _wait_for_reader()


def _wait_for_reader() -> None:
    """Wait until standard output, which another program has made non-blocking, takes more."""
    select.select([], [1], [])


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the final flush would fail again
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
        Results(are_open[1]),
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
