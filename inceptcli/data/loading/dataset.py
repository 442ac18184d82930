"""Datasets for training and validation: uint8 batches with a record of unreadable images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from inceptcli.data.folders import Label
from inceptcli.data.loading.sampler import seed_from
from inceptcli.data.pixels.augmentation import Transform, augment, evaluation_crop
from inceptcli.data.pixels.decode import UnreadableImage
from inceptcli.data.pixels.preprocessing import Preprocessing
from inceptcli.data.sources import ImageSource

MOST_SKIPPED = 1000
"""Unreadable images in a row after which a run ends: the storage is probably gone."""


class Skipped(NamedTuple):
    """An image that could not be read."""

    number: int
    reason: str


class Sample(NamedTuple):
    """One image (3, H, W) uint8, its label and its number; the image is None if unreadable.

    The label of multi-label data is 0 or 1 for each class.
    """

    image: Tensor | None
    label: int | NDArray[np.float32]
    number: int
    skipped: tuple[Skipped, ...] = ()


class Batch(NamedTuple):
    """A batch: images (N, 3, H, W) uint8, labels (N,) int64, numbers (N,) int64, skipped images.

    Labels of multi-label data are (N, classes) float32, 0 or 1. A number is an image's index in the
    source. An image that replaces an unreadable one keeps its
    own number.
    """

    images: Tensor
    labels: Tensor
    numbers: Tensor
    skipped: list[Skipped]


class Features:
    """Features of images by number that a frozen network has computed; unreadable images.

    A batch of features has them in place of images, as images of one pixel: (N, C, 1, 1) floats.
    """

    def __init__(self, num_images: int) -> None:
        self.num_images = num_images
        self.rows: Tensor | None = None
        self.unreadable: dict[int, str] = {}

    def add(self, numbers: Tensor, rows: Tensor | None, skipped: Sequence[Skipped]) -> None:
        """Add the features (N, C) of the images with `numbers` (N,), and unreadable images."""
        self.unreadable.update(skipped)
        if rows is not None:
            if self.rows is None:
                self.rows = torch.empty(self.num_images, rows.shape[1], dtype=rows.dtype)
            self.rows[numbers] = rows

    def image(self, number: int) -> Tensor:
        """Return an image's features (C, 1, 1); raise UnreadableImage if it has none."""
        if number in self.unreadable or self.rows is None:
            raise UnreadableImage(self.unreadable[number])
        return self.rows[number, :, None, None]


class TrainingDataset(Dataset[Sample]):
    """Augmented images by (epoch, index); augmentation is seeded by (seed, epoch, index).

    Indices beyond the last image count through the images again. An unreadable image is recorded
    and replaced by the next readable one, so batches keep their size. `features` replace the
    images. `num_classes` is needed for multi-label data.
    """

    def __init__(
        self,
        source: ImageSource,
        transform: Transform,
        seed: int,
        features: Features | None = None,
        num_classes: int | None = None,
    ) -> None:
        self.source, self.transform, self.seed = source, transform, seed
        self.features, self.num_classes = features, num_classes

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.source)

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        """Return the augmented image; raise UnreadableImage after MOST_SKIPPED unreadable ones."""
        epoch, first = key
        skipped: list[Skipped] = []
        for attempt in range(min(MOST_SKIPPED, len(self.source))):
            index = (first + attempt) % len(self.source)
            try:
                image = self._image(index, seed_from(self.seed, epoch, first))
            except UnreadableImage as error:
                skipped.append(Skipped(index, str(error)))
                continue
            label = as_target(self.source.label(index), self.num_classes)
            return Sample(image, label, index, tuple(skipped))
        others = f"; the next {len(skipped) - 1} are unreadable too" * (len(skipped) > 1)
        raise UnreadableImage(f"{self.source.name(skipped[0].number)}: {skipped[0].reason}{others}")

    def _image(self, index: int, seed: int) -> Tensor:
        if self.features is not None:
            return self.features.image(index)
        pixels = torch.from_numpy(self.source.image(index)).permute(2, 0, 1)
        return augment(self.transform, pixels, seed)


class EvaluationDataset(Dataset[Sample]):
    """Images by index, cropped as in `predict` and `eval`; None for unreadable images.

    `features` replace the images. `num_classes` is needed for multi-label data.
    """

    def __init__(
        self,
        source: ImageSource,
        preprocessing: Preprocessing,
        features: Features | None = None,
        num_classes: int | None = None,
    ) -> None:
        self.source, self.preprocessing, self.features = source, preprocessing, features
        self.num_classes = num_classes

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.source)

    def __getitem__(self, index: int) -> Sample:
        """Return the image, or the reason it cannot be read."""
        label = as_target(self.source.label(index), self.num_classes)
        try:
            return Sample(self._image(index), label, index)
        except UnreadableImage as error:
            return Sample(None, label, index, (Skipped(index, str(error)),))

    def _image(self, index: int) -> Tensor:
        if self.features is not None:
            return self.features.image(index)
        return evaluation_crop(self.preprocessing, self.source.image(index))


def as_target(label: Label, num_classes: int | None) -> int | NDArray[np.float32]:
    """Return one label as it is; several as 0 or 1 for each class, (num_classes,)."""
    if not isinstance(label, tuple):
        return label
    if num_classes is None:
        raise ValueError("multi-label data needs num_classes")
    target = np.zeros(num_classes, np.float32)
    target[list(label)] = 1
    return target


def collate(samples: list[Sample]) -> Batch:
    """Combine samples into a batch, channels last in memory; leave out unreadable images."""
    readable = [sample for sample in samples if sample.image is not None]
    rows = [sample.image.permute(1, 2, 0) for sample in readable if sample.image is not None]
    images = torch.stack(rows) if rows else torch.empty(0, 1, 1, 3, dtype=torch.uint8)
    return Batch(
        images.permute(0, 3, 1, 2),
        torch.from_numpy(np.array([sample.label for sample in readable])),
        torch.tensor([sample.number for sample in readable]),
        [entry for sample in samples for entry in sample.skipped],
    )
