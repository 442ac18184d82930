"""Where labeled images come from: class folders on disk, or shapes drawn on demand. No torch."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from inceptcli.data.folders import LabeledImages, digests, where
from inceptcli.data.pixels.decode import decode, decode_remote
from inceptcli.files.remote.address import Address

THREADS = 16
PART = 1000
"""Files that a thread asks about at a time."""


class ImageSource(Protocol):
    """Labeled images by number."""

    def __len__(self) -> int:
        """How many."""

    def image(self, index: int, shorter_side: int | None = None) -> NDArray[np.uint8]:
        """RGB pixels (H, W, 3) of any size; UnreadableImage when there are none.

        `shorter_side` is as in `decode`.
        """

    def label(self, index: int) -> int:
        """Its class as a place in the list of classes."""

    def name(self, index: int) -> str:
        """What to call it in a message."""


class ListedSource(ImageSource, Protocol):
    """Images that a run is trained on, so that it knows them again."""

    def files(self) -> list[tuple[str, int]]:
        """What each image is called wherever the data lies, and its bytes; -1 where none are.

        Empty where images are drawn.
        """

    def start(self, index: int, maximum: int) -> bytes:
        """How its file starts, at most so many bytes; nothing where that cannot be read."""


@dataclass(frozen=True)
class FolderSource:
    """Images in class folders."""

    images: LabeledImages

    @property
    def classes(self) -> tuple[str, ...]:
        """Names; a label is a position in this list, 0-based."""
        return self.images.classes

    def __len__(self) -> int:
        """How many."""
        return len(self.images.paths)

    def image(self, index: int, shorter_side: int | None = None) -> NDArray[np.uint8]:
        """Decoded pixels; UnreadableImage when the file has none."""
        return decode(self.images.paths[index], shorter_side)

    def label(self, index: int) -> int:
        """Its folder's place among the classes."""
        return self.images.labels[index]

    def name(self, index: int) -> str:
        """Its path."""
        return str(self.images.paths[index])

    def files(self) -> list[tuple[str, int]]:
        """Paths below the folder that has the class folders, and sizes as the file system has them.

        Several threads ask, for a file system across a network answers late.
        """
        root = self.images.root
        start = 0 if root is None else len(os.fspath(root / "x")) - 1
        paths = [os.fspath(path) for path in self.images.paths]
        with ThreadPoolExecutor(THREADS) as pool:
            parts = pool.map(_sizes, (paths[at : at + PART] for at in range(0, len(paths), PART)))
            sizes = [size for part in parts for size in part]
        return [(path[start:], size) for path, size in zip(paths, sizes, strict=True)]

    def start(self, index: int, maximum: int) -> bytes:
        """How its file starts, at most so many bytes; nothing where that cannot be read."""
        try:
            with self.images.paths[index].open("rb", buffering=0) as file:
                return file.read(maximum) or b""
        except OSError:
            return b""

    def where(self, chosen: NDArray[np.bool_]) -> FolderSource:
        """The images for which `chosen` (N,) is true."""
        return FolderSource(where(self.images, chosen.tolist()))

    def digests(self) -> list[bytes | None]:
        """The SHA-256 of each image file's bytes, which are all read; None where that fails."""
        return digests(self.images)


@dataclass(frozen=True)
class RemoteSource:
    """Images at addresses, each fetched when it is read; for evaluation."""

    addresses: tuple[Address, ...]
    labels: tuple[int, ...]

    def __len__(self) -> int:
        """How many."""
        return len(self.addresses)

    def image(self, index: int, shorter_side: int | None = None) -> NDArray[np.uint8]:
        """Decoded pixels; UnreadableImage when the file cannot be had or has none."""
        return decode_remote(self.addresses[index], shorter_side)

    def label(self, index: int) -> int:
        """Its class's place among the classes."""
        return self.labels[index]

    def name(self, index: int) -> str:
        """Its address, without secrets."""
        return str(self.addresses[index])


def _sizes(paths: list[str]) -> list[int]:
    return [_size(path) for path in paths]


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size  # noqa: PTH116 (a Path would take twice the time)
    except OSError:
        return -1
