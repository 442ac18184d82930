"""Sources of labeled images by number: class folders and remote files. No torch."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from inceptcli.data.file_sizes import file_sizes
from inceptcli.data.folders import Label, LabeledImages, digests, positions, where
from inceptcli.data.pixels.decode import decode, decode_remote
from inceptcli.errors import UsageError
from inceptcli.files.remote.address import Address


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
        """Yield paths relative to the root of the images, and sizes in bytes."""
        return zip(self.names(), file_sizes(self.images.paths), strict=True)

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
