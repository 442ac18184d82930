from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from inceptcli.data.loading.sampler import (
    BalancedSampler,
    PositionedSampler,
    ShareSampler,
    seed_from,
)


def sampler(done: int = 0, rank: int = 0, ranks: int = 1, images: int = 23) -> PositionedSampler:
    return PositionedSampler(
        images, 4, seed=7, batches_done=lambda: done, rank=rank, num_ranks=ranks
    )


def test_an_epoch_holds_every_image_once_but_for_the_incomplete_batch() -> None:
    keys = list(sampler())
    assert len(keys) == len(sampler()) == 20
    assert {epoch for epoch, _ in keys} == {0}
    assert len({index for _, index in keys}) == 20


def test_the_order_depends_on_epoch_and_seed_alone() -> None:
    first = [index for _, index in sampler(done=0)]
    assert first == [index for _, index in sampler(done=0)]
    assert first != [index for _, index in sampler(done=5)]
    other = PositionedSampler(23, 4, seed=8, batches_done=lambda: 0)
    assert first != [index for _, index in other]


def test_an_epoch_entered_midway_goes_on_where_it_was() -> None:
    whole = list(sampler(done=5))
    for batches in range(5):
        assert list(sampler(done=5 + batches)) == whole[4 * batches :]


def in_turns(ranks: list[list[tuple[int, int]]], batch: int) -> list[tuple[int, int]]:
    """The images of all ranks, a batch of each rank at a time."""
    starts = range(0, len(ranks[0]), batch)
    return [key for start in starts for rank in ranks for key in rank[start : start + batch]]


@pytest.mark.parametrize("done", [0, 1])
def test_ranks_take_whole_batches_in_turns_as_accumulated_batches_are(done: int) -> None:
    alone = list(sampler(done=3 * done, images=24))
    ranks = [list(sampler(done, rank, 3, images=24)) for rank in range(3)]
    assert in_turns(ranks, batch=4) == alone
    assert len(alone) == 24 - 12 * done


def test_ranks_share_an_epoch_without_overlap() -> None:
    alone = {index for _, index in sampler(images=24)}
    ranks = [[index for _, index in sampler(rank=rank, ranks=3, images=24)] for rank in range(3)]
    assert [len(indices) for indices in ranks] == [8, 8, 8]
    assert set().union(*ranks) == alone == set(range(24))


def test_evaluation_images_are_shared_out_exactly() -> None:
    shares = [list(ShareSampler(10, rank, 3)) for rank in range(3)]
    assert sorted(index for share in shares for index in share) == list(range(10))
    assert [len(ShareSampler(10, rank, 3)) for rank in range(3)] == [4, 3, 3]


def test_seeds_of_neighbors_are_unrelated() -> None:
    seeds = {seed_from(a, b, c) for a in range(10) for b in range(10) for c in range(10)}
    assert len(seeds) == 1000
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert seed_from(1, 0) != seed_from(0, 1)
    differing = [(seed_from(0, i) ^ seed_from(0, i + 1)).bit_count() for i in range(100)]
    assert min(differing) > 20


LABELS = np.array([0] * 50 + [3] * 12 + [1] * 1 + [0] * 10)
"""Three classes of 60, 12 and 1 images; class 2 has none."""


def balanced(
    done: int = 0, rank: int = 0, ranks: int = 1, batch: int = 4, limit: int | None = None
) -> list[tuple[int, int]]:
    sampler = BalancedSampler(LABELS, batch, 7, lambda: done, rank, ranks, limit)
    keys = list(sampler)
    assert len(keys) == len(sampler) - batch * (done % sampler.batches_per_epoch)
    return keys


def test_a_balanced_epoch_has_every_class_equally_often() -> None:
    keys = balanced()
    assert len(keys) == len(list(sampler(images=len(LABELS))))
    counts = Counter(int(LABELS[draw % len(LABELS)]) for _, draw in keys)
    assert counts == {0: 24, 3: 24, 1: 24}
    for end in range(len(keys) + 1):
        seen = [int(LABELS[draw % len(LABELS)]) for _, draw in keys[:end]]
        often = [seen.count(label) for label in (0, 1, 3)]
        assert max(often) - min(often) <= 1
    assert max(Counter(draw % len(LABELS) for _, draw in keys if draw % 73 < 62).values()) == 2


def test_an_image_that_comes_again_in_an_epoch_has_another_number() -> None:
    for epoch in range(4):
        draws = [draw for _, draw in balanced(done=18 * epoch)]
        assert len(set(draws)) == len(draws)
        assert sum(LABELS[draw % len(LABELS)] == 1 for draw in draws) == 24  # the only one of 1


def test_a_class_is_seen_whole_before_an_image_of_it_comes_again() -> None:
    epochs = [[draw % len(LABELS) for _, draw in balanced(done=18 * epoch)] for epoch in range(5)]
    common = [draw for draws in epochs for draw in draws if LABELS[draw] == 0]
    assert Counter(common) == dict.fromkeys(np.flatnonzero(LABELS == 0).tolist(), 2)
    assert epochs[0] != epochs[1]


def test_a_balanced_epoch_entered_midway_goes_on_where_it_was() -> None:
    for limit in (None, 7):
        whole = balanced(done=3 * (limit or 18), limit=limit)
        assert {epoch for epoch, _ in whole} == {3}
        for batches in range(limit or 18):
            rest = balanced(done=3 * (limit or 18) + batches, limit=limit)
            assert rest == whole[4 * batches :]


@pytest.mark.parametrize("limit", [None, 3])
def test_ranks_share_a_balanced_epoch_as_one_process_draws_it(limit: int | None) -> None:
    alone = balanced(batch=6, limit=limit)
    ranks = [balanced(rank=rank, ranks=3, batch=2, limit=limit) for rank in range(3)]
    assert in_turns(ranks, batch=2) == alone
