"""The order of training images: a function of (seed, epoch), entered at any position."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch.utils.data import Sampler


class PositionedSampler(Sampler[tuple[int, int]]):
    """Yields (epoch, index): each epoch a permutation of all images from (seed, epoch).

    Ranks take turns, so that a batch of all ranks together is a run of consecutive places in the
    permutation; the incomplete last batch of an epoch is dropped, and what is beyond
    `limit_batches`. `batches_done` says how many
    batches of the whole training were processed: it alone decides epoch and offset, so a resumed
    run goes on with the very image that comes next, whatever workers had fetched ahead.
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
        """Images of this rank in a whole epoch; an epoch entered midway yields fewer."""
        return self.batches_per_epoch * self.batch_size

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """From the present position to the end of its epoch."""
        epoch, batch = divmod(self.batches_done(), self.batches_per_epoch)
        generator = torch.Generator().manual_seed(seed_from(self.seed, epoch))
        order = torch.randperm(self.num_images, generator=generator)
        mine = order[self.rank : len(self) * self.num_ranks : self.num_ranks]
        for index in mine[batch * self.batch_size :].tolist():
            yield epoch, index


class ShareSampler(Sampler[int]):
    """Rank's share of the evaluation images: every image on exactly one rank, none twice.

    Of all, or of `measured` ones that are spread evenly over them.
    """

    def __init__(
        self, num_images: int, rank: int = 0, num_ranks: int = 1, measured: int | None = None
    ) -> None:
        numbers = range(rank, num_images if measured is None else measured, num_ranks)
        self.indices: Sequence[int] = numbers
        if measured is not None and measured < num_images:
            self.indices = [number * num_images // measured for number in numbers]

    def __len__(self) -> int:
        """Images of this rank."""
        return len(self.indices)

    def __iter__(self) -> Iterator[int]:
        """In order."""
        return iter(self.indices)


def seed_from(*parts: int) -> int:
    """One 63-bit seed from several non-negative integers, such as (seed, epoch, image).

    Mixed like SplitMix64, so that neighboring parts give unrelated seeds.
    """
    mask = 2**64 - 1
    state = 0
    for part in parts:
        state = (state + part + 0x9E3779B97F4A7C15) & mask
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & mask
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & mask
        state ^= state >> 31
    return state >> 1
