"""The hub's client reports a download to a tqdm; this one passes it on to our display."""

from __future__ import annotations

from io import StringIO
from typing import Any

from tqdm.std import tqdm

from inceptcli.progress.task import Task

MEGABYTE = 1e6


def reporting_to(task: Task) -> type[Any]:
    """A tqdm class that prints nothing and tells `task` the megabytes."""
    shown: list[Any] = []

    class Reporting(tqdm):  # type: ignore[misc]  # untyped
        """Of several bars for one file the first one counts."""

        def __init__(self, *arguments: Any, **options: Any) -> None:
            shown.append(self)
            super().__init__(*arguments, **{**options, "file": StringIO(), "disable": False})

        def display(self, msg: str | None = None, pos: int | None = None) -> None:
            if shown[0] is self:
                task.reach(self.n / MEGABYTE, self.total and self.total / MEGABYTE)

    return Reporting
