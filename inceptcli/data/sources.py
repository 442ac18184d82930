"""Sources of labeled images by number: class folders and remote files. No torch."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from inceptcli.data.file_paths import FilePaths
from inceptcli.data.folders import THREADS, Label, LabeledImages, digests, positions, where
from inceptcli.data.pixels.decode import decode, decode_remote
from inceptcli.errors import UsageError
from inceptcli.files.remote.address import Address

PART = 1000
"""Number of files that a thread looks up at a time."""

SLOW_SECONDS = 5e-5
"""Time to look up a file from which several threads are faster than one."""


class ImageSource(Protocol):
    """Labeled images by number."""

    def __len__(self) -> int:
        """Return the number of images."""

    def image(self, index: int, shorter_side: int | None = None) -> NDArray[np.uint8]:
        """Return RGB pixels (H, W, 3) of any size; raise UnreadableImage if there are none.

        See `decode` for `shorter_side`.
        """

    def label(self, index: int) -> Label:
        """Return the image's label, a position in the list of classes; see `Label`."""

    def name(self, index: int) -> str:
        """Return the image's name for messages."""


def is_multi_label(source: ImageSource) -> bool:
    """Return whether the images of a source, at least one, have any number of labels each."""
    return isinstance(source.label(0), tuple)


def only_label(source: ImageSource, index: int) -> int:
    """Return the label of an image with one; raise UsageError for multi-label data."""
    label = source.label(index)
    if isinstance(label, tuple):
        raise UsageError(f"{source.name(index)}: is of multi-label data; one label is needed here")
    return label


class ListedSource(ImageSource, Protocol):
    """Images that a resumed run can recognize."""

    def names(self) -> Iterator[str]:
        """Yield each image's name relative to the data; none for drawn images."""

    def files(self) -> Iterator[tuple[str, int]]:
        """Yield each image's name as `names`, and its size in bytes, -1 if unreadable.

        None for drawn images.
        """

    def start(self, index: int, maximum: int) -> bytes:
        """Return up to `maximum` first bytes of the image file; empty if unreadable."""


@dataclass(frozen=True)
class FolderSource:
    """Images in class folders or of a CSV file."""

    images: LabeledImages

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names; a label is a position in this list, 0-based."""
        return self.images.classes

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.images.paths)

    def image(self, index: int, shorter_side: int | None = None) -> NDArray[np.uint8]:
        """Return RGB pixels (H, W, 3); raise UnreadableImage if the file cannot be decoded."""
        return decode(self.images.paths[index], shorter_side)

    def label(self, index: int) -> Label:
        """Return the image's label, as positions in `classes`."""
        return self.images.labels[index]

    def name(self, index: int) -> str:
        """Return the image's path."""
        return str(self.images.paths[index])

    def names(self) -> Iterator[str]:
        """Yield paths relative to the root of the images."""
        start = self._root_length
        return (path[start:] for path in self.images.paths.texts())

    def files(self) -> Iterator[tuple[str, int]]:
        """Yield paths relative to the root of the images, and sizes in bytes.

        Uses several threads if a file takes long to look up, as in network file systems.
        """
        start = self._root_length
        for files in _looked_up(self.images.paths):
            yield from ((path[start:], size) for path, size in files)

    @property
    def _root_length(self) -> int:
        root = self.images.root
        return 0 if root is None else len(os.fspath(root / "x")) - 1

    def start(self, index: int, maximum: int) -> bytes:
        """Return up to `maximum` first bytes of the image file; empty if unreadable."""
        try:
            with self.images.paths[index].open("rb", buffering=0) as file:
                return file.read(maximum) or b""
        except OSError:
            return b""

    def where(self, chosen: NDArray[np.bool_]) -> FolderSource:
        """Return the images for which `chosen` (N,) is true."""
        return FolderSource(where(self.images, chosen))

    def digests(self) -> list[bytes | None]:
        """Read every image file and return its SHA-256, or None if it cannot be read."""
        return digests(self.images)


@dataclass(frozen=True)
class RemoteSource:
    """Images at remote addresses, each fetched when it is read; for evaluation."""

    addresses: tuple[Address, ...]
    labels: tuple[Label, ...]

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.addresses)

    def image(self, index: int, shorter_side: int | None = None) -> NDArray[np.uint8]:
        """Return RGB pixels (H, W, 3); raise UnreadableImage if fetching or decoding fails."""
        return decode_remote(self.addresses[index], shorter_side)

    def label(self, index: int) -> Label:
        """Return the image's label, a position in the list of classes; see `Label`."""
        return self.labels[index]

    def name(self, index: int) -> str:
        """Return the image's address, without secrets."""
        return str(self.addresses[index])


def labels_of(source: ImageSource) -> NDArray[np.int64]:
    """Return the labels of all images in order: one each, or any number for multi-label data."""
    labels = (place for index in range(len(source)) for place in positions(source.label(index)))
    return np.fromiter(labels, np.int64)


def _looked_up(paths: FilePaths) -> Iterator[list[tuple[str, int]]]:
    """Yield paths and their sizes, many at a time."""
    parts = (paths[at : at + PART] for at in range(0, len(paths), PART))
    begun = time.perf_counter()
    first = list(map(_with_sizes, islice(parts, 1)))
    is_slow = time.perf_counter() - begun > PART * SLOW_SECONDS
    yield from first
    if not is_slow:
        yield from map(_with_sizes, parts)
        return
    with ThreadPoolExecutor(THREADS) as pool:
        while some := list(islice(parts, THREADS)):
            yield from pool.map(_with_sizes, some)


def _with_sizes(paths: FilePaths) -> list[tuple[str, int]]:
    return [(path, _size(path)) for path in paths.texts()]


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size  # noqa: PTH116 (a Path would take twice the time)
    except OSError:
        return -1
