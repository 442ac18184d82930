"""What an evaluation found: accuracies with their uncertainty, from one result for each image."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from inceptcli.weights.metadata import ClassName

CALIBRATION_BINS = 15
CONFIDENCE = 0.95


class ImageResult(NamedTuple):
    """One image; classes are places in the list of classes.

    `probability` is that of `predicted`; `loss` is -log of the label's, in nats; `rank` is the
    label's place, from 1, among all classes by probability (of equals the first one first).
    """

    path: str
    label: int
    predicted: int
    probability: float
    loss: float
    rank: int


class Confusion(NamedTuple):
    """How many images of class `label` were taken for `predicted`, at least 1."""

    label: int
    predicted: int
    images: int


@dataclass(frozen=True)
class ClassResult:
    """One class: how many images it has and the share of them named right (None without images)."""

    name: ClassName
    images: int
    top1: float | None


@dataclass(frozen=True)
class Evaluation:
    """Fractions, not percent; `loss` is the mean of the images' losses.

    `top1_interval` is Wilson's, of 95 %. `calibration_error` is the expected one of the predicted
    classes' probabilities, over 15 bins. `confusion` has every pair that occurs, the right ones
    too, by label. `skipped` has the path of each image that could not be read, and why; it counts
    nowhere else. `per_class` is in the order of the classes.
    """

    top1: float
    top1_interval: tuple[float, float]
    top5: float
    loss: float
    calibration_error: float
    per_class: tuple[ClassResult, ...]
    confusion: tuple[Confusion, ...]
    images: tuple[ImageResult, ...]
    skipped: tuple[tuple[str, str], ...] = ()


def image_result(path: str, label: int, probabilities: NDArray[np.float64]) -> ImageResult:
    """Of probabilities (num_classes,).

    What a float64 cannot hold counts as its smallest number: a loss is at most 744.4.
    """
    predicted = int(probabilities.argmax())
    own = probabilities[label]
    before = (probabilities > own).sum() + (probabilities[:label] == own).sum()
    loss = -math.log(max(float(own), math.ulp(0.0)))
    # The mean of rounded numbers may be 1 + 2e-16.
    probability = min(1.0, float(probabilities[predicted]))
    return ImageResult(path, label, predicted, probability, loss, 1 + int(before))


def summarize(
    images: Sequence[ImageResult], classes: Sequence[ClassName], skipped: Sequence[tuple[str, str]]
) -> Evaluation:
    """The figures of at least one image; they depend on the images' order in no bit."""
    total = len(images)
    right = sum(image.rank == 1 for image in images)
    counts = Counter(image.label for image in images)
    named = Counter(image.label for image in images if image.rank == 1)
    pairs = Counter((image.label, image.predicted) for image in images)
    per_class = tuple(
        ClassResult(name, counts[label], named[label] / counts[label] if counts[label] else None)
        for label, name in enumerate(classes)
    )
    return Evaluation(
        top1=right / total,
        top1_interval=wilson_interval(right, total),
        top5=sum(image.rank <= 5 for image in images) / total,
        loss=math.fsum(image.loss for image in images) / total,
        calibration_error=_calibration_error(images),
        per_class=per_class,
        confusion=tuple(Confusion(*pair, count) for pair, count in sorted(pairs.items())),
        images=tuple(images),
        skipped=tuple(skipped),
    )


def wilson_interval(successes: int, trials: int) -> tuple[float, float]:
    """Wilson's score interval (1927) of 95 % for a proportion; `trials` is at least 1."""
    z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    share = successes / trials
    centre = share + z**2 / (2 * trials)
    spread = z * math.sqrt(share * (1 - share) / trials + (z / (2 * trials)) ** 2)
    scale = 1 + z**2 / trials
    # Rounding leaves 1e-17 where the bound is 0.
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)


def _calibration_error(images: Sequence[ImageResult]) -> float:
    """The multiclass error looks at nothing but the greatest probability and whether it is right.

    So it is the binary one of these, which needs no table of all probabilities.
    """
    import torch
    from torchmetrics.functional.classification import binary_calibration_error

    ordered = sorted(images, key=lambda image: (image.probability, image.rank == 1))
    probabilities = torch.tensor([image.probability for image in ordered], dtype=torch.float64)
    right = torch.tensor([int(image.rank == 1) for image in ordered])
    return float(binary_calibration_error(probabilities, right, n_bins=CALIBRATION_BINS))
