"""Sensitivity and specificity of two classes at a threshold, and thresholds that reach them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inceptcli.data.label_files import Labels
from inceptcli.errors import UsageError
from inceptcli.evaluation.class_measures import Floats, LabeledPredictions
from inceptcli.evaluation.measure_options import DEFAULT_THRESHOLD, MeasureOptions
from inceptcli.prediction.thresholds import midway
from inceptcli.weights.metadata import ClassName

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TwoClasses:
    """Measures of two classes; an image is positive if `positive` has at least `threshold`.

    `threshold` is None if no image has the class that it was chosen by, or none from 0 to 1 reaches
    what was wanted. `sensitivity` is the share
    of the images of `positive` found positive, `specificity` the share of the others found
    negative; None without such images.
    """

    positive: int
    threshold: float | None
    sensitivity: float | None
    specificity: float | None


def positive_class(options: MeasureOptions, classes: Sequence[ClassName]) -> int | None:
    """Return the index of the positive class, by default the second; None unless there are two.

    Raises UsageError if an option for two classes is given for another number of classes, or the
    positive class is none of them.
    """
    flag = options.flag_for_two_classes
    if len(classes) != 2:
        if flag is not None:
            raise UsageError(f"{flag}: is for two classes; the weights have {len(classes)}")
        return None
    if options.positive is None:
        return 1
    ids, names = zip(*classes, strict=True)
    try:
        return Labels(ids, names, ids).find(options.positive)
    except ValueError as error:
        raise UsageError(f"--positive {options.positive}: {error}") from error


def two_classes(
    predictions: LabeledPredictions, positive: int, options: MeasureOptions
) -> TwoClasses:
    """Measure at the threshold of `options`, or at the one that reaches a wanted value.

    Log a warning if no threshold reaches it.
    """
    is_own, scores = predictions.labels == positive, predictions.probabilities[:, positive]
    threshold: float | None = DEFAULT_THRESHOLD
    if options.threshold is not None:
        threshold = options.threshold
    elif options.sensitivity is not None:
        threshold = threshold_of_sensitivity(scores[is_own], scores, options.sensitivity)
    elif options.specificity is not None:
        others = scores[~is_own]
        threshold = threshold_of_specificity(others, scores, options.specificity)
        if threshold is None and len(others):
            logger.warning(
                f"--specificity {options.specificity}: no threshold reaches it, since images of "
                "the other class have probability 1 of the positive one"
            )
    if threshold is None:
        return TwoClasses(positive, None, None, None)
    found = scores >= threshold
    return TwoClasses(positive, threshold, _share(found[is_own]), _share(~found[~is_own]))


def threshold_of_sensitivity(own: Floats, scores: Floats, wanted: float) -> float | None:
    """Return the highest threshold that at least the share `wanted` of scores `own` reaches.

    It lies midway between two of `scores`, the lower of which may be 0; at 1 if rounding made both
    more.
    """
    if not len(own):
        return None
    last = np.sort(own)[::-1][_needed(len(own), wanted) - 1]
    return min(1.0, midway(scores[scores < last].max(initial=0), last))


def threshold_of_specificity(others: Floats, scores: Floats, wanted: float) -> float | None:
    """Return the lowest threshold that at least the share `wanted` of `others` lies below.

    It lies midway between two of `scores`, the higher of which may be 1. None if it would be more.
    """
    if not len(others):
        return None
    last = np.sort(others)[_needed(len(others), wanted) - 1]
    if last >= 1:
        return None
    return midway(last, scores[scores > last].min(initial=1))


def _needed(total: int, wanted: float) -> int:
    """Return the least number whose share of `total` is at least `wanted`, compared as floats."""
    return int((np.arange(1, total + 1) / total >= wanted).argmax()) + 1


def _share(found: NDArray[np.bool_]) -> float | None:
    return float(found.mean()) if len(found) else None
