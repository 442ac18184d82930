"""Bootstrap intervals: draw the images, or whole groups of them, again with replacement."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from inceptcli.evaluation.class_measures import CLASS_AVERAGES, ClassMeasures, Floats, ratio
from inceptcli.text import printable

logger = logging.getLogger(__name__)

Interval = tuple[float, float]

RESAMPLES = 1000
"""Default number of resamples of a comparison."""

SEED = 0
QUANTILES = (0.025, 0.975)

DRAWN_AT_ONCE = 2**24
"""Number of draws, one per image and resample, that are held at a time."""


class WeightedMean(NamedTuple):
    """A measure that is the sum of `values` over that of `weights`, each (images,)."""

    values: Floats | NDArray[np.bool_]
    weights: Floats | NDArray[np.bool_]


@dataclass(frozen=True)
class BootstrapIntervals:
    """95 % percentile intervals over `resamples` of the images, or of whole groups of them.

    Attributes:
        resamples: Number of resamples.
        group: Column that names the group of an image; None if images were drawn.
        groups: Number of groups; None if images were drawn.
        intervals: By measure: CLASS_AVERAGES, top1, top5, loss and those asked for; for multi-label
            data average_precision, auroc, micro_f1, macro_f1 and loss. None where the measure is
            undefined in all resamples, or if there is only one image or group.
        per_class: By measure of PER_CLASS, one for each class.
        seed: Seed of the draws.
    """

    resamples: int
    group: str | None
    groups: int | None
    intervals: Mapping[str, Interval | None]
    per_class: Mapping[str, Sequence[Interval | None]]
    seed: int = SEED

    def as_dict(self, intervals: Mapping[str, Interval | None]) -> dict[str, object]:
        """Return how the intervals were drawn, and `intervals`, for JSON."""
        return {
            "resamples": self.resamples,
            "seed": self.seed,
            "group": self.group,
            "groups": self.groups,
            **intervals,
        }

    def in_words(self) -> str:
        """Return how the intervals were drawn."""
        what = "images" if self.groups is None else f"{self.groups} groups ({self.group})"
        return f"intervals from {self.resamples} resamples of {printable(what)}, seed {self.seed}"

    def of_images(self) -> BootstrapIntervals:
        """Return the same without measures that need one label for each image."""
        intervals = {
            name: None if name in CLASS_AVERAGES else interval
            for name, interval in self.intervals.items()
        }
        per_class = {name: [None] * len(values) for name, values in self.per_class.items()}
        return replace(self, intervals=intervals, per_class=per_class)


def group_numbers(
    paths: Sequence[str], group_of: Mapping[str, str] | None
) -> NDArray[np.intp] | None:
    """Return the number of each image's group (images,), from 0; None without groups."""
    if group_of is None:
        return None
    return np.unique([group_of[path] for path in paths], return_inverse=True)[1]


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


def bootstrap_intervals(
    measures: Callable[[NDArray[np.uint8]], ClassMeasures],
    means: Mapping[str, WeightedMean],
    group_numbers: NDArray[np.intp] | None,
    number: int,
    group: str | None = None,
) -> BootstrapIntervals:
    """Return the intervals of `measures` over classes and of `means`; see `resamples`.

    `measures` takes the number of times (resamples, images) that an image counts.
    A resample in which a measure is undefined does not count for its interval.
    """
    num_images = len(next(iter(means.values())).values)
    groups = np.arange(num_images) if group_numbers is None else group_numbers
    found: dict[str, list[Floats]] = {}
    of_classes: dict[str, list[Floats]] = {}
    draws = resamples(groups, number)
    at_once = max(1, DRAWN_AT_ONCE // len(groups))
    for _ in range(0, number, at_once):
        # A count above 255 of as many draws as groups never occurs.
        times = np.array([each.astype(np.uint8) for each in islice(draws, at_once)])
        measured = measures(times)
        for name, values in measured.averages.items():
            found.setdefault(name, []).append(values)
        for name, values in measured.per_class.items():
            of_classes.setdefault(name, []).append(values)
        for name, mean in means.items():
            # As float64: a product with booleans would stay in uint8.
            values = ratio(*(times @ each.astype(np.float64) for each in mean))
            found.setdefault(name, []).append(values)
    count = int(groups.max()) + 1
    if count == 1:
        one = "image" if group is None else f"group ({printable(group)})"
        logger.warning(f"no intervals: the images that were measured are one {one}")
    return BootstrapIntervals(
        number,
        group,
        None if group_numbers is None else count,
        {name: _interval(np.concatenate(parts), count) for name, parts in found.items()},
        {
            name: [_interval(values, count) for values in np.concatenate(parts).T]
            for name, parts in of_classes.items()
        },
    )


def _interval(values: Floats, count: int) -> Interval | None:
    defined = values[~np.isnan(values)]
    return percentile_interval(defined) if count > 1 and len(defined) else None
