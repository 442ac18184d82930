"""Prediction sets: the classes that contain the truth with a wanted probability. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from inceptcli.errors import UsageError
from inceptcli.prediction.ensemble import EnsembleRequest
from inceptcli.prediction.recorded_options import in_words
from inceptcli.weights.calibration import Calibration, images_for
from inceptcli.weights.metadata import OutputKind


class SetRule(NamedTuple):
    """Split conformal prediction: a set has the classes of at least `threshold` probability.

    It always has the most probable class, too. It contains the label of a new image with
    probability `coverage` or more (Sadinle et al. 2019).
    """

    coverage: float
    threshold: float

    def members(self, probabilities: NDArray[np.float64]) -> NDArray[np.intp]:
        """Return the classes in the set of one image, most probable first.

        `probabilities` (num_classes,) are in the order of the classes.
        """
        order = np.argsort(-probabilities, kind="stable")
        return order[: max(1, int((probabilities >= self.threshold).sum()))]


def check_coverage(coverage: float) -> None:
    """Raise UsageError if `coverage` is not between 0 and 1."""
    if isinstance(coverage, bool) or not 0 < coverage < 1:  # also true for NaN
        raise UsageError(
            f"--coverage must be above 0 and below 1 (0.95 for 95 %), got {coverage:g}"
        )


def set_rule(
    coverage: float | None,
    request: EnsembleRequest,
    calibrations: Sequence[Calibration | None],
    outputs: OutputKind = "softmax",
) -> SetRule | None:
    """Return the rule for `coverage`, from the calibration of each measured network of `request`.

    Networks to compare with may follow these. Without coverage, there is none; with it, `outputs`
    must be softmax.

    Raises UsageError if there is no calibration that holds for these networks and options.
    """
    if coverage is None:
        return None
    check_coverage(coverage)
    if outputs == "sigmoid":
        raise UsageError(
            f"--coverage {coverage:g}: {request.weights[0]} has sigmoid outputs; prediction sets "
            "are for softmax outputs, with one label for each image"
        )
    if len(calibrations) > 1:
        raise UsageError(
            "--coverage needs one network: the calibrations of several do not hold for their mean"
        )
    name, (found,) = request.weights[0], calibrations
    if found is None:
        raise UsageError(
            f"--coverage {coverage:g}: {name} is not calibrated; run `inceptcli calibrate {name} "
            "--data DIR` with labeled images that it was not trained on"
        )
    then = {"crops": found.crops, **found.options}
    now = {"crops": request.crops, **request.recorded.as_dict()}
    if then != now:
        remedy = "" if "classes" in now else ", or calibrate again with these"
        raise UsageError(
            f"--coverage {coverage:g}: {name} was calibrated with {_listed(then)}, and its sets do "
            f"not hold with {_listed(now)}; use the same options{remedy}"
        )
    threshold = found.threshold(coverage)
    if threshold is None:
        raise UsageError(
            f"--coverage {coverage:g}: needs a calibration on at least {images_for(coverage)} "
            f"images, and {name} was calibrated on {found.images}; give a smaller coverage, or "
            "calibrate on more images"
        )
    return SetRule(coverage, threshold)


def _listed(options: Mapping[str, object]) -> str:
    return ", ".join([f"crops {options['crops']}", *in_words(options)])
