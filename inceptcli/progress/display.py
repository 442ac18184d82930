"""The display: notices, and how far something is, as a bar or as lines."""

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
"""Every module's notices pass it: what `--quiet` silences is INFO, what is said anyway WARNING."""


class Notices(logging.Handler):
    """Shows notices as plain lines on standard error, above the bar if there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one line."""
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
    """Show this program's notices while the block runs."""
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
    """Show warnings alone if `quiet`, which is returned, as the callback of a flag has to."""
    if quiet:
        _shown.setLevel(logging.WARNING)
    return quiet


def silence() -> None:
    """Show no notices: another process of the job does."""
    _shown.setLevel(logging.CRITICAL + 1)


def hide(module: str) -> None:
    """Show no notices of a module and of those in it."""
    _shown.addFilter(lambda record: not record.name.startswith(module))


class Display:
    """Progress on standard error while a command works.

    Nothing appears with `quiet`, nor where INFO notices are not shown.

    On a terminal a task is a bar with rate and time left, which is gone when the task is; elsewhere
    (a cluster's log, a dumb terminal) it is a plain line from time to time, without control codes.
    """

    bars: ClassVar[Progress | None] = None

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet or _shown not in logger.handlers or _shown.level > logging.INFO

    @contextmanager
    def task(
        self, label: str, total: float | None = None, unit: str = "images", done: float = 0
    ) -> Iterator[Task]:
        """Show how far something is; one at a time. An interruption has a note of it.

        Args:
            label: what is done, in a word or two.
            total: how much there is of it; None when nobody knows.
            unit: what is counted.
            done: where it starts, when an earlier process did some of it.
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
