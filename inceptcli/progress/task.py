"""A task whose progress is counted, and the format of counts and rates. Imports nothing."""

from __future__ import annotations


class Task:
    """A task whose progress is counted but not shown (`--quiet`); the base of visible tasks.

    `done` and `total` are in the display's unit; an unknown total is None.
    """

    def __init__(self, done: float = 0, total: float | None = None) -> None:
        self.done, self.total = done, total

    @property
    def due(self) -> bool:
        """Whether the next `reach` shows its figures; check before computing them."""
        return False

    def advance(self, count: float = 1) -> None:
        """Add `count` to the amount done."""
        self.reach(self.done + count, self.total)

    def reach(self, done: float, total: float | None, figures: tuple[str, ...] = ()) -> None:
        """Set the amount done and the total; `figures` are shown until the next ones."""
        self.done, self.total = done, total


def counted(done: float, total: float | None, unit: str) -> str:
    """Format a count: 1,200/50,000 images."""
    count = f"{done:,.0f}" if total is None else f"{done:,.0f}/{total:,.0f}"
    return f"{count} {unit}".rstrip()


def per_second(rate: float) -> str:
    """Format a rate: 31.2/s."""
    return f"{rate:,.0f}/s" if rate >= 100 else f"{rate:.3g}/s"
