"""The display: notices, and how far something is, as a bar or as lines."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from inceptcli.progress.lines import LinesTask
from inceptcli.progress.task import Task, counted
from inceptcli.text import printable, shortened

if TYPE_CHECKING:
    from rich.progress import Progress


class Display:
    """Standard error while a command works; with `quiet` nothing appears.

    On a terminal a task is a bar with rate and time left, which is gone when the task is; elsewhere
    (a cluster's log, a dumb terminal) it is a plain line from time to time, without control codes.
    """

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet
        self._bars: Progress | None = None

    def say(self, line: str) -> None:
        """One line for the reader, above the bar if there is one."""
        if self.quiet:
            return
        line = shortened(printable(line))
        if self._bars is not None:
            self._bars.console.print(
                line, markup=False, highlight=False, emoji=False, soft_wrap=True
            )
        else:
            print(line, file=sys.stderr, flush=True)

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

            with bars(unit) as self._bars:
                task = self._bars.add_task(
                    printable(label), total=total, completed=int(done), figures=()
                )
                try:
                    yield BarTask(self._bars, task, done, total)
                finally:
                    self._bars = None


def _is_terminal() -> bool:
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
