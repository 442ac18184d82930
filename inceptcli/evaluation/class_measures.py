"""Measures over classes, from counts and from ranked probabilities, for one or many resamples.

They are NumPy formulas because torchmetrics imports torch, which takes longer than a small `eval`.
Each function takes `times` (resamples, images), the number of times that an image counts in each
resample. Undefined values are NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from inceptcli.processes.cores import compute_threads

Floats = NDArray[np.float64]

CLASS_AVERAGES = (
    "macro_precision",
    "macro_recall",
    "macro_f1",
    "weighted_precision",
    "weighted_f1",
    "balanced_accuracy",
    "kappa",
    "matthews",
    "auroc",
    "average_precision",
)
"""Measures over all classes."""

PER_CLASS = ("recall", "precision", "f1", "auroc", "average_precision")
"""Measures of one class against the rest."""

RANKED_AT_ONCE = 2**20
"""Number of values that a thread sorts at a time; they and their sums stay in its caches."""


class LabeledPredictions(NamedTuple):
    """Labels and predicted classes (images,), and probabilities (images, classes)."""

    labels: NDArray[np.intp]
    predicted: NDArray[np.intp]
    probabilities: Floats


class ClassMeasures(NamedTuple):
    """CLASS_AVERAGES, each (resamples,), and PER_CLASS, each (resamples, classes)."""

    averages: Mapping[str, Floats]
    per_class: Mapping[str, Floats]


class Counts(NamedTuple):
    """Images of each class, predictions of it, and correct ones, each (resamples, classes)."""

    images: NDArray[np.int64]
    predicted: NDArray[np.int64]
    right: NDArray[np.int64]


def class_measures(predictions: LabeledPredictions, times: NDArray[np.uint8]) -> ClassMeasures:
    """Return the measures over classes, by scikit-learn's definitions.

    The counts and the ranking do not depend on the order of the images in any bit.
    """
    counts = class_counts(predictions, times)
    images, predicted, right = counts
    auroc, average_precision = ranked_classes(
        predictions.probabilities, lambda label: predictions.labels == label, times
    )
    per_class = {
        "recall": ratio(right, images),
        "precision": ratio(right, predicted),
        "f1": ratio(2 * right, images + predicted),
        "auroc": auroc,
        "average_precision": average_precision,
    }
    occurs = images + predicted > 0
    averages = {
        f"macro_{name}": ratio(_filled(per_class[name]).sum(1), occurs.sum(1))
        for name in ("precision", "recall", "f1")
    }
    averages |= {
        f"weighted_{name}": ratio((_filled(per_class[name]) * images).sum(1), images.sum(1))
        for name in ("precision", "f1")
    }
    averages |= {
        "balanced_accuracy": mean_of_defined(per_class["recall"]),
        **_agreement(counts),
        "auroc": mean_of_defined(auroc),
        "average_precision": mean_of_defined(average_precision),
    }
    return ClassMeasures(averages, per_class)


def ratio(numerator: NDArray[np.generic], denominator: NDArray[np.generic]) -> Floats:
    """Divide; NaN where the denominator is 0."""
    found = np.full(np.broadcast_shapes(numerator.shape, denominator.shape), np.nan)
    np.divide(numerator, denominator, out=found, where=denominator != 0)
    return found


def mean_of_defined(values: Floats) -> Floats:
    """Return the mean over the last axis of the values that are not NaN; NaN if all are."""
    return ratio(_filled(values).sum(-1), (~np.isnan(values)).sum(-1))


def class_counts(predictions: LabeledPredictions, times: NDArray[np.uint8]) -> Counts:
    """Count the images of each class, the predictions of it, and the correct ones."""
    size = predictions.probabilities.shape[1]
    right = predictions.labels == predictions.predicted
    return Counts(
        _sums(predictions.labels, times, size),
        _sums(predictions.predicted, times, size),
        _sums(predictions.labels[right], times[:, right], size),
    )


def _sums(classes: NDArray[np.intp], times: NDArray[np.uint8], size: int) -> NDArray[np.int64]:
    return np.array([np.bincount(classes, row, size) for row in times]).astype(np.int64)


def _filled(values: Floats) -> Floats:
    return np.nan_to_num(values, nan=0.0)


def _agreement(counts: Counts) -> dict[str, Floats]:
    """Return Cohen's kappa and the Matthews correlation coefficient.

    All products are of whole numbers, in float64 because they may exceed int64.
    """
    images, predicted, right = (each.astype(np.float64) for each in counts)
    total = images.sum(1)
    by_chance = (images * predicted).sum(1)
    agreement = total * right.sum(1) - by_chance
    spread = total**2 - np.stack([(images**2).sum(1), (predicted**2).sum(1)])
    return {
        "kappa": ratio(agreement, total**2 - by_chance),
        "matthews": ratio(agreement, np.sqrt(spread[0]) * np.sqrt(spread[1])),
    }


def ranked_classes(
    probabilities: Floats, is_own: Callable[[int], NDArray[np.bool_]], times: NDArray[np.uint8]
) -> tuple[Floats, Floats]:
    """Return AUROC and average precision (resamples, classes) of each class against the rest.

    `probabilities` are (images, classes); `is_own` returns which images (images,) are of a class.
    """
    columns = probabilities.T

    def of_class(label: int) -> tuple[Floats, Floats]:
        return ranked(columns[label], is_own(label), times)

    with ThreadPoolExecutor(compute_threads()) as pool:
        auroc, average_precision = zip(*pool.map(of_class, range(len(columns))), strict=True)
    return np.stack(auroc, axis=1), np.stack(average_precision, axis=1)


def ranked(
    scores: Floats, is_own: NDArray[np.bool_], times: NDArray[np.uint8]
) -> tuple[Floats, Floats]:
    """Return the area under the ROC curve and the average precision (resamples,) of one class.

    Equal scores are one step of both curves. AUROC is NaN without images of the class or without
    others, the average precision without images of the class.

    Args:
        scores: Higher for images that the network assigns to the class (images,).
        is_own: Whether an image belongs to the class (images,).
        times: See the module.
    """
    if not is_own.any():
        undefined = np.full(len(times), np.nan)
        return undefined, undefined
    order = np.argsort(scores)
    own = order[is_own[order]]
    thresholds, own_starts = np.unique(scores[own], return_index=True)
    left, right = (np.searchsorted(scores, thresholds, side, order) for side in ("left", "right"))
    starts = np.unique(np.concatenate([[0], left, right[right < len(order)]]))
    at, after = np.searchsorted(starts, left), np.searchsorted(starts, right)
    auroc, average_precision = [], []
    for some in _parts(times):
        sums = np.add.reduceat(np.take(some, order, 1), starts, 1, np.int64)
        up_to = np.concatenate([np.zeros((len(some), 1), np.int64), sums.cumsum(1)], 1)
        own_sums = np.add.reduceat(np.take(some, own, 1), own_starts, 1, np.int64)
        below, total = up_to[:, at], up_to[:, -1:]
        own_below, own_total = own_sums.cumsum(1) - own_sums, own_sums.sum(1)
        others = up_to[:, after] - below - own_sums
        ordered = own_sums * (2 * (below - own_below) + others)
        auroc.append(ratio(ordered.sum(1), 2 * own_total * (total[:, 0] - own_total)))
        precision = ratio(own_total[:, None] - own_below, total - below)
        average_precision.append(ratio((own_sums * _filled(precision)).sum(1), own_total))
    return np.concatenate(auroc), np.concatenate(average_precision)


def _parts(times: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
    """Yield a few resamples at a time."""
    size = max(1, RANKED_AT_ONCE // times.shape[1])
    return (times[start : start + size] for start in range(0, len(times), size))
