from __future__ import annotations

import pytest
from scipy import stats

from inceptcli.studies.verdict import STUDENT_T, verdict


def test_the_quantiles_are_students() -> None:
    for freedom, quantile in enumerate(STUDENT_T, start=1):
        assert quantile == pytest.approx(stats.t.ppf(0.975, freedom), abs=5e-4)


def test_the_interval_is_that_of_the_paired_differences() -> None:
    arm, against = [0.30, 0.33, 0.28], [0.35, 0.36, 0.34]
    found = verdict(arm, against, "lower")
    expected = stats.ttest_rel(arm, against).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-4)
    assert found.difference == pytest.approx(-0.14 / 3)


@pytest.mark.parametrize(
    ("arm", "expected", "answer"),
    [
        ([0.30, 0.31, 0.30], "lower", "supported"),
        ([0.30, 0.31, 0.30], "higher", "contradicted"),
        ([0.60, 0.61, 0.60], "higher", "supported"),
        ([0.60, 0.61, 0.60], "lower", "contradicted"),
        ([0.30, 0.60, 0.45], "lower", "undecided"),
        ([0.45, 0.45, 0.45], "lower", "undecided"),
    ],
)
def test_a_claim_is_decided_only_when_the_whole_interval_agrees(
    arm: list[float], expected: str, answer: str
) -> None:
    assert verdict(arm, [0.45, 0.45, 0.45], expected).answer == answer  # type: ignore[arg-type]
