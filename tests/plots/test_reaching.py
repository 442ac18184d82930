from __future__ import annotations

import pytest

from inceptcli.plots.curve import Curve
from inceptcli.plots.reaching import Reached, default_thresholds, first_reaching, mean_before


def curve(*values: float) -> Curve:
    epochs = [float(epoch) for epoch in range(1, len(values) + 1)]
    hours = [epoch / 4 for epoch in epochs]
    return Curve("run", "top1", epochs, list(values), [10 * epoch for epoch in epochs], hours)


def test_the_first_epoch_counts_even_when_a_later_one_is_worse() -> None:
    assert first_reaching(curve(50, 40, 45, 30), 40, window=0) == Reached(2, 20, 0.5)


def test_a_run_that_never_gets_there_has_not_reached_it() -> None:
    assert first_reaching(curve(50, 40), 39.9, window=0) is None


def test_a_window_takes_the_luck_out_of_one_epoch() -> None:
    lucky = curve(50, 50, 30, 50, 50, 29, 28)
    assert first_reaching(lucky, 39, window=0) == Reached(3, 30, 0.75)
    assert first_reaching(lucky, 39, window=1) == Reached(7, 70, 1.75)


def test_the_mean_is_over_time_and_ends_where_the_curve_does() -> None:
    uneven = Curve("paper", "top1", [0, 1, 4], [0, 2, 2], published=True)
    assert mean_before(uneven, 3, 2.5) == pytest.approx((0.75 + 4) / 2.5)
    assert mean_before(uneven, 0.5, 1) == pytest.approx(0.5)
    assert mean_before(uneven, 0, 1) == 0


def test_what_comes_later_does_not_count() -> None:
    steep = curve(90, 60, 40, 30)
    assert first_reaching(steep, 65, window=0) == Reached(2, 20, 0.5)
    assert first_reaching(steep, 65, window=2) == Reached(3, 30, 0.75)
    assert first_reaching(curve(90, 60, 40, 30, 30, 30), 30, window=2) == Reached(6, 60, 1.5)


@pytest.mark.parametrize(
    ("curves", "expected"),
    [
        ([curve(73, 40, 28)], [70, 60, 50, 40, 30]),
        ([curve(73, 40, 28), curve(80, 60, 55)], [70, 60, 50, 40, 30]),
        ([curve(8.2, 5.1), curve(70, 31)], [30, 25, 20, 15, 10]),
        ([curve(1.05, 1.01)], [1.05, 1.04, 1.03, 1.02, 1.01]),
        ([curve(33.33333)], []),
    ],
)
def test_default_thresholds_are_round_and_within_reach(
    curves: list[Curve], expected: list[float]
) -> None:
    assert default_thresholds(curves, window=0) == expected
