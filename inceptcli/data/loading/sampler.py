"""Order of training images: a function of (seed, epoch) that can start at any position."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch.utils.data import Sampler


class PositionedSampler(Sampler[tuple[int, int]]):
    """Yields (epoch, index); each epoch is a permutation of all images seeded by (seed, epoch).

    Ranks take turns, so the batches of all ranks together are consecutive in the permutation. The
    incomplete last batch of an epoch is dropped, as are batches beyond `limit_batches`.

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
        generator = torch.Generator().manual_seed(seed_from(self.seed, epoch))
        order = torch.randperm(self.num_images, generator=generator)
        mine = order[self.rank : len(self) * self.num_ranks : self.num_ranks]
        for index in mine[batch * self.batch_size :].tolist():
            yield epoch, index


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
