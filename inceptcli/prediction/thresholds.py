"""Thresholds of multi-label weights, and the measures of the answers that they give. No torch."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

UNKNOWN = 0.5
"""Threshold of a class without positive images."""


def best_thresholds(
    probabilities: NDArray[np.float64], labels: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return the threshold of each class that maximizes its F1, (classes,).

    A threshold lies midway between the probabilities of two images, so that rounding in another
    runtime changes no answer. Of several with the same F1 it is the highest; without positive
    images it is UNKNOWN.

    Args:
        probabilities: (N, classes), 0 to 1.
        labels: (N, classes), whether the image has the label.
    """
    pairs = zip(probabilities.T, labels.T, strict=True)
    return np.array([_best_threshold(own, truth) for own, truth in pairs])


def _best_threshold(probabilities: NDArray[np.float64], truth: NDArray[np.bool_]) -> float:
    if not truth.any():
        return UNKNOWN
    order = np.argsort(-probabilities, kind="stable")
    ranked, right = probabilities[order], truth[order].cumsum()
    lower = np.append(ranked[1:], 0.0)
    f1 = 2 * right / (np.arange(1, len(ranked) + 1) + truth.sum())
    f1[ranked == lower] = -1  # images of one probability are not told apart
    best = int(f1.argmax())
    return midway(lower[best], ranked[best])


def midway(lower: float, upper: float) -> float:
    """Return a threshold between two scores, which `upper` reaches and `lower`, if less, does not.

    Rounding of scores in another runtime does not carry them across it.
    """
    middle = float((lower + upper) / 2)
    return middle if middle > lower else float(upper)


class LabelCounts(NamedTuple):
    """Per class (classes,): images that have the label, that were given it, and both."""

    images: NDArray[np.int64]
    predicted: NDArray[np.int64]
    right: NDArray[np.int64]

    @property
    def f1(self) -> NDArray[np.float64]:
        """F1 of each class; NaN for one that neither occurs nor is predicted."""
        return _ratio(2 * self.right, self.images + self.predicted)

    @property
    def micro_f1(self) -> float:
        """F1 of all labels together; NaN without any."""
        either = self.images.sum() + self.predicted.sum()
        return float(_ratio(2 * self.right.sum(), either))

    @property
    def macro_f1(self) -> float:
        """Mean F1 of the classes that occur or are predicted; NaN without any."""
        found = self.f1[~np.isnan(self.f1)]
        return float(found.mean()) if len(found) else float("nan")


def count_labels(predicted: NDArray[np.bool_], labels: NDArray[np.bool_]) -> LabelCounts:
    """Count labels and answers, each (N, classes)."""
    return LabelCounts(labels.sum(axis=0), predicted.sum(axis=0), (labels & predicted).sum(axis=0))


def _ratio(counts: NDArray[np.int64], of: NDArray[np.int64]) -> NDArray[np.float64]:
    with np.errstate(invalid="ignore"):
        ratio: NDArray[np.float64] = np.divide(counts, of, dtype=np.float64)
    return ratio
