"""Something that is counted, and its figures in words. Imports nothing."""

from __future__ import annotations


class Task:
    """Something that is counted: nothing is shown of it, which is what `--quiet` asks for.

    `done` and `total` are in the display's unit; a total that nobody knows is None.
    """

    def __init__(self, done: float = 0, total: float | None = None) -> None:
        self.done, self.total = done, total

    @property
    def due(self) -> bool:
        """Whether the figures given to `reach` next would be shown: ask before computing them."""
        return False

    def advance(self, count: float = 1) -> None:
        """Count `count` more as done."""
        self.reach(self.done + count, self.total)

    def reach(self, done: float, total: float | None, figures: tuple[str, ...] = ()) -> None:
        """So much is done of so much; `figures` stand beside it until given anew."""
        self.done, self.total = done, total


def counted(done: float, total: float | None, unit: str) -> str:
    """Such as 1,200/50,000 images."""
    count = f"{done:,.0f}" if total is None else f"{done:,.0f}/{total:,.0f}"
    return f"{count} {unit}".rstrip()


def per_second(rate: float) -> str:
    """Such as 31.2/s."""
    return f"{rate:,.0f}/s" if rate >= 100 else f"{rate:.3g}/s"
