"""What an evaluation found: accuracies with their uncertainty, from one result for each image."""

from __future__ import annotations

import math
from bisect import bisect
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from inceptcli.prediction.shortcuts import NO_SHORTCUTS, Shortcuts
from inceptcli.weights.metadata import ClassName

CALIBRATION_BINS = 15
Z = NormalDist().inv_cdf((1 + 0.95) / 2)
"""Standard deviations of an interval of 95 %."""


class Origin(NamedTuple):
    """What was measured, as the command line has it; `excluded` images were left out.

    `split` is train, val or test of the data, or all where it has no splits.
    """

    weights: Sequence[str]
    data: str
    crops: int
    excluded: int
    shortcuts: Shortcuts = NO_SHORTCUTS
    split: str = "all"


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
    """One class: how many images it has, how many were taken for it, and how many of these are."""

    name: ClassName
    images: int
    predicted: int
    right: int

    @property
    def top1(self) -> float | None:
        """The share of its images named right, its recall; None without images."""
        return self.right / self.images if self.images else None

    @property
    def top1_interval(self) -> tuple[float, float] | None:
        """Wilson's of `top1`."""
        return wilson_interval(self.right, self.images) if self.images else None

    @property
    def precision(self) -> float | None:
        """The share of what was taken for it that is it; None where nothing was."""
        return self.right / self.predicted if self.predicted else None


@dataclass(frozen=True)
class CalibrationBin:
    """The images whose predicted class's probability is `low` or more and below `high`.

    The last bin's has 1 too. `probability` is the mean of these, None without images.
    """

    low: float
    high: float
    images: int
    right: int
    probability: float | None

    @property
    def top1(self) -> float | None:
        """The share named right; None without images."""
        return self.right / self.images if self.images else None


@dataclass(frozen=True)
class Evaluation:
    """Fractions, not percent; `loss` is the mean of the images' losses.

    Intervals are of 95 %: Wilson's, and the normal one of the mean loss, None for one image.
    `calibration` has the 15 bins of `calibration_error`, the expected one (Guo et al. 2017) of the
    predicted classes' probabilities. `confusion` has every pair that occurs, the right ones too,
    by label. `skipped` has the path of each image that could not be read, and why; it counts
    nowhere else. `per_class` is in the order of the classes.
    """

    top1: float
    top1_interval: tuple[float, float]
    top5: float
    top5_interval: tuple[float, float]
    loss: float
    loss_interval: tuple[float, float] | None
    calibration_error: float
    calibration: tuple[CalibrationBin, ...]
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


def evaluation_of(
    images: Sequence[ImageResult], classes: Sequence[ClassName], skipped: Sequence[tuple[str, str]]
) -> Evaluation:
    """The figures of at least one image; they depend on the images' order in no bit."""
    total = len(images)
    right = sum(image.rank == 1 for image in images)
    in_top5 = sum(image.rank <= 5 for image in images)
    loss = math.fsum(image.loss for image in images) / total
    bins = calibration(images)
    counts = Counter(image.label for image in images)
    answers = Counter(image.predicted for image in images)
    named = Counter(image.label for image in images if image.rank == 1)
    pairs = Counter((image.label, image.predicted) for image in images)
    per_class = tuple(
        ClassResult(name, counts[label], answers[label], named[label])
        for label, name in enumerate(classes)
    )
    return Evaluation(
        top1=right / total,
        top1_interval=wilson_interval(right, total),
        top5=in_top5 / total,
        top5_interval=wilson_interval(in_top5, total),
        loss=loss,
        loss_interval=_mean_interval([image.loss for image in images], loss),
        calibration_error=_calibration_error(bins, total),
        calibration=bins,
        per_class=per_class,
        confusion=tuple(Confusion(*pair, count) for pair, count in sorted(pairs.items())),
        images=tuple(images),
        skipped=tuple(skipped),
    )


def wilson_interval(successes: int, trials: int) -> tuple[float, float]:
    """Wilson's score interval (1927) of 95 % for a proportion; `trials` is at least 1."""
    share = successes / trials
    center = share + Z**2 / (2 * trials)
    spread = Z * math.sqrt(share * (1 - share) / trials + (Z / (2 * trials)) ** 2)
    scale = 1 + Z**2 / trials
    # Rounding leaves 1e-17 where the bound is 0.
    return max(0.0, (center - spread) / scale), min(1.0, (center + spread) / scale)


def _mean_interval(values: Sequence[float], mean: float) -> tuple[float, float] | None:
    if len(values) < 2:
        return None
    variance = math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)
    spread = Z * math.sqrt(variance / len(values))
    return max(0.0, mean - spread), mean + spread


def calibration(images: Iterable[ImageResult]) -> tuple[CalibrationBin, ...]:
    """The images in CALIBRATION_BINS bins of equal width, the lowest probabilities first."""
    edges = [number / CALIBRATION_BINS for number in range(CALIBRATION_BINS + 1)]
    members: list[list[ImageResult]] = [[] for _ in edges[1:]]
    for image in images:
        members[bisect(edges, image.probability, hi=CALIBRATION_BINS) - 1].append(image)
    return tuple(
        CalibrationBin(
            low,
            high,
            len(inside),
            sum(image.rank == 1 for image in inside),
            math.fsum(image.probability for image in inside) / len(inside) if inside else None,
        )
        for low, high, inside in zip(edges, edges[1:], members, strict=False)
    )


def _calibration_error(bins: Iterable[CalibrationBin], total: int) -> float:
    """The bins' differences between right and expected, weighted by their images."""
    gaps = (abs(b.right - b.images * b.probability) for b in bins if b.probability is not None)
    return math.fsum(gaps) / total
