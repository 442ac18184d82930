from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from inceptcli.data.loading.dataset import (
    EvaluationDataset,
    Sample,
    Skipped,
    TrainingDataset,
    collate,
)
from inceptcli.data.pixels.augmentation import augment, training_transform
from inceptcli.data.pixels.decode import UnreadableImage
from inceptcli.data.pixels.normalization import normalize
from inceptcli.data.pixels.preprocessing import Preprocessing
from tests.data.test_augmentation import varied


@dataclass
class Pictures:
    """Noise; the broken ones cannot be read."""

    broken: set[int] = field(default_factory=set)
    size: int = 12

    def __len__(self) -> int:
        return self.size

    def image(self, index: int, shorter_side: int | None = None) -> NDArray[np.uint8]:
        if index in self.broken:
            raise UnreadableImage("not an image")
        noise = np.random.default_rng(index).integers(0, 256, (90, 100, 3))
        return noise.astype(np.uint8)

    def label(self, index: int) -> int:
        return index % 3

    def name(self, index: int) -> str:
        return f"{index}.jpg"


TRANSFORM = training_transform(
    (80, 75), varied(brightness=0.2, contrast=0.2, saturation=0.2, hue=0.1)
)


def training(broken: set[int] | None = None, seed: int = 0) -> TrainingDataset:
    return TrainingDataset(Pictures(broken or set()), TRANSFORM, seed)


def image(sample: Sample) -> torch.Tensor:
    assert sample.image is not None
    return sample.image


def test_a_training_image_is_a_function_of_seed_epoch_and_number() -> None:
    one = image(training()[0, 5])
    assert one.shape == (3, 80, 75)
    assert one.dtype == torch.uint8
    torch.rand(7)
    assert torch.equal(one, image(training()[0, 5]))
    assert not torch.equal(one, image(training()[1, 5]))
    assert not torch.equal(one, image(training(seed=1)[0, 5]))


def test_augmentation_leaves_the_default_generator_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    augment(TRANSFORM, torch.zeros(3, 90, 90, dtype=torch.uint8), seed=1)
    assert torch.equal(torch.rand(1), expected)


def test_an_unreadable_training_image_is_replaced_and_named() -> None:
    sample = training({4, 5})[0, 4]
    assert (sample.number, sample.label) == (6, 6 % 3)
    assert sample.skipped == (Skipped(4, "not an image"), Skipped(5, "not an image"))
    assert image(sample).shape == (3, 80, 75)


def test_unreadable_images_only_end_the_run() -> None:
    with pytest.raises(UnreadableImage, match=r"2\.jpg: not an image; the next 11 are unreadable"):
        training(set(range(12)))[0, 2]


def test_an_unreadable_validation_image_is_left_out_and_named() -> None:
    images = EvaluationDataset(Pictures({1}), Preprocessing((75, 75)))
    batch = collate([images[0], images[1], images[2]])
    assert batch.images.shape == (2, 3, 75, 75)
    assert batch.labels.tolist() == [0, 2]
    assert batch.numbers.tolist() == [0, 2]
    assert batch.skipped == [Skipped(1, "not an image")]
    assert collate([images[1]]).images.shape[0] == 0


def test_black_becomes_minus_one_and_white_one() -> None:
    pixels = torch.tensor([0, 255, 51], dtype=torch.uint8).view(1, 1, 1, 3).expand(2, 3, 4, 3)
    normal = normalize(pixels, (0.5,) * 3, (0.5,) * 3)
    torch.testing.assert_close(normal[0, 0, 0], torch.tensor([-1.0, 1.0, -0.6]))
    imagenet = normalize(pixels, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    torch.testing.assert_close(imagenet[0, 1, 0, 1], torch.tensor((1 - 0.456) / 0.224))


def test_normalization_keeps_channels_last() -> None:
    pixels = torch.zeros(2, 3, 8, 8, dtype=torch.uint8).contiguous(
        memory_format=torch.channels_last
    )
    normal = normalize(pixels, (0.5,) * 3, (0.5,) * 3)
    assert normal.is_contiguous(memory_format=torch.channels_last)
