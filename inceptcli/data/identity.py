"""Identify a dataset by its classes and its images' names and sizes, wherever it is. No torch.

The identity is stored as JSON Lines in `data.jsonl.gz`. The first line has the numbers of images
and a hash of the following lines; the second, the classes. Each further line has an image's part,
label (a list if the data is multi-label), name and size in bytes, -1 if unknown. The first image of
each class and part also has a hash of its first bytes. It detects swapped classes where names and
sizes agree, as with BMP files.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import zlib
from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from itertools import islice
from json.encoder import encode_basestring_ascii
from pathlib import Path
from typing import NamedTuple

from inceptcli.data.folders import Label, positions
from inceptcli.data.sources import ListedSource
from inceptcli.errors import UserError
from inceptcli.text import listed, printable

ImageNumber = tuple[str, int]
"""An image's part (train or val) and its position there, 0-based."""

LONGEST_REASON = 200

START = 65536
"""Number of first bytes of a file that are hashed."""

DAMAGE = (EOFError, LookupError, OSError, RecursionError, TypeError, ValueError, zlib.error)
"""Errors raised by a damaged JSON Lines file."""

PARTS = {"train": "training", "val": "validation"}

LINES = 1000
"""Number of lines to hash and compress at once."""

MOST_TIMES, AND_MORE = 200, 2**20
"""Maximum uncompressed size: times the compressed size, plus bytes. Names need a factor of 20."""


class Listed(NamedTuple):
    """An image of a dataset; `start` is the hash of its first bytes, if recorded."""

    part: str
    label: Label
    name: str
    bytes: int
    start: str = ""


@dataclass(frozen=True)
class DataIdentity:
    """Identity of a run's current data; computed on first access."""

    classes: tuple[str, ...]
    train: ListedSource
    val: ListedSource

    @cached_property
    def sha256(self) -> str:
        """Hash of all lines except the first."""
        found = hashlib.sha256()
        for block in self._blocks():
            found.update(block)
        return found.hexdigest()

    def images(self) -> Iterator[Listed]:
        """Yield all images in order; none for drawn shapes."""
        for part, source in self._parts():
            firsts = set(_firsts(source))
            for number, (name, size) in enumerate(source.files()):
                start = start_of(source, number) if number in firsts else ""
                yield Listed(part, source.label(number), name, size, start)

    def _parts(self) -> Iterator[tuple[str, ListedSource]]:
        return zip(PARTS, (self.train, self.val), strict=True)

    def write(self, path: Path) -> None:
        """Write `data.jsonl.gz`."""
        found, body = hashlib.sha256(), BytesIO()
        with gzip.GzipFile(fileobj=body, mode="wb", compresslevel=1, mtime=0) as file:
            for block in self._blocks():
                found.update(block)
                file.write(block)
        head = {"training": len(self.train), "validation": len(self.val)}
        first = json.dumps({**head, "sha256": found.hexdigest()})
        path.write_bytes(gzip.compress(f"{first}\n".encode(), mtime=0) + body.getvalue())

    def _blocks(self) -> Iterator[bytes]:
        """Yield all lines except the first, many at a time, since each call has a cost."""
        yield f"{json.dumps(self.classes)}\n".encode()
        for part, source in self._parts():
            files, firsts, images = source.files(), _firsts(source), range(len(source))
            for at in images[::LINES]:
                lines = _lines(part, map(source.label, images[at : at + LINES]), files)
                for first in firsts[bisect_left(firsts, at) : bisect_left(firsts, at + len(lines))]:
                    lines[first - at] += f', "{start_of(source, first)}"'
                yield "".join([f"[{line}]\n" for line in lines]).encode()


def _lines(part: str, labels: Iterable[Label], files: Iterator[tuple[str, int]]) -> list[str]:
    """Return the JSON of the next images, without brackets, in half the time of json.dumps."""
    return [
        f'"{part}", {json.dumps(label) if isinstance(label, tuple) else label}, '
        f"{encode_basestring_ascii(name)}, {size}"
        for label, (name, size) in zip(labels, files, strict=False)
    ]


def _firsts(source: ListedSource) -> list[int]:
    """Return the numbers of the images with a label that no earlier one has, ascending."""
    labels, seen, firsts = set[Label](), set[int](), []
    for number in range(len(source)):
        label = source.label(number)
        if label not in labels:
            labels.add(label)
            if not seen.issuperset(positions(label)):
                seen.update(positions(label))
                firsts.append(number)
    return firsts


def start_of(source: ListedSource, number: int) -> str:
    """Return a hash of the first bytes of an image file."""
    return hashlib.sha256(source.start(number, START)).hexdigest()[:16]


def images_sha256(source: ListedSource) -> str:
    """Return a hash of the images' file names and sizes and the start of one, in any folder."""
    files = [(os.path.basename(name), size) for name, size in source.files()]  # noqa: PTH119
    order = sorted(range(len(files)), key=files.__getitem__)
    lines = [start_of(source, order[0]), *(f"{files[number]}" for number in order)]
    return hashlib.sha256("\n".join(lines).encode(errors="surrogateescape")).hexdigest()


class KeptIdentity:
    """Identity stored in a `data.jsonl.gz`; access raises UserError if it cannot be read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._opened() as lines:
            head = json.loads(next(lines, b""))
            self.sha256 = str(head["sha256"])
            self.training, self.validation = int(head["training"]), int(head["validation"])

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Class names in label order."""
        with self._opened() as lines:
            next(lines, b"")
            classes = json.loads(next(lines, b""))
            if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
                raise ValueError("its classes are not a list of names")
            return tuple(classes)

    @cached_property
    def images(self) -> list[Listed]:
        """All images in order."""
        with self._opened() as lines:
            images = map(json.loads, islice(lines, 2, None))
            return [_checked(Listed(*image), len(self.classes)) for image in images]

    @contextmanager
    def _opened(self) -> Iterator[Iterator[bytes]]:
        try:
            most = MOST_TIMES * self.path.stat().st_size + AND_MORE
            with gzip.open(self.path) as file:
                yield _lines_of(file, most)
        except DAMAGE as error:
            reason = printable(str(error)[:LONGEST_REASON]) or "it is cut short"
            raise UserError(
                f"{self.path}: cannot be read ({reason}), so the run's training data is unknown; "
                "give another --output"
            ) from error

    def validated(self, names: Sequence[str], excluded: Collection[str] = ()) -> list[bool] | None:
        """Return whether each named image validates; None unless names match all images once.

        Images in `excluded` are not recorded if they would validate.
        """
        recorded = {image.name: image.part == "val" for image in self.images}
        is_val = dict.fromkeys(excluded, True) | recorded
        if len(recorded) < len(self.images) or sorted(is_val) != sorted(names):
            return None
        return [is_val[name] for name in names]


def _lines_of(file: gzip.GzipFile, most: int) -> Iterator[bytes]:
    """Yield the lines of a file; raise ValueError if it has more than `most` bytes."""
    while line := file.readline(most + 1):
        most -= len(line)
        if most < 0:
            raise ValueError("it is too large uncompressed")
        yield line


def _checked(image: Listed, classes: int) -> Listed:
    """Return the image; raise ValueError if a field has the wrong type or range."""
    label = tuple(image.label) if isinstance(image.label, list) else image.label
    numbers = (*positions(label), image.bytes)
    if (
        image.part not in PARTS
        or not all(isinstance(text, str) for text in (image.name, image.start))
        or not all(type(number) is int for number in numbers)
        or not all(0 <= place < classes for place in positions(label))
    ):
        raise ValueError("a line is not an image")
    return image._replace(label=label)


def difference_of_data(
    kept: KeptIdentity, now: DataIdentity, may_change: Collection[ImageNumber]
) -> str | None:
    """Describe how the data changed; return None if it did not.

    Changes to the files of the images in `may_change` are ignored.
    """
    if kept.sha256 == now.sha256:
        return None
    if of_classes := _of_classes(kept.classes, now.classes):
        return of_classes
    images = list(now.images())
    said: list[str] = []
    for part in PARTS:
        before = [image for image in kept.images if image.part == part]
        after = [image for image in images if image.part == part]
        numbers = {number for name, number in may_change if name == part}
        said += _of_images(PARTS[part], _keyed(before), _keyed(after), numbers)
    return "; ".join(said) or None


def _of_classes(before: tuple[str, ...], after: tuple[str, ...]) -> str:
    gone = [name for name in before if name not in set(after)]
    new = [name for name in after if name not in set(before)]
    said = [f"{_names(names)} {word}" for names, word in ((gone, "gone"), (new, "new")) if names]
    if not said and before != after:
        label = next(i for i, name in enumerate(before) if name != after[i])
        return (
            f"the classes are in a different order: class {label} was {printable(before[label])}, "
            f"now it is {printable(after[label])}"
        )
    return ", ".join(said)


def _names(names: Sequence[str]) -> str:
    shown = listed(names)
    return f"class {shown}" if len(names) == 1 else f"{len(names)} classes ({shown})"


Key = tuple[str, int]
"""A name and the number of earlier images of that name; tar files may contain a name twice."""


def _keyed(images: Sequence[Listed]) -> dict[Key, Listed]:
    met: dict[str, int] = {}
    keyed = {}
    for image in images:
        met[image.name] = met.get(image.name, -1) + 1
        keyed[image.name, met[image.name]] = image
    return keyed


def _of_images(
    word: str, before: dict[Key, Listed], after: dict[Key, Listed], may_change: Collection[int]
) -> list[str]:
    free = {key for number, key in enumerate(before) if number in may_change}
    both = [key for key in before if key in after]
    changed = [key for key in both if _differ(before[key], after[key]) and key not in free]
    resized = [key for key in changed if before[key].bytes != after[key].bytes]
    moved = [key for key in both if before[key].label != after[key].label]
    said = [
        f"{_count(len(keys), word)} {what}, the first is {printable(keys[0][0])}"
        for keys, what in (
            ([key for key in before if key not in after], "gone"),
            ([key for key in after if key not in before], "added"),
            (moved, "with a different class"),
            (resized, "with a different size"),
            ([] if resized else changed, "with different content"),
        )
        if keys
    ]
    if not said and list(before) != list(after):
        return [f"the {word} images are in a different order"]
    return said


def _differ(one: Listed, other: Listed) -> bool:
    """Return whether the files differ; only a class's first image has a hash of its start."""
    if one.bytes != other.bytes:
        return True
    return bool(one.start and other.start) and one.start != other.start


def _count(number: int, word: str) -> str:
    return f"{number} {word} image{'s' * (number > 1)}"
