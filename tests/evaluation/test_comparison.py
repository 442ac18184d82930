"""One network against another, against statsmodels and by hand; each network of an ensemble."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from inceptcli.evaluation.bootstrap import RESAMPLES, SEED, mean_intervals, resamples
from inceptcli.evaluation.comparison import (
    ClassChange,
    EnsembleMember,
    Sides,
    compare,
    mcnemar,
    members_of,
    most_changed,
)
from inceptcli.evaluation.measures import ImageResult


def results(right: list[bool], losses: list[float] | None = None) -> list[ImageResult]:
    """Images of three classes in turn; a wrong answer is the next class."""
    return [
        ImageResult(f"{n}.jpg", n % 3, (n + (not is_right)) % 3, 0.5, loss, 1 if is_right else 2)
        for n, (is_right, loss) in enumerate(zip(right, losses or [1.0] * len(right), strict=True))
    ]


@pytest.mark.parametrize(
    ("gained", "lost"), [(0, 0), (1, 0), (0, 5), (3, 3), (9, 2), (2, 9), (40, 41), (700, 600)]
)
def test_the_p_value_is_that_of_statsmodels(gained: int, lost: int) -> None:
    from statsmodels.stats.contingency_tables import mcnemar as reference  # takes a second

    expected = reference([[50, gained], [lost, 60]], exact=True).pvalue
    assert mcnemar(gained, lost) == pytest.approx(expected, rel=1e-9)
    assert mcnemar(gained, lost) == mcnemar(lost, gained) <= 1


def test_the_p_value_by_hand_and_of_very_many_images() -> None:
    assert mcnemar(1, 4) == 2 * (1 + 5) / 2**5
    assert 0 < mcnemar(10_200, 9_800) < mcnemar(10_100, 9_900) < mcnemar(10_000, 10_000) == 1
    assert mcnemar(20_000, 0) == 0.0  # below the smallest float


def test_differences_are_the_first_minus_the_second() -> None:
    ours = results([True, True, True, False, True, False], [0.1, 0.2, 0.3, 2.0, 0.5, 3.0])
    theirs = results([True, False, False, True, False, False], [0.2, 0.9, 1.0, 0.4, 1.5, 3.0])
    found = compare(ours, theirs)
    assert (found.gained, found.lost) == (3, 1)
    assert (found.top1, found.difference) == (2 / 6, 2 / 6)
    assert found.mcnemar_p == 2 * (1 + 4) / 2**4
    assert found.loss == pytest.approx(7 / 6)
    assert found.loss_difference == pytest.approx(6.1 / 6 - 7 / 6)
    assert found.per_class == (ClassChange(0, 0, 1), ClassChange(1, 2, 0), ClassChange(2, 1, 0))
    assert [change.label for change in most_changed(found)] == [1, 0, 2]
    assert found.images == tuple(theirs)
    back = compare(theirs, ours)
    assert (back.gained, back.lost, back.difference) == (1, 3, -found.difference)
    assert found.difference_interval is not None
    low, high = found.difference_interval
    assert back.difference_interval == pytest.approx((-high, -low))


def brute_force(values: NDArray[np.float64], groups: list[int], number: int) -> list[list[float]]:
    """Draw the groups again, image by image, and take the quantiles of the means."""
    members = [np.flatnonzero(np.array(groups) == group) for group in range(max(groups) + 1)]
    random = np.random.default_rng(SEED)
    means = []
    for _ in range(number):
        drawn = random.integers(0, len(members), len(members))
        means.append(values[np.concatenate([members[group] for group in drawn])].mean(axis=0))
    return [np.quantile(column, [0.025, 0.975]).tolist() for column in np.transpose(means)]


@pytest.mark.parametrize("groups", [[*range(40)], [number // 3 for number in range(40)]])
def test_intervals_are_those_of_a_brute_force_bootstrap(groups: list[int]) -> None:
    random = np.random.default_rng(1)
    ours = results((random.random(40) < 0.7).tolist(), random.exponential(1, 40).tolist())
    theirs = results((random.random(40) < 0.5).tolist(), random.exponential(2, 40).tolist())
    columns = np.array(
        [
            [(a.rank == 1) - (b.rank == 1), a.loss - b.loss]
            for a, b in zip(ours, theirs, strict=True)
        ]
    )
    expected = brute_force(columns.astype(float), groups, RESAMPLES)
    found = compare(ours, theirs, groups)
    assert found.difference_interval == pytest.approx(expected[0], abs=1e-12)
    assert found.loss_difference_interval == pytest.approx(expected[1], abs=1e-12)
    assert expected[0][0] < found.difference < expected[0][1]
    assert compare(ours, theirs, groups) == found
    assert compare(ours, theirs, groups, 50).difference_interval != found.difference_interval


def test_an_interval_is_about_that_of_the_normal_approximation() -> None:
    values = np.random.default_rng(2).normal(3, 2, (4000, 1))
    ((low, high),) = mean_intervals(values, range(4000), 4000)
    spread = 1.96 * values.std() / math.sqrt(4000)
    assert (low, high) == pytest.approx((values.mean() - spread, values.mean() + spread), abs=0.01)


def test_a_group_is_drawn_whole() -> None:
    for times in resamples([0, 0, 1, 1, 1, 2], 20):
        assert times[0] == times[1]
        assert times[2] == times[3] == times[4]
        assert times[0] + times[2] + times[5] == 3


def test_a_network_against_itself_is_no_better_and_no_worse() -> None:
    same = results([True, False, True], [0.3, 1 / 3, 0.7])
    found = compare(same, same)
    assert (found.difference, found.loss_difference, found.mcnemar_p) == (0, 0, 1)
    assert found.difference_interval == found.loss_difference_interval == (0, 0)
    assert (found.gained, found.lost, found.per_class) == (0, 0, ())


def test_one_image_or_group_has_no_interval() -> None:
    ours, theirs = results([True, True], [0.25, 0.5]), results([True, False], [0.75, 1.0])
    one = compare(ours[:1], theirs[:1])
    assert one.difference_interval is one.loss_difference_interval is None
    assert (one.difference, one.loss_difference, one.mcnemar_p) == (0, -0.5, 1)
    assert compare(ours, theirs, [0, 0]).difference_interval is None
    assert compare(ours, theirs).difference_interval == (0, 1)


def test_the_gain_of_a_network_is_lost_without_it() -> None:
    whole = results([True, True, True, False])
    alone = [results([True, False, False, False]), results([True, True, False, True])]
    without = alone[::-1]
    assert members_of(whole, alone, without) == (
        EnsembleMember(0.25, 1.0, 0.0),
        EnsembleMember(0.75, 1.0, 0.5),
    )


def test_each_mean_of_networks_is_taken_once() -> None:
    assert Sides((0,)).means == [(0,)]
    assert Sides((0,), (0,)).means == [(0,)]
    assert Sides((0, 1), (1,)).means == [(0, 1), (0,), (1,)]
    assert Sides((0, 1, 2), (3, 0)).means == [
        (0, 1, 2), (0,), (1,), (2,), (1, 2), (0, 2), (0, 1), (3, 0)
    ]  # fmt: skip
