"""Datasets for training and validation: uint8 batches with a record of unreadable images."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset

from inceptcli.data.loading.sampler import seed_from
from inceptcli.data.pixels.augmentation import Transform, augment
from inceptcli.data.pixels.decode import UnreadableImage
from inceptcli.data.pixels.preprocessing import Preprocessing
from inceptcli.data.sources import ImageSource


class Skipped(NamedTuple):
    """An image that could not be read."""

    number: int
    reason: str


class Sample(NamedTuple):
    """One image (3, H, W) uint8, its label and its number; the image is None if unreadable."""

    image: Tensor | None
    label: int
    number: int
    skipped: tuple[Skipped, ...] = ()


class Batch(NamedTuple):
    """A batch: images (N, 3, H, W) uint8, labels (N,) int64, numbers (N,) int64, skipped images.

    A number is an image's index in the source. An image that replaces an unreadable one keeps its
    own number.
    """

    images: Tensor
    labels: Tensor
    numbers: Tensor
    skipped: list[Skipped]


class TrainingDataset(Dataset[Sample]):
    """Augmented images by (epoch, index); augmentation is seeded by (seed, epoch, index).

    Indices beyond the last image count through the images again. An unreadable image is recorded
    and replaced by the next readable one, so batches keep their size.
    """

    def __init__(self, source: ImageSource, transform: Transform, seed: int) -> None:
        self.source, self.transform, self.seed = source, transform, seed

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.source)

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        """Return the augmented image; raise UnreadableImage if ten in a row are unreadable."""
        epoch, first = key
        skipped: list[Skipped] = []
        for attempt in range(10):
            index = (first + attempt) % len(self.source)
            try:
                pixels = torch.from_numpy(self.source.image(index)).permute(2, 0, 1)
            except UnreadableImage as error:
                skipped.append(Skipped(index, str(error)))
                continue
            image = augment(self.transform, pixels, seed_from(self.seed, epoch, first))
            return Sample(image, self.source.label(index), index, tuple(skipped))
        raise UnreadableImage(
            f"{self.source.name(skipped[0].number)}: {skipped[0].reason}; the next nine are "
            "unreadable too"
        )


class EvaluationDataset(Dataset[Sample]):
    """Images by index, cropped as in `predict` and `eval`; None for unreadable images."""

    def __init__(self, source: ImageSource, preprocessing: Preprocessing) -> None:
        self.source, self.preprocessing = source, preprocessing

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.source)

    def __getitem__(self, index: int) -> Sample:
        """Return the image, or the reason it cannot be read."""
        label = self.source.label(index)
        try:
            image = self.preprocessing.crop(self.source.image(index))
        except UnreadableImage as error:
            return Sample(None, label, index, (Skipped(index, str(error)),))
        return Sample(torch.from_numpy(image).permute(2, 0, 1), label, index)


def collate(samples: list[Sample]) -> Batch:
    """Combine samples into a batch, channels last in memory; leave out unreadable images."""
    readable = [sample for sample in samples if sample.image is not None]
    rows = [sample.image.permute(1, 2, 0) for sample in readable if sample.image is not None]
    images = torch.stack(rows) if rows else torch.empty(0, 1, 1, 3, dtype=torch.uint8)
    return Batch(
        images.permute(0, 3, 1, 2),
        torch.tensor([sample.label for sample in readable]),
        torch.tensor([sample.number for sample in readable]),
        [entry for sample in samples for entry in sample.skipped],
    )
