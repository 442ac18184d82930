"""Measures of multi-label data: average precision, AUROC, and F1 at the thresholds."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, TextIO

import numpy as np
from numpy.typing import NDArray

from inceptcli.evaluation.bootstrap import (
    BootstrapIntervals,
    WeightedMean,
    bootstrap_intervals,
    group_numbers,
)
from inceptcli.evaluation.class_measures import (
    ClassMeasures,
    mean_of_defined,
    ranked,
    ranked_classes,
    ratio,
)
from inceptcli.evaluation.measures import Origin, mean_interval
from inceptcli.prediction.recorded_options import DEFAULT_OPTIONS, RecordedOptions
from inceptcli.prediction.thresholds import LabelCounts, count_labels
from inceptcli.text import defused, joined_names, printable
from inceptcli.weights.metadata import ClassName

PREDICTIONS = ("path", "labels", "predicted", "loss", "error")
PER_CLASS = (
    "images", "predicted", "threshold", "recall", "precision", "f1", "auroc", "average_precision",
)  # fmt: skip
MEANS = {
    "average_precision": "mAP", "micro_f1": "Micro F1", "macro_f1": "Macro F1", "auroc": "AUROC",
}  # fmt: skip
"""Measures over all classes, with their names for people."""

ONE_LABEL_ONLY = (
    "top1", "top1_interval", "top5", "top5_interval", "calibration_error", "calibration",
    "confusion",
)  # fmt: skip
"""Fields that are null."""


class LabelsResult(NamedTuple):
    """Labels of one image and those predicted, as indices of classes, and its loss.

    The loss is the mean over the classes of the binary cross-entropy, in nats.
    """

    path: str
    labels: tuple[int, ...]
    predicted: tuple[int, ...]
    loss: float


@dataclass(frozen=True)
class LabelMeasures:
    """One class: images that have the label, were given it, and both; None where undefined."""

    name: ClassName
    images: int
    predicted: int
    right: int
    threshold: float
    auroc: float | None
    average_precision: float | None

    @property
    def recall(self) -> float | None:
        """Share of its images that were given the label; None without images."""
        return self.right / self.images if self.images else None

    @property
    def precision(self) -> float | None:
        """Share of the images given the label that have it; None without any."""
        return self.right / self.predicted if self.predicted else None

    @property
    def f1(self) -> float | None:
        """Harmonic mean of recall and precision; None if the label neither occurs nor is given."""
        either = self.images + self.predicted
        return 2 * self.right / either if either else None


@dataclass(frozen=True)
class MultiLabelEvaluation:
    """Measures as fractions; None where undefined.

    `average_precision` (mAP) and `auroc` are means over the classes that have one. `micro_f1` is of
    all labels together, `macro_f1` the mean over the classes that occur or are predicted, both at
    the thresholds. `loss_interval` is the normal 95 % interval. `probabilities` (images, classes)
    has a row for each of `images`. `bootstrap` has the intervals that were asked for.
    """

    average_precision: float | None
    auroc: float | None
    micro_f1: float | None
    macro_f1: float | None
    loss: float
    loss_interval: tuple[float, float] | None
    per_class: tuple[LabelMeasures, ...]
    images: tuple[LabelsResult, ...]
    probabilities: NDArray[np.float64]
    skipped: tuple[tuple[str, str], ...] = ()
    bootstrap: BootstrapIntervals | None = None


def evaluation_of_labels(
    images: Sequence[tuple[str, Sequence[int]]],
    probabilities: NDArray[np.float64],
    thresholds: NDArray[np.float64],
    classes: Sequence[ClassName],
    skipped: Sequence[tuple[str, str]] = (),
) -> MultiLabelEvaluation:
    """Compute the measures of at least one image, each with its path and its labels.

    `probabilities` are (images, classes), `thresholds` (classes,).
    """
    truth = _marked(probabilities.shape, [labels for _, labels in images])
    predicted = probabilities >= thresholds
    losses = _losses(probabilities, truth)
    results = tuple(
        LabelsResult(path, tuple(labels), tuple(np.flatnonzero(row).tolist()), loss)
        for (path, labels), row, loss in zip(images, predicted, losses, strict=True)
    )
    counts = count_labels(predicted, truth)
    per_class = tuple(_per_class(probabilities, truth, counts, thresholds, classes))
    loss = math.fsum(losses) / len(losses)
    return MultiLabelEvaluation(
        average_precision=_mean([entry.average_precision for entry in per_class]),
        auroc=_mean([entry.auroc for entry in per_class]),
        micro_f1=_defined(counts.micro_f1),
        macro_f1=_defined(counts.macro_f1),
        loss=loss,
        loss_interval=mean_interval(losses, loss),
        per_class=per_class,
        images=results,
        probabilities=probabilities,
        skipped=tuple(skipped),
    )


def with_intervals(
    found: MultiLabelEvaluation, number: int, group: str | None, group_of: Mapping[str, str] | None
) -> MultiLabelEvaluation:
    """Add the intervals of `number` resamples of the images, or of their groups by path."""
    shape = found.probabilities.shape
    truth = _marked(shape, [image.labels for image in found.images])
    predicted = _marked(shape, [image.predicted for image in found.images])

    def measures(times: NDArray[np.uint8]) -> ClassMeasures:
        # As float64: the sums of counts stay exact, and a product of uint8 would overflow.
        weights = times.astype(np.float64)
        images, given, right = (weights @ each for each in (truth, predicted, truth & predicted))
        auroc, precision = ranked_classes(found.probabilities, lambda label: truth[:, label], times)
        f1 = ratio(2 * right, images + given)
        averages = {
            "average_precision": mean_of_defined(precision),
            "auroc": mean_of_defined(auroc),
            "micro_f1": ratio(2 * right.sum(1), (images + given).sum(1)),
            "macro_f1": mean_of_defined(f1),
        }
        per_class = {
            "recall": ratio(right, images),
            "precision": ratio(right, given),
            "f1": f1,
            "auroc": auroc,
            "average_precision": precision,
        }
        return ClassMeasures(averages, per_class)

    losses = np.array([image.loss for image in found.images])
    means = {"loss": WeightedMean(losses, np.ones(len(losses)))}
    groups = group_numbers([image.path for image in found.images], group_of)
    return replace(found, bootstrap=bootstrap_intervals(measures, means, groups, number, group))


def _marked(shape: tuple[int, ...], labels: Sequence[Sequence[int]]) -> NDArray[np.bool_]:
    marked = np.zeros(shape, bool)
    for row, own in zip(marked, labels, strict=True):
        row[list(own)] = True
    return marked


def _losses(probabilities: NDArray[np.float64], truth: NDArray[np.bool_]) -> list[float]:
    own = np.where(truth, probabilities, 1 - probabilities)
    losses: list[float] = -np.log(np.maximum(own, math.ulp(0.0))).mean(axis=1)
    return [float(loss) for loss in losses]


def _per_class(
    probabilities: NDArray[np.float64],
    truth: NDArray[np.bool_],
    counts: LabelCounts,
    thresholds: NDArray[np.float64],
    classes: Sequence[ClassName],
) -> Iterator[LabelMeasures]:
    once = np.ones((1, len(truth)), np.uint8)
    for place, name in enumerate(classes):
        auroc, precision = ranked(probabilities[:, place], truth[:, place], once)
        yield LabelMeasures(
            name,
            int(counts.images[place]),
            int(counts.predicted[place]),
            int(counts.right[place]),
            float(thresholds[place]),
            _defined(auroc[0]),
            _defined(precision[0]),
        )


def _mean(values: Sequence[float | None]) -> float | None:
    numbers = np.array([math.nan if value is None else value for value in values])
    return _defined(mean_of_defined(numbers))


def _defined(value: float | np.floating | NDArray[np.float64]) -> float | None:
    return None if np.isnan(value) else float(value)


def labels_as_json(result: MultiLabelEvaluation, origin: Origin) -> str:
    """Return one JSON object; the fields of data with one label per image are null."""
    values = {
        "images": len(result.images),
        "split": origin.split,
        **dict.fromkeys(ONE_LABEL_ONLY),
        "loss": result.loss,
        "loss_interval": result.loss_interval,
        **_means_as_dict(result),
        "crops": origin.crops,
        **origin.recorded.as_dict(),
        "weights": origin.weights,
        "excluded": origin.excluded,
        "per_class": [
            {
                "class": entry.name.id,
                "name": entry.name.name,
                **{field: getattr(entry, field) for field in PER_CLASS},
                **_class_intervals(result, place),
            }
            for place, entry in enumerate(result.per_class)
        ],
        "skipped": [{"path": name, "reason": reason} for name, reason in result.skipped],
    }
    return json.dumps(values, indent=2)


def _means_as_dict(result: MultiLabelEvaluation) -> dict[str, object]:
    values = {name: getattr(result, name) for name in MEANS}
    if drawn := result.bootstrap:
        intervals = {f"{name}_interval": found for name, found in drawn.intervals.items()}
        values |= {f"{name}_interval": intervals[f"{name}_interval"] for name in MEANS}
        values["bootstrap"] = drawn.as_dict({"loss_interval": intervals["loss_interval"]})
    return values


def _class_intervals(result: MultiLabelEvaluation, place: int) -> dict[str, object]:
    drawn = result.bootstrap.per_class if result.bootstrap else {}
    return {f"{name}_interval": intervals[place] for name, intervals in drawn.items()}


def labels_as_table(result: MultiLabelEvaluation, origin: Origin) -> str:
    """Return overall measures, then a line per class."""
    how = ", ".join(origin.in_words(len(result.images)))
    lines = [
        f"{how}: mAP {_percent(result.average_precision)}, micro F1 "
        f"{_percent(result.micro_f1)}, macro F1 {_percent(result.macro_f1)}, AUROC "
        f"{_percent(result.auroc)}, loss {result.loss:.4f}",
        *_intervals(result),
        *filter(None, [origin.caution]),
        "",
        f"{'AP':>8}  {'AUROC':>8}  {'F1':>8}  {'recall':>8}  {'precision':>9}  {'threshold':>9}  "
        f"{'images':>7}  class",
    ]
    for entry in result.per_class:
        shares = (entry.average_precision, entry.auroc, entry.f1, entry.recall)
        lines.append(
            "  ".join(f"{_percent(share):>8}" for share in shares)
            + f"  {_percent(entry.precision):>9}  {entry.threshold:>9.4f}  {entry.images:>7}  "
            + printable(entry.name.name)
        )
    return "\n".join(lines)


def _intervals(result: MultiLabelEvaluation) -> Iterator[str]:
    if drawn := result.bootstrap:
        for name, shown in MEANS.items():
            if interval := drawn.intervals[name]:
                yield f"{shown}: 95 % interval {interval[0]:.2%} to {interval[1]:.2%}"
        yield drawn.in_words()


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.2%}"


def write_labels(
    result: MultiLabelEvaluation, stream: TextIO, recorded: RecordedOptions = DEFAULT_OPTIONS
) -> None:
    """Write PREDICTIONS, a line per image; `labels` and `predicted` are joined ids.

    A skipped image has its path and error only. The last columns are the `recorded` options.
    """
    table, said = csv.writer(stream), recorded.as_texts()
    table.writerow((*PREDICTIONS, *said))
    ids = [entry.name.id for entry in result.per_class]
    for image in result.images:
        named = [
            defused(joined_names(ids[place] for place in places))
            for places in (image.labels, image.predicted)
        ]
        table.writerow((defused(image.path), *named, image.loss, "", *said.values()))
    for path, reason in result.skipped:
        table.writerow((defused(path), "", "", "", defused(reason), *said.values()))
