"""Measure prediction sets: how often they contain the label, and their sizes. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from inceptcli.evaluation.measures import ImageResult, wilson_interval
from inceptcli.prediction.sets import SetRule


class SetCounts(NamedTuple):
    """Sets of some images: the images, the sets that contain the label, the sum of their sizes."""

    images: int
    covered: int
    classes: int

    @property
    def coverage(self) -> float | None:
        """Share of the images whose set contains the label; None without images."""
        return self.covered / self.images if self.images else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """Wilson's 95 % interval of `coverage`."""
        return wilson_interval(self.covered, self.images) if self.images else None

    @property
    def mean_size(self) -> float | None:
        """Mean number of classes in a set; None without images."""
        return self.classes / self.images if self.images else None


class SetMeasures(NamedTuple):
    """Sets of all images and of the images of each class, for the coverage asked for."""

    level: float
    overall: SetCounts
    per_class: tuple[SetCounts, ...]


def measure_sets(
    images: Sequence[ImageResult], probabilities: NDArray[np.float64], rule: SetRule
) -> SetMeasures:
    """Measure the sets of `rule`; `probabilities` (images, classes) has a row for each image."""
    labels = np.array([image.label for image in images])
    first = np.array([image.rank == 1 for image in images])
    own = probabilities[np.arange(len(labels)), labels]
    covered = (own >= rule.threshold) | first
    sizes = np.maximum((probabilities >= rule.threshold).sum(axis=1), 1)
    count = probabilities.shape[1]
    columns = [
        np.bincount(labels, weights, count).astype(int).tolist()
        for weights in (None, covered, sizes)
    ]
    totals = len(labels), int(covered.sum()), int(sizes.sum())
    per_class = tuple(map(SetCounts, *columns))
    if any(image.accepted for image in images):  # so an image belongs to no single class
        per_class = (SetCounts(0, 0, 0),) * count
    return SetMeasures(rule.coverage, SetCounts(*totals), per_class)
