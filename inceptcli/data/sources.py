"""Where labelled images come from: class folders on disk, or shapes drawn on demand. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from inceptcli.data.decode import decode
from inceptcli.data.folders import LabelledImages, digests, where


class ImageSource(Protocol):
    """Labelled images by number."""

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


@dataclass(frozen=True)
class FolderSource:
    """Images in class folders."""

    images: LabelledImages

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

    def where(self, chosen: NDArray[np.bool_]) -> FolderSource:
        """The images for which `chosen` (N,) is true."""
        return FolderSource(where(self.images, chosen.tolist()))

    def digests(self) -> list[bytes | None]:
        """The SHA-256 of each image file's bytes, which are all read; None where that fails."""
        return digests(self.images)
