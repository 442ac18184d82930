"""Exclude listed images from an evaluation, by number or path."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

import numpy as np

from inceptcli.data.folders import LabeledImages, where
from inceptcli.data.label_files import ILSVRC_NAME, LONGEST_NUMBER, LONGEST_SHOWN
from inceptcli.data.sources import FolderSource, ImageSource
from inceptcli.data.text_files import as_it_lies, read_text
from inceptcli.errors import UsageError, UserError
from inceptcli.text import printable

NUM_VALIDATION_IMAGES = 50_000


class Remaining(NamedTuple):
    """The remaining images, the number of excluded ones, and notes to log about them."""

    images: LabeledImages
    excluded: int
    notes: tuple[str, ...]


def exclude(source: ImageSource, file: Path, data: str) -> Remaining:
    """Return the images of `data`, a folder or a list, without those listed in `file`.

    See `exclude_from`; paths in `file` are relative to the folder of the class folders, the list's
    folder, or `data`.

    Raises:
        UsageError: the images are not files in folders.
    """
    if not isinstance(source, FolderSource):
        raise UsageError(f"--exclude {file}: works for folders and lists only")
    return exclude_from(source.images, file, roots_of(source, data))


def roots_of(source: FolderSource, data: str) -> set[Path]:
    """Return the folders that listed paths of the images in `data` may be relative to."""
    place, root = Path(data), source.images.root
    roots = {place.parent} if place.is_file() else {place, place / "images", place / "val"}
    return roots if root is None else {*roots, root}


def exclude_from(images: LabeledImages, file: Path, roots: Collection[Path]) -> Remaining:
    """Return the images without those listed in `file`, one per line.

    An entry is either the number, 1 to 50000, of an ILSVRC2012 validation image, as in the
    organizers' blacklist, or a path. Numbers are matched by file name, in any folder. Paths are
    relative to one of `roots`, or given like the images' own paths. Empty lines are ignored.

    Raises:
        UsageError: `file` cannot be read.
        UserError: a number is out of range, or no image remains.
    """
    numbered: dict[int, list[int]] = {}
    placed: dict[str, list[int]] = {}
    for index, path in enumerate(images.paths):
        if name := ILSVRC_NAME.fullmatch(path.name):
            numbered.setdefault(int(name[1]), []).append(index)
        placed.setdefault(os.path.normpath(path), []).append(index)
    excluded: set[int] = set()
    unknown = []
    entries = _entries(file)
    for line, entry in entries:
        if entry.isascii() and entry.isdecimal():
            if len(entry) > LONGEST_NUMBER or not 1 <= int(entry) <= NUM_VALIDATION_IMAGES:
                raise UserError(
                    f"{file} line {line}: the number of a validation image must be "
                    f"1 to {NUM_VALIDATION_IMAGES}, got {entry[:20]}"
                )
            meant = numbered.get(int(entry), [])
        else:
            places = {os.path.normpath(as_it_lies(root, entry)) for root in (*roots, Path())}
            meant = [index for place in places for index in placed.get(place, ())]
        excluded.update(meant)
        if not meant:
            unknown.append(entry)
    if len(excluded) == len(images.paths):
        raise UserError(f"{file}: excludes all {len(images.paths)} images")
    chosen = np.ones(len(images.paths), bool)
    chosen[list(excluded)] = False
    left = where(images, chosen)
    notes = [f"{len(excluded)} of {len(images.paths)} images left out by {file}"]
    if unknown:
        count = f"{len(unknown)} of {len(entries)} entries of {file}"
        notes.append(
            f"{count} match no image; the first is {printable(unknown[0][:LONGEST_SHOWN])}"
        )
    return Remaining(left, len(excluded), tuple(notes))


def _entries(file: Path) -> list[tuple[int, str]]:
    """Return the nonempty lines with their line numbers."""
    lines = enumerate((line.strip() for line in read_text(file, "--exclude").split("\n")), start=1)
    return [(number, line) for number, line in lines if line]
