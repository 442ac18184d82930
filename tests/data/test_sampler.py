from __future__ import annotations

from inceptcli.data.loading.sampler import PositionedSampler, ShareSampler, seed_from


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
