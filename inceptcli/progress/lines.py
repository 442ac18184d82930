"""Progress where there is no terminal, such as a cluster's log: plain lines at a sane pace."""

from __future__ import annotations

import sys
import time

from inceptcli.progress.task import Task, counted, per_second
from inceptcli.text import duration, printable

FIRST_AFTER, EVERY = 60.0, 300.0
"""Seconds until the first line, and from one to the next."""


class LinesTask(Task):
    """Shown as a plain line after a minute and then every five."""

    def __init__(self, label: str, unit: str, done: float, total: float | None) -> None:
        super().__init__(done, total)
        self._label, self._unit = label, unit
        self._first = done
        self._started = time.monotonic()
        self._next = self._started + FIRST_AFTER

    @property
    def due(self) -> bool:
        """Whether the next line is."""
        return time.monotonic() >= self._next

    def reach(self, done: float, total: float | None, figures: tuple[str, ...] = ()) -> None:
        """Print the line that is due, if one is."""
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
