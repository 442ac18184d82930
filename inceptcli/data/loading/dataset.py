"""Images as training and validation see them: batches of uint8, and what could not be read."""

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
    """One image (3, H, W) uint8 with its label and number; no image when it was unreadable."""

    image: Tensor | None
    label: int
    number: int
    skipped: tuple[Skipped, ...] = ()


class Batch(NamedTuple):
    """Images (N, 3, H, W) uint8, labels and numbers in the source (N,) int64, and what was skipped.

    An image that replaces an unreadable one has its own number.
    """

    images: Tensor
    labels: Tensor
    numbers: Tensor
    skipped: list[Skipped]


class TrainingDataset(Dataset[Sample]):
    """Augmented images by (epoch, index); their randomness comes from (seed, epoch, index).

    An unreadable image is named and replaced by the next readable one, so that batches keep their
    size.
    """

    def __init__(self, source: ImageSource, transform: Transform, seed: int) -> None:
        self.source, self.transform, self.seed = source, transform, seed

    def __len__(self) -> int:
        """How many images there are."""
        return len(self.source)

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        """The image of this epoch; UnreadableImage when none of the next ten can be read either."""
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
            f"{self.source.name(first)}: {skipped[0].reason}; so are the next nine"
        )


class EvaluationDataset(Dataset[Sample]):
    """Images by index, cropped as `predict` and `eval` crop them; none when it is unreadable."""

    def __init__(self, source: ImageSource, preprocessing: Preprocessing) -> None:
        self.source, self.preprocessing = source, preprocessing

    def __len__(self) -> int:
        """How many images there are."""
        return len(self.source)

    def __getitem__(self, index: int) -> Sample:
        """The image, or the reason why there is none."""
        label = self.source.label(index)
        try:
            image = self.preprocessing.crop(self.source.image(index))
        except UnreadableImage as error:
            return Sample(None, label, index, (Skipped(index, str(error)),))
        return Sample(torch.from_numpy(image).permute(2, 0, 1), label, index)


def collate(samples: list[Sample]) -> Batch:
    """One batch, channels last in memory; samples without an image are left out."""
    readable = [sample for sample in samples if sample.image is not None]
    rows = [sample.image.permute(1, 2, 0) for sample in readable if sample.image is not None]
    images = torch.stack(rows) if rows else torch.empty(0, 1, 1, 3, dtype=torch.uint8)
    return Batch(
        images.permute(0, 3, 1, 2),
        torch.tensor([sample.label for sample in readable]),
        torch.tensor([sample.number for sample in readable]),
        [entry for sample in samples for entry in sample.skipped],
    )
