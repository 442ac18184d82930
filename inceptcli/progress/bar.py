"""Progress on a terminal: a bar that drops figures to fit any width."""

from __future__ import annotations

import time

from rich import progress
from rich.console import Console
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from inceptcli.progress.task import Task, counted, per_second
from inceptcli.text import duration

REFRESH_EVERY = 0.5
"""Seconds between updates of the figures."""

LONGEST_BAR, SHORTEST_BAR = 40, 6
WIDE = 80
"""Columns; narrower terminals do not show the unit."""


def bars(unit: str) -> progress.Progress:
    """Create transient bars on standard error that count `unit`; use as a context manager."""
    console = Console(stderr=True)
    return progress.Progress(
        _Line(console, unit),
        console=console,
        transient=True,
        refresh_per_second=4,
        redirect_stdout=False,
    )


class BarTask(Task):
    """A task shown as a Rich progress bar."""

    def __init__(
        self,
        bars: progress.Progress,
        task: progress.TaskID,
        done: float = 0,
        total: float | None = None,
    ) -> None:
        super().__init__(done, total)
        self._bars, self._task = bars, task
        self._refreshed = 0.0

    @property
    def due(self) -> bool:
        """Whether half a second has passed since the last figures."""
        return time.monotonic() - self._refreshed >= REFRESH_EVERY

    def reach(self, done: float, total: float | None, figures: tuple[str, ...] = ()) -> None:
        """Update the bar."""
        super().reach(done, total)
        if figures:
            self._refreshed = time.monotonic()
            self._bars.update(self._task, completed=done, total=total, figures=figures)
        else:
            self._bars.update(self._task, completed=done, total=total)


class _Line(progress.ProgressColumn):
    """A column with label, bar, count, rate, time left and figures, as far as they fit."""

    def __init__(self, console: Console, unit: str) -> None:
        super().__init__()
        self.console, self.unit = console, unit

    def render(self, task: progress.Task) -> Table:
        """Render one line that fits the terminal."""
        width = self.console.width - 3  # a terminal echoes ^C after it
        room = width - len(task.description) - SHORTEST_BAR - 2
        status = ""
        for part in self._parts(task):
            longer = f"{status}  {part}" if status else part
            if len(longer) > room:
                break
            status = longer
        bar = min(LONGEST_BAR, width - len(task.description) - len(status) - 2)
        line = Table.grid(padding=(0, 1, 0, 0))
        line.add_row(
            Text(task.description, no_wrap=True, overflow="ellipsis"),
            ProgressBar(
                total=task.total,
                completed=task.completed,
                width=max(1, bar),
                pulse=task.total is None,
                animation_time=task.get_time(),
            ),
            Text(status, no_wrap=True),
        )
        return line

    def _parts(self, task: progress.Task) -> list[str]:
        """Return the parts of the status, most important first."""
        if not self.unit:
            return [duration(task.elapsed or 0)]
        unit = self.unit if self.console.width >= WIDE else ""
        parts = [counted(task.completed, task.total, unit)]
        if task.speed:
            parts.append(per_second(task.speed))
        if task.time_remaining is not None:
            parts.append(f"{duration(task.time_remaining)} left")
        return [*parts, *task.fields["figures"]]
