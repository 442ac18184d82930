"""Order of training images: a function of (seed, epoch) that can start at any position."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Sampler


class PositionedSampler(Sampler[tuple[int, int]]):
    """Yields (epoch, index); each epoch is a permutation of all images seeded by (seed, epoch).

    Ranks take turns with whole batches, so that N ranks train like one that accumulates N batches.
    The incomplete last batch of an epoch is dropped, as are batches beyond `limit_batches`.

    `batches_done` returns the number of batches processed in the whole training. It alone
    determines the epoch and the offset, so a resumed run continues with the exact next image,
    regardless of what workers had prefetched.
    """

    def __init__(
        self,
        num_images: int,
        batch_size: int,
        seed: int,
        batches_done: Callable[[], int],
        rank: int = 0,
        num_ranks: int = 1,
        limit_batches: int | None = None,
    ) -> None:
        self.num_images, self.batch_size, self.seed = num_images, batch_size, seed
        self.batches_done, self.rank, self.num_ranks = batches_done, rank, num_ranks
        self.batches_per_epoch = num_images // (batch_size * num_ranks)
        if limit_batches is not None:
            self.batches_per_epoch = min(limit_batches, self.batches_per_epoch)

    def __len__(self) -> int:
        """Return this rank's images in a full epoch; an epoch entered midway yields fewer."""
        return self.batches_per_epoch * self.batch_size

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Yield from the current position to the end of the epoch."""
        epoch, batch = divmod(self.batches_done(), self.batches_per_epoch)
        used = self._order(epoch)[: len(self) * self.num_ranks]
        mine = used.reshape(-1, self.num_ranks, self.batch_size)[batch:, self.rank]
        for index in mine.flatten().tolist():
            yield epoch, index

    def _order(self, epoch: int) -> Tensor:
        """Return the indices of an epoch for all ranks, (num_images,) or fewer."""
        return torch.randperm(self.num_images, generator=_generator(self.seed, epoch))


class BalancedSampler(PositionedSampler):
    """PositionedSampler whose epochs have every class equally often, as in class-aware sampling.

    Each round has every class once, in random order, so that the counts of the classes in any first
    part of an epoch differ by at most one. The images of a class are a cycle of permutations, which
    the next epoch continues. Classes without images take no part.

    An image that comes again in an epoch has its index plus a multiple of the number of images, so
    that TrainingDataset augments it differently.
    """

    def __init__(self, labels: NDArray[np.int64], *arguments: Any, **options: Any) -> None:
        """Take the label of each image, (N,), and the further arguments of PositionedSampler."""
        super().__init__(len(labels), *arguments, **options)
        by_label, counts = labels.argsort(kind="stable"), np.bincount(labels)
        ends = counts.cumsum()[:-1]
        classes = [images for images in np.split(by_label, ends) if len(images)]
        self.classes = [torch.from_numpy(images) for images in classes]

    def _order(self, epoch: int) -> Tensor:
        rounds = -(-len(self) * self.num_ranks // len(self.classes))
        drawn = [self._draws(number, epoch * rounds, rounds) for number in range(len(self.classes))]
        turns = torch.rand(rounds, len(drawn), generator=_generator(self.seed, epoch)).argsort(1)
        return torch.stack(drawn, dim=1).gather(1, turns).flatten()

    def _draws(self, number: int, start: int, count: int) -> Tensor:
        """Return `count` draws of a class from position `start` of its cycle."""
        images = self.classes[number]
        first, last = start // len(images), (start + count - 1) // len(images)
        passes = [
            images[torch.randperm(len(images), generator=_generator(self.seed, number, turn))]
            + (turn - first) * self.num_images
            for turn in range(first, last + 1)
        ]
        return torch.cat(passes)[start - first * len(images) :][:count]


class ShareSampler(Sampler[int]):
    """A rank's evaluation images; every image is on exactly one rank.

    `measured` selects that many images, evenly spaced; None selects all.
    """

    def __init__(
        self, num_images: int, rank: int = 0, num_ranks: int = 1, measured: int | None = None
    ) -> None:
        numbers = range(rank, num_images if measured is None else measured, num_ranks)
        self.indices: Sequence[int] = numbers
        if measured is not None and measured < num_images:
            self.indices = [number * num_images // measured for number in numbers]

    def __len__(self) -> int:
        """Return the number of images of this rank."""
        return len(self.indices)

    def __iter__(self) -> Iterator[int]:
        """Yield indices in ascending order."""
        return iter(self.indices)


def _generator(*parts: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed_from(*parts))


def seed_from(*parts: int) -> int:
    """Return a 63-bit seed from several non-negative integers, such as (seed, epoch, image).

    Mixes bits like SplitMix64, so nearby integers give unrelated seeds.
    """
    mask = 2**64 - 1
    state = 0
    for part in parts:
        state = (state + part + 0x9E3779B97F4A7C15) & mask
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & mask
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & mask
        state ^= state >> 31
    return state >> 1
