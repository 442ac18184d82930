"""`predict --gallery`: the answers as a contact sheet. A writer; it answers nothing itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple, TextIO

from inceptcli.data.pixels.decode import UnreadableImage
from inceptcli.pages.page import write_page
from inceptcli.pages.thumbnail import thumbnail
from inceptcli.prediction.inputs import Source
from inceptcli.prediction.predict import Answer, pixels
from inceptcli.prediction.readers import default_threads
from inceptcli.prediction.shortcuts import NO_SHORTCUTS, Shortcuts
from inceptcli.text import printable

LARGEST = 5000
"""How many images a page holds, the first ones: a browser copes with these."""

SIDE = 160
"""Longest side of a thumbnail, pixels."""

STYLES = ("style.css",)
SCRIPTS = ("table.js", "gallery.js")


class Card(NamedTuple):
    """An answer with a small copy of its picture; None when that can be read no more."""

    answer: Answer
    thumbnail: str | None


class Gallery:
    """Collects answers while they are written elsewhere, then writes the page.

    Each of the first LARGEST pictures is decoded once more and kept as a small JPEG, in threads and
    beside the network; the memory that this takes does not grow any further.
    """

    def __init__(self) -> None:
        self.cards: list[Card] = []
        self.failures: list[tuple[str, str]] = []
        self.num_answers = 0
        self.num_failures = 0

    def collect(self, answers: Iterable[Answer]) -> Iterator[Answer]:
        """The same answers, one by one."""
        copies: list[tuple[Answer, Future[str | None]]] = []
        pool = ThreadPoolExecutor(default_threads())
        try:
            for answer in answers:
                if answer.error is not None:
                    self.num_failures += 1
                    if len(self.failures) < LARGEST:
                        self.failures.append((answer.path, answer.error))
                else:
                    self.num_answers += 1
                    if len(copies) < LARGEST:
                        copies.append((answer, pool.submit(_small_copy, answer.source)))
                yield answer
            self.cards = [Card(answer, copy.result()) for answer, copy in copies]
        finally:
            pool.shutdown(cancel_futures=True)

    def write(
        self,
        stream: TextIO,
        weights: Sequence[str],
        crops: int,
        shortcuts: Shortcuts = NO_SHORTCUTS,
    ) -> None:
        """The page of all that was collected."""
        first = Counter(card.answer.predictions[0].index for card in self.cards)
        names = {p.index: printable(p.class_name) for c in self.cards for p in c.answer.predictions}
        by_name = sorted(first.items(), key=lambda item: names[item[0]].casefold())
        write_page(
            stream,
            "gallery.html",
            STYLES,
            SCRIPTS,
            None,
            gallery=self,
            weights=weights,
            crops=crops,
            shortcuts=shortcuts.as_texts(),
            classes=[(index, names[index], count) for index, count in by_name],
        )


def _small_copy(source: Source) -> str | None:
    try:
        return thumbnail(pixels(source), SIDE)
    except UnreadableImage:
        return None
