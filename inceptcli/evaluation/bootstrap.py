"""Bootstrap intervals: draw the images, or whole groups of them, again with replacement."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

Interval = tuple[float, float]

RESAMPLES = 1000
"""Default number of resamples of a comparison."""

SEED = 0
QUANTILES = (0.025, 0.975)


def resamples(groups: Sequence[int] | NDArray[np.intp], number: int) -> Iterator[NDArray[np.intp]]:
    """Yield, `number` times, how often each image is drawn (images,); the same on each call.

    Args:
        groups: Number of each image's group, from 0; a number for itself for independent images.
            As many groups are drawn as there are, with all images of each.
        number: Number of resamples, at least 1.
    """
    numbers = np.asarray(groups)
    count = int(numbers.max()) + 1
    random = np.random.default_rng(SEED)
    for _ in range(number):
        yield np.bincount(random.integers(0, count, count), minlength=count)[numbers]


def percentile_interval(values: Sequence[float] | NDArray[np.float64]) -> Interval:
    """Return the 95 % percentile interval of a measure's values in the resamples."""
    low, high = np.quantile(values, QUANTILES)
    return float(low), float(high)


def mean_intervals(
    values: NDArray[np.float64], groups: Sequence[int] | NDArray[np.intp], number: int
) -> list[Interval]:
    """Return the intervals of the means of each column of `values` (images, columns)."""
    means = [times @ values / times.sum() for times in resamples(groups, number)]
    return [percentile_interval(column) for column in np.transpose(means)]
