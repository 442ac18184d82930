from __future__ import annotations

import math

import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import DescrStatsW

from inceptcli.recipe.study import Expected
from inceptcli.studies.student_t import above, quantile
from inceptcli.studies.verdict import ClaimTest, adjusted, assess, slope_per_doubling, verdicts

DIFFERENCES = [-0.05, -0.03, -0.06]


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 5, 10, 31, 98, 99])
def test_students_t_is_scipys(freedom: int) -> None:
    for t in (-40.0, -2.5, -1e-3, 0.0, 0.3, 1.0, 2.776, 12.7, 1e4):
        assert above(t, freedom) == pytest.approx(stats.t.sf(t, freedom), abs=1e-12)
    for share in (0.5, 0.9, 0.975, 0.9995):
        expected = stats.t.ppf(share, freedom)
        assert quantile(share, freedom) == pytest.approx(expected, rel=1e-9, abs=1e-9)
    assert (above(math.inf, freedom), above(-math.inf, freedom)) == pytest.approx((0, 1))


def test_a_comparison_is_the_paired_t_test() -> None:
    arm, against = [0.30, 0.33, 0.28], [0.35, 0.36, 0.34]
    found = assess([a - b for a, b in zip(arm, against, strict=True)], "lower", None)
    expected = stats.ttest_rel(arm, against)
    interval = expected.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), abs=1e-9)
    assert found.difference == pytest.approx(-0.14 / 3)
    assert found.p == pytest.approx(expected.pvalue, abs=1e-9)
    assert found.agrees
    # by hand: mean -0.14/3, standard deviation sqrt(7/3) / 100, standard error 0.0088192
    assert found.low == pytest.approx(-0.14 / 3 - 4.302653 * 0.01 * math.sqrt(7) / 3, abs=1e-6)


@pytest.mark.parametrize(
    ("expected", "margin", "answer"),
    [
        ("lower", None, "supported"),
        ("higher", None, "contradicted"),
        ("no-difference", 0.1, "supported"),
        ("no-difference", 0.08, "undecided"),  # the interval ends at -0.0846
        ("no-difference", 0.005, "contradicted"),  # and begins at -0.0087
        ("not-lower", 0.1, "supported"),
        ("not-lower", 0.05, "undecided"),
        ("not-lower", 0.005, "contradicted"),
        ("not-higher", 0.001, "supported"),
    ],
)
def test_a_claim_is_decided_only_when_the_whole_interval_agrees(
    expected: Expected, margin: float | None, answer: str
) -> None:
    test = assess(DIFFERENCES, expected, margin)
    assert (test.p <= 0.05) == (answer != "undecided")
    assert verdicts([test])[0].answer == answer


def test_equivalence_is_two_one_sided_tests() -> None:
    found = assess(DIFFERENCES, "no-difference", 0.1)
    p = DescrStatsW(DIFFERENCES).ttost_mean(-0.1, 0.1)[0]
    assert found.p == pytest.approx(2 * p, abs=1e-9)


@pytest.mark.parametrize(
    ("differences", "expected", "margin", "answer"),
    [
        ([0.0, 0.0], "lower", None, "undecided"),
        ([0.0, 0.0], "no-difference", 0.01, "supported"),
        ([-0.5, -0.5], "lower", None, "supported"),
        ([0.5, 0.5], "lower", None, "contradicted"),
        ([0.5, 0.5], "not-higher", 0.1, "contradicted"),
    ],
)
def test_seeds_that_agree_exactly(
    differences: list[float], expected: Expected, margin: float | None, answer: str
) -> None:
    assert verdicts([assess(differences, expected, margin)])[0].answer == answer


@pytest.mark.parametrize(
    "p_values", [[0.03], [0.01, 0.04, 0.03], [0.02, 0.02, 0.9, 0.011], [0.6, 0.7], []]
)
def test_p_values_are_corrected_as_statsmodels_does(p_values: list[float]) -> None:
    expected = multipletests(p_values, method="holm")[1] if p_values else []
    assert adjusted(p_values) == pytest.approx(list(expected), abs=1e-12)


def test_the_adjusted_p_value_decides() -> None:
    tests = [ClaimTest(0.1, 0.01, 0.19, p, True) for p in (0.03, 0.04, 0.01)]
    found = verdicts(tests)
    assert [each.adjusted_p for each in found] == pytest.approx([0.06, 0.06, 0.03])
    assert [each.answer for each in found] == ["undecided", "undecided", "supported"]


def test_the_slope_of_a_trend_is_per_doubling() -> None:
    assert slope_per_doubling([100, 200, 800], [0.5, 0.4, 0.2]) == pytest.approx(-0.1)
