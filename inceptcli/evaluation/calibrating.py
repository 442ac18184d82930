"""Fit a temperature and thresholds of prediction sets to labeled images; report them. No torch."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from inceptcli.evaluation.coverage import measure_sets
from inceptcli.evaluation.measures import Evaluation, Origin, evaluation_of, image_result
from inceptcli.prediction.ensemble import tempered
from inceptcli.prediction.sets import SetRule
from inceptcli.text import number_of
from inceptcli.weights.calibration import COLDEST, HOTTEST, Calibration, images_for, kept_scores
from inceptcli.weights.header import LONGEST_TEXT

ROWS = 4096
"""Images computed together."""

HALVINGS = 45
"""Steps of the search; they leave 2e-13 of the temperature."""


LEVELS = (0.9, 0.95, 0.99)
"""Coverages that `calibrate` reports."""


class CoverageLevel(NamedTuple):
    """Threshold for a coverage, and mean set size; None if there are too few images for it."""

    coverage: float
    threshold: float | None
    mean_set_size: float | None


class Calibrated(NamedTuple):
    """A calibration, and the measures of its own images before and after it.

    `is_fitted` is false if the temperature with the greatest likelihood is beyond the limits. Then
    it is COLDEST or HOTTEST, or 1 if no class is more probable than the label of any image.
    """

    calibration: Calibration
    before: Evaluation
    after: Evaluation
    is_fitted: bool

    @property
    def levels(self) -> list[CoverageLevel]:
        """Thresholds for the usual coverages, and their mean set sizes on the same images."""
        found = []
        for coverage in LEVELS:
            threshold, size = self.calibration.threshold(coverage), None
            if threshold is not None:
                rule = SetRule(coverage, threshold)
                sets = measure_sets(self.after.images, self.after.probabilities, rule)
                size = sets.overall.mean_size
            found.append(CoverageLevel(coverage, threshold, size))
        return found


def calibrate_on(
    before: Evaluation, origin: Origin, images_sha256: str | None = None
) -> Calibrated:
    """Fit a calibration to the images of an evaluation without temperature."""
    labels = [image.label for image in before.images]
    fitted = fit_temperature(before.probabilities, labels)
    temperature = fitted or 1.0
    probabilities = np.stack([tempered(row, temperature) for row in before.probabilities])
    rows = zip(before.images, probabilities, strict=True)
    images = [image_result(image.path, image.label, row) for image, row in rows]
    classes = [entry.name for entry in before.per_class]
    after = evaluation_of(images, probabilities, classes, before.skipped)
    scores = np.sort(probabilities[np.arange(len(labels)), labels]).clip(max=1).tolist()
    calibration = Calibration(
        temperature,
        len(labels),
        kept_scores(scores),
        origin.data[:LONGEST_TEXT],
        origin.split,
        origin.crops,
        origin.recorded.as_dict(),
        images_sha256,
    )
    return Calibrated(calibration, before, after, fitted not in (None, COLDEST, HOTTEST))


def fit_temperature(probabilities: NDArray[np.float64], labels: Sequence[int]) -> float | None:
    """Return the temperature with the greatest likelihood of `labels`.

    `probabilities` are (images, classes). The likelihood is concave in 1 / temperature, so that
    halving the interval finds it. Returns HOTTEST if a hotter temperature is more likely, since the
    probabilities say nothing about the labels; COLDEST if a colder one is; None if all are, since
    no class is more probable than the label of any image.
    """
    found = np.array(labels)
    low, high = math.log(COLDEST), math.log(HOTTEST)
    hottest, coldest = (_slope(probabilities, found, 1 / limit) for limit in (HOTTEST, COLDEST))
    if coldest >= 0:
        own = probabilities[np.arange(len(found)), found]
        return None if (own == probabilities.max(axis=1)).all() else COLDEST
    if hottest <= 0:
        return HOTTEST
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        if _slope(probabilities, found, math.exp(-middle)) > 0:
            high = middle
        else:
            low = middle
    return math.exp((low + high) / 2)


def _slope(probabilities: NDArray[np.float64], labels: NDArray[np.intp], power: float) -> float:
    """Return the slope of the mean log-likelihood at `power`, 1 / temperature."""
    total = 0.0
    for start in range(0, len(labels), ROWS):
        part = probabilities[start : start + ROWS]
        logs = np.log(part.clip(math.ulp(0.0)))
        weights = np.exp(power * (logs - logs.max(axis=1, keepdims=True)))
        expected = (weights * logs).sum(axis=1) / weights.sum(axis=1)
        own = logs[np.arange(len(part)), labels[start : start + ROWS]]
        total += math.fsum(own - expected)
    return total / len(labels)


def calibration_as_json(found: Calibrated, weights: str, output: str) -> str:
    """Return one JSON object; losses and calibration errors are those of the same images."""
    calibration, before, after = found.calibration, found.before, found.after
    values = {
        "weights": weights,
        "output": output,
        "images": calibration.images,
        "split": calibration.split,
        "crops": calibration.crops,
        **calibration.options,
        "temperature": calibration.temperature,
        "loss_before": before.loss,
        "loss_after": after.loss,
        "calibration_error_before": before.calibration_error,
        "calibration_error_after": after.calibration_error,
        "levels": [
            {
                "coverage_level": level.coverage,
                "threshold": level.threshold,
                "mean_set_size": level.mean_set_size,
            }
            for level in found.levels
        ],
        "skipped": [{"path": name, "reason": reason} for name, reason in after.skipped],
    }
    return json.dumps(values, indent=2)


def calibration_as_table(found: Calibrated) -> str:
    """Return the temperature with losses and calibration errors, then a line per coverage."""
    calibration, before, after = found.calibration, found.before, found.after
    how = [
        number_of(calibration.images, "image"),
        *[f"split {calibration.split}"] * (calibration.split != "all"),
    ]
    lines = [
        f"{', '.join(how)}: temperature {calibration.temperature:.4g}",
        f"loss {before.loss:.4f} before, {after.loss:.4f} after; calibration error "
        f"{before.calibration_error:.4f} before, {after.calibration_error:.4f} after",
        "",
        f"{'coverage':>8}  {'threshold':>9}  {'mean set size':>13}",
    ]
    for level in found.levels:
        if level.threshold is None:
            figures = f"needs at least {images_for(level.coverage)} images"
        else:
            figures = f"{level.threshold:>9.4g}  {level.mean_set_size:>13.2f}"
        lines.append(f"{level.coverage:>8.0%}  {figures}")
    return "\n".join(lines)
