"""Recognize the images that a run recorded in data.jsonl.gz, wherever they are now. No torch."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Literal

from inceptcli.data.identity import PARTS, KeptIdentity, start_of
from inceptcli.data.sources import ListedSource

MOST_READ = 1000
"""Number of files of which the start is read to find one that the run recorded."""


class RecordedImages:
    """Names and sizes of a run's training and validation images.

    A name and size that both parts have, as in folders of equal names, tells nothing. The start of
    the first image of each class, which is recorded too, tells equal names of other data.
    """

    def __init__(self, record: Path) -> None:
        """Read the record; raise UserError if it is damaged."""
        images = KeptIdentity(record).images
        files = {
            part: {(image.name, image.bytes) for image in images if image.part == part}
            for part in PARTS
        }
        both = files["train"] & files["val"]
        self.names = {image.name for image in images}
        self._all = files["train"] | files["val"]
        self._files = {part: found - both for part, found in files.items()}
        self._starts = {(image.bytes, image.start) for image in images if image.start}
        self._starts_of: dict[tuple[str, int], set[str]] = {}
        for image in images:
            if image.start:
                self._starts_of.setdefault((image.name, image.bytes), set()).add(image.start)

    def count(self, source: ListedSource, part: Literal["train", "val"]) -> int:
        """Return how many images of a source were in a part; 0 if it is other data."""
        files = list(source.files())
        if self._is_other(source, files):
            return 0
        return sum(file in self._files[part] for file in files)

    def are_in(self, source: ListedSource) -> bool:
        """Return whether a source is the run's data, by most of its names or by content."""
        files = list(source.files())
        if 2 * sum(file in self._all for file in files) >= len(files):
            return not self._is_other(source, files)
        sizes = {size for size, _ in self._starts}
        alike = (number for number, (_, size) in enumerate(files) if size in sizes)
        return any(
            (files[number][1], start_of(source, number)) in self._starts
            for number in islice(alike, MOST_READ)
        )

    def _is_other(self, source: ListedSource, files: list[tuple[str, int]]) -> bool:
        """Return whether a file with the name and size of a recorded one has another start."""
        return any(
            start_of(source, number) not in self._starts_of[file]
            for number, file in enumerate(files)
            if file in self._starts_of
        )
