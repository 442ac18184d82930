"""Write the page of `predict --gallery`: thumbnails of images with their answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from typing import NamedTuple, Self, TextIO

from inceptcli.data.pixels.decode import UnreadableImage
from inceptcli.pages.page import common_folder, write_page
from inceptcli.pages.thumbnail import thumbnail
from inceptcli.prediction.inputs import Source
from inceptcli.prediction.predict import Answer, Prediction, Seen, pixels
from inceptcli.prediction.readers import default_threads
from inceptcli.prediction.recorded_options import DEFAULT_OPTIONS, RecordedOptions
from inceptcli.text import printable

LARGEST = 5000
"""Number of images on a page, the first ones: browsers can handle these."""

SIDE = 160
"""Longest side of a thumbnail, pixels."""

STYLES = ("style.css",)
SCRIPTS = ("table.js", "gallery.js")


class Card(NamedTuple):
    """An answer and its thumbnail, None if the image can no longer be read."""

    answer: Answer
    thumbnail: str | None

    @property
    def predicted(self) -> tuple[Prediction, ...]:
        """The most probable class, or the labels that multi-label weights give the image."""
        return self.answer.top[:1] if self.answer.labels is None else self.answer.labels


class Gallery:
    """Record answers and thumbnails; `write` writes the page.

    Each of the first LARGEST images is decoded again, in threads while the network computes, and
    kept as a small JPEG. Memory grows no further.
    """

    def __init__(self) -> None:
        self.failures: list[tuple[str, str]] = []
        self.num_answers = 0
        self.num_failures = 0
        self._copies: list[tuple[Answer, Future[str | None]]] = []
        self._pool = ThreadPoolExecutor(default_threads())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def keep(self, source: Source, _: Seen | UnreadableImage, answer: Answer) -> None:
        """Record one answer."""
        if answer.error is not None:
            self.num_failures += 1
            if len(self.failures) < LARGEST:
                self.failures.append((answer.path, answer.error))
            return
        self.num_answers += 1
        if len(self._copies) < LARGEST:
            self._copies.append((answer, self._pool.submit(_small_copy, source)))

    @cached_property
    def cards(self) -> list[Card]:
        """Return the answers with their thumbnails, in order; wait until all are made."""
        return [Card(answer, copy.result()) for answer, copy in self._copies]

    def write(
        self,
        stream: TextIO,
        weights: Sequence[str],
        crops: int,
        recorded: RecordedOptions = DEFAULT_OPTIONS,
    ) -> None:
        """Write the page of all recorded answers."""
        first = Counter(p.index for card in self.cards for p in card.predicted)
        names = {p.index: printable(p.name) for c in self.cards for p in c.answer.top}
        shown = [card.answer.path for card in self.cards]
        folder = common_folder([*shown, *(path for path, _ in self.failures)])
        by_name = sorted(first.items(), key=lambda item: names[item[0]].casefold())
        write_page(
            stream,
            "gallery.html",
            STYLES,
            SCRIPTS,
            None,
            gallery=self,
            folder=folder,
            weights=weights,
            crops=crops,
            recorded=recorded.as_texts(),
            classes=[(index, names[index], count) for index, count in by_name],
        )


def _small_copy(source: Source) -> str | None:
    try:
        return thumbnail(pixels(source), SIDE)
    except UnreadableImage:
        return None
