"""Some images of another source, with labels of their own: one or several accepted ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inceptcli.data.sources import ImageSource, only_label


@dataclass(frozen=True)
class SelectedImages:
    """Some images of another source, each with at least one accepted label.

    Attributes:
        whole: The other source.
        numbers: Number of each image in it, (N,).
        accepted: Labels of each image, ascending; a prediction is correct if it is one of them.
    """

    whole: ImageSource
    numbers: tuple[int, ...]
    accepted: tuple[tuple[int, ...], ...]

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.numbers)

    def image(self, index: int, shorter_side: int | None = None) -> NDArray[np.uint8]:
        """Return RGB pixels (H, W, 3); raise UnreadableImage if there are none."""
        return self.whole.image(self.numbers[index], shorter_side)

    def label(self, index: int) -> int:
        """Return the image's first accepted label."""
        return self.accepted[index][0]

    def name(self, index: int) -> str:
        """Return the image's name for messages."""
        return self.whole.name(self.numbers[index])


def several_labels(source: ImageSource, index: int) -> tuple[int, ...]:
    """Return all accepted labels of an image if there are several; else ()."""
    labels = source.accepted[index] if isinstance(source, SelectedImages) else ()
    return labels if len(labels) > 1 else ()


def of_classes(source: ImageSource, subset: Sequence[int]) -> SelectedImages:
    """Return the images with a label in `subset`; labels become positions there."""
    position = {label: place for place, label in enumerate(subset)}
    numbers, accepted = [], []
    for number in range(len(source)):
        own = several_labels(source, number) or (only_label(source, number),)
        labels = [position[label] for label in own if label in position]
        if labels:
            numbers.append(number)
            accepted.append(tuple(labels))
    return SelectedImages(source, tuple(numbers), tuple(accepted))


def has_several_labels(source: ImageSource) -> bool:
    """Return whether an image of a source has several accepted labels."""
    return isinstance(source, SelectedImages) and any(len(labels) > 1 for labels in source.accepted)
