"""Test a claim about two arms with a 95 % confidence interval."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Literal, NamedTuple

Expected = Literal["lower", "higher"]

STUDENT_T = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
"""Two-sided 95 % quantiles of Student's t distribution for 1 to 10 degrees of freedom."""


class Verdict(NamedTuple):
    """Mean difference of two arms over their seeds with its 95 % confidence interval.

    `answer` is supported or contradicted if the interval excludes zero, else undecided.
    """

    difference: float
    low: float
    high: float
    answer: Literal["supported", "contradicted", "undecided"]


def verdict(arm: Sequence[float], against: Sequence[float], expected: Expected) -> Verdict:
    """Test whether `arm` is lower or higher than `against`, given paired errors of >= 2 seeds."""
    differences = [one - other for one, other in zip(arm, against, strict=True)]
    mean = statistics.fmean(differences)
    quantile = STUDENT_T[len(differences) - 2]
    half = quantile * statistics.stdev(differences) / math.sqrt(len(differences))
    low, high = mean - half, mean + half
    if low <= 0 <= high:
        return Verdict(mean, low, high, "undecided")
    agrees = (mean < 0) == (expected == "lower")
    return Verdict(mean, low, high, "supported" if agrees else "contradicted")
