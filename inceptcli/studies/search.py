"""Choose the best value of a searched key for each arm."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from inceptcli.recipe.study import Search
from inceptcli.studies.runs import StudyResult


class BestValue(NamedTuple):
    """Best of the searched values for an arm: the lowest mean last error over the tries' seeds.

    Attributes:
        errors: mean last error of each value.
        tied: other values with the same error; the first in the study's order is the best.
        at_edge: whether the best is the smallest or the largest number, so that a better one may
            lie outside.
    """

    arm: str
    value: Any
    errors: list[float]
    tied: list[Any]
    at_edge: bool

    def described(self, key: str) -> str:
        """Return a sentence about the choice: the value, ties, the edge of the search."""
        tied = f", tied with {', '.join(map(str, self.tied))}" if self.tied else ""
        edge = "; best at the edge of the search" if self.at_edge else ""
        return f"{self.arm}: best {key} {self.value}, error {min(self.errors):.1%}{tied}{edge}"


def best_values(search: Search, tries: Sequence[StudyResult]) -> list[BestValue]:
    """Return the best value of each arm; runs whose training diverged have an error of 1."""
    by_arm: dict[str, list[StudyResult]] = {}
    for result in tries:
        by_arm.setdefault(result.run.arm, []).append(result)
    return [_best(search, arm, results) for arm, results in by_arm.items()]


def _best(search: Search, arm: str, results: Sequence[StudyResult]) -> BestValue:
    errors = [
        statistics.fmean(
            result.figure("last-error") for result in results if result.run.value == value
        )
        for value in search.values
    ]
    best, *tied = [
        value for value, error in zip(search.values, errors, strict=True) if error == min(errors)
    ]
    numbers = [value for value in search.values if type(value) in (int, float)]
    is_edge = len(numbers) == len(search.values) and best in (min(numbers), max(numbers))
    return BestValue(arm, best, errors, tied, is_edge)


def chosen(best: Sequence[BestValue]) -> Mapping[str, Any]:
    """Return the best value by arm."""
    return {each.arm: each.value for each in best}
