"""How long each network takes to reach a given error, as in the paper's argument."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from inceptcli.plots.curve import By, Curve

MOST_THRESHOLDS = 8


@dataclass(frozen=True)
class Reached:
    """First time that a curve is at or below a threshold; `before`: it starts there."""

    epoch: float
    step: float | None
    hours: float | None
    before: bool = False

    def spent(self, by: By) -> float:
        """Return the epoch, step or hour."""
        found = {"epoch": self.epoch, "step": self.step, "hours": self.hours}[by]
        assert found is not None
        return found


@dataclass(frozen=True)
class CurveReached:
    """When `curve` reached each threshold, None if it did not, and its smoothed last value."""

    curve: Curve
    reached: dict[float, Reached | None]
    final: float


def reach_all(
    curves: Sequence[Curve], thresholds: Sequence[float], window: float
) -> list[CurveReached]:
    """Return a row per curve; `window` smooths all of them alike, as in `first_reaching`."""
    return [
        CurveReached(
            curve,
            {value: first_reaching(curve, value, window) for value in thresholds},
            mean_before(curve, curve.epochs[-1], window),
        )
        for curve in curves
    ]


def first_reaching(curve: Curve, threshold: float, window: float) -> Reached | None:
    """Return the first epoch at which the mean of the last `window` epochs is at most `threshold`.

    A window of 0 uses the values unchanged. What comes after an epoch does not count for
    it. For the paper's curves, only whole epochs count.
    """
    if curve.published:
        whole = range(math.ceil(curve.epochs[0]), math.floor(curve.epochs[-1]) + 1)
        for number in whole:
            if mean_before(curve, number, window) <= threshold:
                return Reached(number, None, None, before=number == whole[0])
        return None
    assert curve.steps is not None
    assert curve.hours is not None
    for epoch, step, hours in zip(curve.epochs, curve.steps, curve.hours, strict=True):
        if mean_before(curve, epoch, window) <= threshold:
            return Reached(epoch, step, hours)
    return None


def mean_before(curve: Curve, epoch: float, window: float) -> float:
    """Return the mean of the linearly interpolated curve from epoch - window to epoch.

    The interval is cut off where the curve begins.
    """
    low = max(epoch - window, curve.epochs[0])
    if low >= epoch:
        return value_at(curve, epoch)
    inside = curve.epochs[bisect_right(curve.epochs, low) : bisect_left(curve.epochs, epoch)]
    corners = [(at, value_at(curve, at)) for at in (low, *inside, epoch)]
    area = sum((b - a) * (left + right) / 2 for (a, left), (b, right) in pairwise(corners))
    return area / (epoch - low)


def value_at(curve: Curve, epoch: float) -> float:
    """Interpolate the value at `epoch`, which must lie within the curve."""
    right = bisect_left(curve.epochs, epoch)
    if curve.epochs[right] == epoch:
        return curve.values[right]
    left = right - 1
    share = (epoch - curve.epochs[left]) / (curve.epochs[right] - curve.epochs[left])
    return curve.values[left] + share * (curve.values[right] - curve.values[left])


def default_thresholds(curves: Sequence[Curve], window: float) -> list[float]:
    """Return at most eight descending round values, from the lowest first value to the best."""
    best = [min(curve.values) for curve in curves]
    begun = [
        mean_before(curve, math.ceil(curve.epochs[0]), window)
        if curve.published
        else curve.values[0]
        for curve in curves
    ]
    low, high = min(best), max(min(begun), *best)
    for exponent in range(-3, 4):
        for step in (10**exponent, 2 * 10**exponent, 5 * 10**exponent):
            first, last = math.ceil(low / step), math.floor(high / step)
            if last - first < MOST_THRESHOLDS:
                return [round(number * step, 6) for number in range(last, first - 1, -1)]
    return []
