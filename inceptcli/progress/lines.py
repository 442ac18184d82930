"""Progress without a terminal, such as in a cluster's log: occasional plain lines."""

from __future__ import annotations

import sys
import time

from inceptcli.progress.task import Task, counted, per_second
from inceptcli.text import duration, printable

FIRST_AFTER, EVERY = 60.0, 300.0
"""Seconds until the first line, and between lines."""


class LinesTask(Task):
    """A task shown as a plain line after one minute, then every five minutes."""

    def __init__(self, label: str, unit: str, done: float, total: float | None) -> None:
        super().__init__(done, total)
        self._label, self._unit = label, unit
        self._first = done
        self._started = time.monotonic()
        self._next = self._started + FIRST_AFTER

    @property
    def due(self) -> bool:
        """Whether the next line is due."""
        return time.monotonic() >= self._next

    def reach(self, done: float, total: float | None, figures: tuple[str, ...] = ()) -> None:
        """Update the task; print a line if it is due."""
        super().reach(done, total)
        if not self.due:
            return
        now = time.monotonic()
        self._next = now + EVERY
        rate = (done - self._first) / max(now - self._started, 1e-9)
        left = None if total is None or rate <= 0 else (total - done) / rate
        parts = [counted(done, total, self._unit), per_second(rate)]
        parts += [] if left is None else [f"{duration(left)} left"]
        line = f"{self._label}: {', '.join([*parts, *figures])}"
        print(printable(line), file=sys.stderr, flush=True)
