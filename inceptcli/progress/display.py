"""Show notices and progress (a bar or lines) on standard error."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import RLock, Timer
from typing import TYPE_CHECKING, ClassVar

from inceptcli.progress.lines import LinesTask
from inceptcli.progress.task import Task, counted
from inceptcli.text import fitted, printable, shortened

if TYPE_CHECKING:
    from rich.progress import Progress

logger = logging.getLogger("inceptcli")
"""Parent of all module loggers; `--quiet` hides INFO, but not WARNING."""


BUSY_AFTER_SECONDS = 1.0
"""Time after which a terminal shows what a silent command is doing."""


class BusyLine:
    """A line on a terminal that says what a command is doing, erased before anything else."""

    def __init__(self) -> None:
        self._lock = RLock()
        self._busy = self._written = False

    def begin(self) -> None:
        """Allow the line."""
        self._busy = True

    def show(self, what: str) -> None:
        """Print the line, if it is still true and there is no bar."""
        with self._lock:
            if self._busy and Display.bars is None:
                print(f"{printable(what)} ...", end="", file=sys.stderr, flush=True)
                self._written = True

    def erase(self, *, end: bool = False) -> None:
        """Remove the line; with `end` it does not appear any more."""
        with self._lock:
            self._busy = self._busy and not end
            if self._written:
                print("\r\x1b[2K", end="", file=sys.stderr, flush=True)
                self._written = False


_busy_line = BusyLine()


@contextmanager
def doing(what: str) -> Iterator[None]:
    """Show `what` on a terminal if the block takes more than BUSY_AFTER_SECONDS; erase it then."""
    if Display().quiet or not _is_terminal():
        yield
        return
    timer = Timer(BUSY_AFTER_SECONDS, _busy_line.show, [what])
    timer.daemon = True
    _busy_line.begin()
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        _busy_line.erase(end=True)


class Notices(logging.Handler):
    """A log handler that prints plain lines on standard error, above the progress bar if any."""

    is_silent = False
    """Whether another process of the job shows the notices."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record as one line."""
        if self.is_silent:
            return
        _busy_line.erase()
        line = fitted(shortened(printable(record.getMessage())), sys.stderr)
        if Display.bars is not None:
            Display.bars.console.print(
                line, markup=False, highlight=False, emoji=False, soft_wrap=True
            )
        else:
            print(line, file=sys.stderr, flush=True)


_shown = Notices()


@contextmanager
def notices() -> Iterator[None]:
    """Show the notices of inceptcli while the block runs."""
    level = logger.level
    _shown.setLevel(logging.INFO)
    _shown.filters.clear()
    _shown.is_silent = False
    logger.setLevel(logging.INFO)
    logger.addHandler(_shown)
    try:
        yield
    finally:
        logger.removeHandler(_shown)
        logger.setLevel(level)


def hush(quiet: bool) -> bool:
    """Show only warnings if `quiet`; return `quiet`, as the callback of a flag must."""
    if quiet:
        _shown.setLevel(logging.WARNING)
    return quiet


def silence(is_silent: bool) -> None:
    """Hide all notices if another process of the job shows them."""
    _shown.is_silent = is_silent


def hide(module: str) -> None:
    """Hide the notices of a module and its submodules."""
    _shown.addFilter(lambda record: not record.name.startswith(module))


class Display:
    """Progress reporting on standard error.

    Nothing is shown if `quiet` is set or INFO notices are hidden.

    On a terminal, a task is a bar with rate and time left, which disappears at the end. Elsewhere
    (a cluster's log, a dumb terminal), it is an occasional plain line without control codes.
    """

    bars: ClassVar[Progress | None] = None

    def __init__(self, quiet: bool = False) -> None:
        is_shown = _shown in logger.handlers and not _shown.is_silent
        self.quiet = quiet or not is_shown or _shown.level > logging.INFO

    @contextmanager
    def task(
        self, label: str, total: float | None = None, unit: str = "images", done: float = 0
    ) -> Iterator[Task]:
        """Show the progress of a task, one at a time; add the count as a note to an interruption.

        Args:
            label: one or two words that name the task.
            total: the total amount; None if unknown.
            unit: the unit of the amounts.
            done: the amount that an earlier process has done.
        """
        task: Task | None = None
        try:
            with self._shown(label, total, unit, done) as task:
                yield task
        except KeyboardInterrupt as stop:
            if task is not None:
                count = counted(task.done, task.total, unit).replace("/", " of ", 1)
                stop.add_note(f"after {count}")
            raise

    @contextmanager
    def _shown(self, label: str, total: float | None, unit: str, done: float) -> Iterator[Task]:
        if self.quiet:
            yield Task(done, total)
        elif not _is_terminal():
            yield LinesTask(label, unit, done, total)
        else:
            from inceptcli.progress.bar import BarTask, bars

            _busy_line.erase()
            with bars(unit) as Display.bars:
                task = Display.bars.add_task(
                    printable(label), total=total, completed=int(done), figures=()
                )
                try:
                    yield BarTask(Display.bars, task, done, total)
                finally:
                    Display.bars = None


def _is_terminal() -> bool:
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
