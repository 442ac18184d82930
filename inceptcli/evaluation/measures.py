"""Compute the measures of an evaluation, with their uncertainty, from one result per image."""

from __future__ import annotations

import math
from bisect import bisect
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from inceptcli.evaluation.class_measures import CLASS_AVERAGES, LabeledPredictions, class_measures
from inceptcli.prediction.recorded_options import DEFAULT_OPTIONS, RecordedOptions, in_words
from inceptcli.text import printable, tells_top5
from inceptcli.weights.metadata import ClassName

if TYPE_CHECKING:
    from inceptcli.evaluation.bootstrap import BootstrapIntervals
    from inceptcli.evaluation.comparison import EnsembleMember, PairedComparison
    from inceptcli.evaluation.coverage import SetMeasures
    from inceptcli.evaluation.two_classes import TwoClasses

CALIBRATION_BINS = 15
RANKED = ("auroc", "average_precision")
AVERAGE_NAMES = {
    "macro_precision": "macro precision",
    "macro_recall": "macro recall",
    "macro_f1": "macro F1",
    "weighted_precision": "weighted precision",
    "weighted_f1": "weighted F1",
    "balanced_accuracy": "balanced accuracy",
    "kappa": "Cohen's kappa",
    "matthews": "Matthews correlation",
    "auroc": "AUROC",
    "average_precision": "average precision",
}
"""Names of the averages over classes for people."""

Z = NormalDist().inv_cdf((1 + 0.95) / 2)
"""Standard deviations of a 95 % interval."""


class Origin(NamedTuple):
    """Networks, data and options of an evaluation; `excluded` is the number of excluded images.

    `split` is train, val or test, or all if the data has no splits. `against` has the weights that
    the networks are compared with. `unlabeled` and `of_other_classes` are the numbers of images
    left out by --labels and --classes, if given. `chose_epoch`: the best epoch of a measured run
    was chosen on some of the images.
    """

    weights: Sequence[str]
    data: str
    crops: int
    excluded: int
    recorded: RecordedOptions = DEFAULT_OPTIONS
    split: str = "all"
    against: Sequence[str] = ()
    unlabeled: int | None = None
    of_other_classes: int | None = None
    chose_epoch: bool = False

    @property
    def caution(self) -> str:
        """A sentence for people about figures that are too good; empty if there is no reason."""
        if not self.chose_epoch:
            return ""
        return "The best epoch was chosen on these images, so the figures are slightly optimistic."

    @property
    def left_out(self) -> dict[str, int]:
        """The numbers of images that --labels and --classes left out, by name, if given."""
        found = {"unlabeled": self.unlabeled, "of_other_classes": self.of_other_classes}
        return {name: number for name, number in found.items() if number is not None}

    def in_words(self, images: int) -> list[str]:
        """Return how this number of images was measured, as parts of a sentence."""
        how = [f"{images} image{'s' * (images != 1)}"]
        how += [f"split {self.split}"] * (self.split != "all")
        how += [f"{self.excluded} excluded"] * bool(self.excluded)
        how += [f"{n} {name.replace('_', ' ')}" for name, n in self.left_out.items() if n]
        how += [f"{self.crops} crops each"] * (self.crops > 1)
        how += [f"{len(self.weights)} networks"] * (len(self.weights) > 1)
        return how + in_words(self.recorded.as_dict())


class ImageResult(NamedTuple):
    """Result of one image; classes are indices into the list of classes.

    `probability` is that of the class `predicted`. `loss` is -log of the label's probability, in
    nats. `rank` is the label's rank by probability, from 1; ties go to the lower index. If several
    labels are accepted, `accepted` has them all, `label` is the most probable of them, and the loss
    is that of the sum of their probabilities.
    """

    path: str
    label: int
    predicted: int
    probability: float
    loss: float
    rank: int
    accepted: tuple[int, ...] = ()


class Confusion(NamedTuple):
    """Number of images, at least 1, of class `label` that were predicted as `predicted`."""

    label: int
    predicted: int
    images: int


@dataclass(frozen=True)
class ClassResult:
    """One class: its images, the images predicted as it, and those predicted correctly.

    `auroc` and `average_precision` rank all images by the probability of this class. AUROC is None
    without images of the class or without others, the average precision without images of it.
    If images accept several labels, `images` are those that accept this class, and measures that
    need the one label of an image are None.
    """

    name: ClassName
    images: int
    predicted: int
    right: int
    has_one_label: bool
    auroc: float | None
    average_precision: float | None

    @property
    def top1(self) -> float | None:
        """Share of its images predicted correctly; None without images."""
        return self.right / self.images if self.images and self.has_one_label else None

    @property
    def recall(self) -> float | None:
        """The same as `top1`."""
        return self.top1

    @property
    def f1(self) -> float | None:
        """Harmonic mean of recall and precision; None if neither labels nor predictions have it."""
        either = self.images + self.predicted
        return 2 * self.right / either if either and self.has_one_label else None

    @property
    def top1_interval(self) -> tuple[float, float] | None:
        """Wilson interval of `top1`."""
        return None if self.top1 is None else wilson_interval(self.right, self.images)

    @property
    def precision(self) -> float | None:
        """Share of the images predicted as this class that belong to it; None without any."""
        return self.right / self.predicted if self.predicted else None


@dataclass(frozen=True)
class CalibrationBin:
    """Images whose predicted class has a probability of at least `low` and below `high`.

    The last bin includes 1. `probability` is the mean probability, None without images.
    """

    low: float
    high: float
    images: int
    right: int
    probability: float | None

    @property
    def top1(self) -> float | None:
        """Share predicted correctly; None without images."""
        return self.right / self.images if self.images else None


@dataclass(frozen=True)
class ClassAverages:
    """Measures over all classes, by scikit-learn's definitions; None where undefined.

    All are None if images accept several labels.

    Macro averages are means over the classes that occur among labels or predictions; a recall
    without images and a precision without predictions count as 0 there. Weighted averages weigh
    classes by their images. `balanced_accuracy` is the mean recall of the classes that have images.
    `kappa` and `matthews` are None if all labels and all predictions are of one class, `matthews`
    also if either are. `auroc` and `average_precision` are means over the classes that have one.
    """

    macro_precision: float | None
    macro_recall: float | None
    macro_f1: float | None
    weighted_precision: float | None
    weighted_f1: float | None
    balanced_accuracy: float | None
    kappa: float | None
    matthews: float | None
    auroc: float | None
    average_precision: float | None


@dataclass(frozen=True)
class Evaluation(ClassAverages):
    """Measures as fractions, not percent; `loss` is the mean loss of the images.

    Intervals are of 95 %: Wilson's for accuracies, and the normal interval of the mean loss, None
    for one image. `calibration_error` is the expected calibration error (Guo et al. 2017) over the
    15 bins in `calibration`. `confusion` has every pair that occurs, including correct ones, sorted
    by label; it is empty if images accept several labels. `skipped` has the path of each unreadable
    image and the reason; these images count nowhere else. `per_class` is in the order of the
    classes. `probabilities` (images, classes) has a row for each of `images`. `members` has the
    networks of an ensemble, in order; it is empty for one network. `against` is the comparison with
    other weights, if any. `top_k` has the top-k accuracies asked for, by k. `two_classes` is None
    unless there are two. `bootstrap` has the intervals that were asked for. `sets` are measures of
    prediction sets, None if the weights are not calibrated.
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
    probabilities: NDArray[np.float64] = field(repr=False, compare=False)
    skipped: tuple[tuple[str, str], ...] = ()
    members: tuple[EnsembleMember, ...] = ()
    against: PairedComparison | None = None
    top_k: int | None = None
    two_classes: TwoClasses | None = None
    bootstrap: BootstrapIntervals | None = None
    sets: SetMeasures | None = None

    @property
    def topk(self) -> float | None:
        """Share of the images whose label is among the `top_k` most probable classes."""
        return None if self.top_k is None else self._in_top(self.top_k) / len(self.images)

    @property
    def topk_interval(self) -> tuple[float, float] | None:
        """Wilson interval of `topk`."""
        if self.top_k is None:
            return None
        return wilson_interval(self._in_top(self.top_k), len(self.images))

    def _in_top(self, count: int) -> int:
        return sum(image.rank <= count for image in self.images)

    @property
    def coverage(self) -> float | None:
        """Share of the images whose prediction set contains the label; None if not calibrated."""
        return self.sets.overall.coverage if self.sets else None

    @property
    def mean_set_size(self) -> float | None:
        """Mean number of classes in a prediction set; None if not calibrated."""
        return self.sets.overall.mean_size if self.sets else None

    @property
    def has_one_label(self) -> bool:
        """Whether each image has one label; if not, the confusion and more are undefined."""
        return not any(image.accepted for image in self.images)


def image_result(
    path: str, label: int, probabilities: NDArray[np.float64], accepted: tuple[int, ...] = ()
) -> ImageResult:
    """Return the result for probabilities (num_classes,).

    `accepted` has all accepted labels if there are several; they replace `label`.

    Probabilities below the smallest float64 count as that: a loss is at most 744.4.
    """
    predicted = int(probabilities.argmax())
    label = max(accepted or (label,), key=lambda each: (probabilities[each], -each))
    own = probabilities[label]
    before = (probabilities > own).sum() + (probabilities[:label] == own).sum()
    of_accepted = min(1.0, math.fsum(probabilities[[*accepted]])) if accepted else float(own)
    loss = -math.log(max(of_accepted, math.ulp(0.0)))
    # The mean of rounded numbers may be 1 + 2e-16.
    probability = min(1.0, float(probabilities[predicted]))
    return ImageResult(path, label, predicted, probability, loss, 1 + int(before), accepted)


def evaluation_of(
    images: Sequence[ImageResult],
    probabilities: NDArray[np.float64],
    classes: Sequence[ClassName],
    skipped: Sequence[tuple[str, str]],
) -> Evaluation:
    """Compute the measures of at least one image; independent of the images' order in every bit.

    `probabilities` (images, classes) has a row for each of `images`.
    """
    has_one_label = not any(image.accepted for image in images)
    averages: dict[str, Any] = dict.fromkeys(CLASS_AVERAGES)
    ranked: Iterable[Sequence[float | None]] = [[None] * len(RANKED)] * len(classes)
    if has_one_label:
        found = class_measures(
            labeled_predictions(images, probabilities), np.ones((1, len(images)), np.uint8)
        )
        averages = {name: _defined(values[0]) for name, values in found.averages.items()}
        columns = (map(_defined, found.per_class[name][0]) for name in RANKED)
        ranked = zip(*columns, strict=True)
    total = len(images)
    right = sum(image.rank == 1 for image in images)
    in_top5 = sum(image.rank <= 5 for image in images)
    loss = math.fsum(image.loss for image in images) / total
    bins = calibration(images)
    counts = Counter(label for image in images for label in image.accepted or (image.label,))
    answers = Counter(image.predicted for image in images)
    named = Counter(image.label for image in images if image.rank == 1)
    pairs = Counter((image.label, image.predicted) for image in images if has_one_label)
    per_class = tuple(
        ClassResult(name, counts[label], answers[label], named[label], has_one_label, *measures)
        for (label, name), measures in zip(enumerate(classes), ranked, strict=True)
    )
    return Evaluation(
        **averages,
        top1=right / total,
        top1_interval=wilson_interval(right, total),
        top5=in_top5 / total,
        top5_interval=wilson_interval(in_top5, total),
        loss=loss,
        loss_interval=mean_interval([image.loss for image in images], loss),
        calibration_error=_calibration_error(bins, total),
        calibration=bins,
        per_class=per_class,
        confusion=tuple(Confusion(*pair, count) for pair, count in sorted(pairs.items())),
        images=tuple(images),
        probabilities=probabilities,
        skipped=tuple(skipped),
    )


class MeasureRow(NamedTuple):
    """One measure for people: its name, value and bootstrap interval; None where undefined."""

    name: str
    value: float | None
    interval: tuple[float, float] | None


def measure_rows(result: Evaluation) -> list[MeasureRow]:
    """Return the averages over classes, if defined, and the measures of two classes.

    With bootstrap intervals, accuracies and loss come first.
    """
    names = dict(AVERAGE_NAMES) if result.has_one_label else {}
    if two := result.two_classes:
        positive = printable(result.per_class[two.positive].name.name)
        # All digits: rounded, the threshold would be another one.
        start = "" if two.threshold is None else f", threshold {two.threshold!r}"
        names |= {name: f"{name} ({positive}{start})" for name in ("sensitivity", "specificity")}
    intervals = {} if result.bootstrap is None else result.bootstrap.intervals
    if intervals:
        of_images = {"top1": "top-1", "top5": "top-5", "topk": f"top-{result.top_k}"}
        names = {name: of_images[name] for name in of_images if name in intervals} | {
            "loss": "loss",
            **names,
        }
    if not tells_top5(len(result.per_class)):
        names.pop("top5", None)
    return [
        MeasureRow(shown, _value(result, name), intervals.get(name))
        for name, shown in names.items()
    ]


def _value(result: Evaluation, name: str) -> float | None:
    of_two = name in ("sensitivity", "specificity")
    found: float | None = getattr(result.two_classes if of_two else result, name)
    return found


def labeled_predictions(
    images: Sequence[ImageResult], probabilities: NDArray[np.float64]
) -> LabeledPredictions:
    """Return labels and predictions of results as arrays."""
    columns = np.array([(image.label, image.predicted) for image in images], np.intp).T
    return LabeledPredictions(columns[0], columns[1], probabilities)


def _defined(value: np.float64) -> float | None:
    return None if np.isnan(value) else float(value)


def wilson_interval(successes: int, trials: int) -> tuple[float, float]:
    """Return Wilson's 95 % score interval (1927) of a proportion; `trials` is at least 1."""
    share = successes / trials
    center = share + Z**2 / (2 * trials)
    spread = Z * math.sqrt(share * (1 - share) / trials + (Z / (2 * trials)) ** 2)
    scale = 1 + Z**2 / trials
    # Rounding leaves 1e-17 if the bound is 0.
    return max(0.0, (center - spread) / scale), min(1.0, (center + spread) / scale)


def mean_interval(values: Sequence[float], mean: float) -> tuple[float, float] | None:
    """Return the normal 95 % interval of a mean of at least 0; None for one value."""
    if len(values) < 2:
        return None
    variance = math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)
    spread = Z * math.sqrt(variance / len(values))
    return max(0.0, mean - spread), mean + spread


def calibration(images: Iterable[ImageResult]) -> tuple[CalibrationBin, ...]:
    """Group the images into CALIBRATION_BINS bins of equal width, lowest probabilities first."""
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
    """Return the mean absolute gap of accuracy and confidence per bin, weighted by images."""
    gaps = (abs(b.right - b.images * b.probability) for b in bins if b.probability is not None)
    return math.fsum(gaps) / total
