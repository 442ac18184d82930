"""Test claims about paired differences with Student's t, corrected for their number."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Literal, NamedTuple

from inceptcli.recipe.study import Expected
from inceptcli.studies.student_t import above, quantile

Decision = Literal["supported", "contradicted", "undecided"]

LEVEL = 0.05
"""Largest adjusted p-value of a decided claim."""


class ClaimTest(NamedTuple):
    """Mean difference with its 95 % confidence interval and a two-sided p-value.

    `agrees` is whether the difference is as claimed, so that a small p-value supports the claim.
    """

    difference: float
    low: float
    high: float
    p: float
    agrees: bool


class Verdict(NamedTuple):
    """Test of a claim; `adjusted_p` is corrected for all tests of the study, and decides.

    `low` and `high` are the 95 % interval of this difference alone, without correction.
    """

    difference: float
    low: float
    high: float
    p: float
    adjusted_p: float
    answer: Decision


def claimed(expected: Expected, margin: float | None) -> tuple[float, float]:
    """Return the smallest and the largest difference that agree with a claim."""
    low = {"lower": -math.inf, "not-higher": -math.inf, "higher": 0.0}.get(expected)
    high = {"higher": math.inf, "not-lower": math.inf, "lower": 0.0}.get(expected)
    within = margin or 0.0
    return -within if low is None else low, within if high is None else high


def assess(
    differences: Sequence[float], expected: Expected, margin: float | None = None
) -> ClaimTest:
    """Test the mean of >= 2 differences, one for each seed, against the differences claimed.

    The p-value is at most 0.05 exactly if the 95 % interval lies inside the range that is claimed,
    or outside of it.
    """
    least, most = claimed(expected, margin)
    mean, freedom = statistics.fmean(differences), len(differences) - 1
    error = statistics.stdev(differences) / math.sqrt(len(differences))
    half = quantile(0.975, freedom) * error

    def p_above(bound: float) -> float:
        """Return the p-value of a mean that is above `bound`."""
        if error == 0:
            return 0.0 if mean > bound else 1.0
        return 2 * above((mean - bound) / error, freedom)

    def p_below(bound: float) -> float:
        if error == 0:
            return 0.0 if mean < bound else 1.0
        return 2 * above((bound - mean) / error, freedom)

    inside = max(p_above(least), p_below(most))
    outside = min(p_below(least), p_above(most))
    return ClaimTest(mean, mean - half, mean + half, min(1.0, inside, outside), inside < outside)


def adjusted(p_values: Sequence[float]) -> list[float]:
    """Correct p-values for their number by Holm's method; the order is kept."""
    largest, found = 0.0, [0.0] * len(p_values)
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        found[index] = largest
    return found


def verdicts(tests: Sequence[ClaimTest]) -> list[Verdict]:
    """Decide all claims of a study together: each is supported, contradicted or undecided."""
    found = []
    for test, p in zip(tests, adjusted([test.p for test in tests]), strict=True):
        answer: Decision = "supported" if test.agrees else "contradicted"
        found.append(Verdict(*test[:4], p, answer if p <= LEVEL else "undecided"))
    return found


def slope_per_doubling(sizes: Sequence[float], measured: Sequence[float]) -> float:
    """Return the least-squares slope of `measured` over the logarithm to base 2 of `sizes`."""
    return statistics.linear_regression([math.log2(size) for size in sizes], measured).slope
