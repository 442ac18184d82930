"""Show notices and progress (a bar or lines) on standard error."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, ClassVar

from inceptcli.progress.lines import LinesTask
from inceptcli.progress.task import Task, counted
from inceptcli.text import fitted, printable, shortened

if TYPE_CHECKING:
    from rich.progress import Progress

logger = logging.getLogger("inceptcli")
"""Parent of all module loggers; `--quiet` hides INFO, but not WARNING."""


class Notices(logging.Handler):
    """A log handler that prints plain lines on standard error, above the progress bar if any."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record as one line."""
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


def silence() -> None:
    """Hide all notices; another process of the job shows them."""
    _shown.setLevel(logging.CRITICAL + 1)


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
        self.quiet = quiet or _shown not in logger.handlers or _shown.level > logging.INFO

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
