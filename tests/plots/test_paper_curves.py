"""The digitized curves, thinned, are still the paper's."""

from __future__ import annotations

from itertools import pairwise

import pytest

from inceptcli.cli.compare import PAPER_WINDOW
from inceptcli.plots.curve import Curve
from inceptcli.plots.paper_curves import NETWORKS, paper_curves
from inceptcli.plots.reaching import first_reaching, mean_before, reach_all, value_at

LAST_TEN = {
    "top1": {"iv3": 21.31, "irv1": 21.44, "iv4": 19.96, "irv2": 19.77},
    "top5": {"iv3": 5.73, "irv1": 5.66, "iv4": 4.97, "irv2": 4.88},
}
"""Mean of the last ten epochs of what was digitized, percent."""

AT = {
    "top1": {
        "iv3": {40: 29.28, 80: 24.58, 120: 22.35, 160: 21.45},
        "irv1": {40: 24.73, 80: 22.16, 120: 21.40, 160: 21.36},
        "iv4": {40: 27.36, 80: 22.66, 120: 20.38, 160: 19.91},
        "irv2": {40: 25.84, 80: 21.96, 120: 19.99, 160: 19.75},
    },
    "top5": {
        "iv3": {40: 9.85, 80: 7.10, 120: 6.01, 160: 5.74},
        "irv1": {40: 7.28, 80: 5.94, 120: 5.72, 160: 5.73},
        "iv4": {40: 8.61, 80: 6.17, 120: 5.10, 160: 4.95},
        "irv2": {40: 7.77, 80: 5.83, 120: 4.98, 160: 4.88},
    },
}
"""What was digitized, averaged around these epochs, percent."""


def curves(metric: str) -> dict[str, Curve]:
    return dict(zip(NETWORKS, paper_curves(metric), strict=True))


@pytest.mark.parametrize("metric", ["top1", "top5"])
@pytest.mark.parametrize("network", NETWORKS)
def test_a_curve_is_whole(network: str, metric: str) -> None:
    curve = curves(metric)[network]
    assert 90 <= len(curve.epochs) <= 520
    assert all(before < after for before, after in pairwise(curve.epochs))
    assert 19 < curve.epochs[0] < 31  # the figures begin at 20, or where the error enters them
    assert curve.epochs[-1] == pytest.approx(160 if network in ("iv4", "irv2") else 200, abs=0.3)
    low, high = (19, 33) if metric == "top1" else (4.5, 11)
    assert low < min(curve.values) < max(curve.values) < high


@pytest.mark.parametrize("metric", ["top1", "top5"])
@pytest.mark.parametrize("network", NETWORKS)
def test_the_values_are_those_of_the_figures(network: str, metric: str) -> None:
    curve = curves(metric)[network]
    last = mean_before(curve, curve.epochs[-1], 10)
    assert last == pytest.approx(LAST_TEN[metric][network], abs=0.1)
    for epoch, error in AT[metric][network].items():
        assert mean_before(curve, min(epoch + 0.5, curve.epochs[-1]), 1) == pytest.approx(
            error, abs=0.2
        )


@pytest.mark.parametrize(
    ("network", "error", "epoch"),
    [
        ("irv2", 22, 80), ("irv1", 22, 84), ("iv4", 22, 91), ("iv3", 22, 134),
        ("irv2", 21, 99), ("iv4", 21, 107), ("irv1", 21, None), ("iv3", 21, None),
    ],
)  # fmt: skip
def test_the_paper_s_argument_holds(network: str, error: float, epoch: int | None) -> None:
    reached = first_reaching(curves("top1")[network], error, PAPER_WINDOW)
    assert (None if reached is None else reached.epoch) == epoch
    assert reached is None or not reached.before


def test_an_error_from_before_the_figures_begin_is_said_to_be_that() -> None:
    (row,) = reach_all([curves("top1")["irv1"]], [29], PAPER_WINDOW)
    reached = row.reached[29]
    assert reached is not None
    assert (reached.epoch, reached.before) == (20, True)


def test_a_value_lies_on_the_line_between_points() -> None:
    curve = curves("top1")["iv3"]
    middle = (curve.epochs[3] + curve.epochs[4]) / 2
    assert value_at(curve, middle) == pytest.approx((curve.values[3] + curve.values[4]) / 2)
