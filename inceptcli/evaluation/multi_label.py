"""Measures of multi-label data: average precision, AUROC, and F1 at the thresholds."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TextIO

import numpy as np
from numpy.typing import NDArray

from inceptcli.data.label_files import SEPARATOR
from inceptcli.evaluation.class_measures import mean_of_defined, ranked
from inceptcli.evaluation.measures import Origin, mean_interval
from inceptcli.prediction.recorded_options import DEFAULT_OPTIONS, RecordedOptions, in_words
from inceptcli.prediction.thresholds import LabelCounts, count_labels
from inceptcli.text import defused, printable
from inceptcli.weights.metadata import ClassName

PREDICTIONS = ("path", "labels", "predicted", "loss", "error")
PER_CLASS = (
    "images", "predicted", "threshold", "recall", "precision", "f1", "auroc", "average_precision",
)  # fmt: skip
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
    has a row for each of `images`.
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
    truth = np.zeros(probabilities.shape, bool)
    for row, (_, labels) in zip(truth, images, strict=True):
        row[list(labels)] = True
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
        "average_precision": result.average_precision,
        "auroc": result.auroc,
        "micro_f1": result.micro_f1,
        "macro_f1": result.macro_f1,
        "crops": origin.crops,
        **origin.recorded.as_dict(),
        "weights": origin.weights,
        "excluded": origin.excluded,
        "per_class": [
            {
                "class": entry.name.id,
                "name": entry.name.name,
                **{field: getattr(entry, field) for field in PER_CLASS},
            }
            for entry in result.per_class
        ],
        "skipped": [{"path": name, "reason": reason} for name, reason in result.skipped],
    }
    return json.dumps(values, indent=2)


def labels_as_table(result: MultiLabelEvaluation, origin: Origin) -> str:
    """Return overall measures, then a line per class."""
    how = [f"{len(result.images)} images"]
    how += [f"split {origin.split}"] * (origin.split != "all")
    how += [f"{origin.excluded} excluded"] * bool(origin.excluded)
    how += [f"{origin.crops} crops each"] * (origin.crops > 1)
    how += [f"{len(origin.weights)} networks"] * (len(origin.weights) > 1)
    how += in_words(origin.recorded.as_dict())
    lines = [
        f"{', '.join(how)}: mAP {_percent(result.average_precision)}, micro F1 "
        f"{_percent(result.micro_f1)}, macro F1 {_percent(result.macro_f1)}, AUROC "
        f"{_percent(result.auroc)}, loss {result.loss:.4f}",
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


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.2%}"


def write_labels(
    result: MultiLabelEvaluation, stream: TextIO, recorded: RecordedOptions = DEFAULT_OPTIONS
) -> None:
    """Write PREDICTIONS, a line per image; `labels` and `predicted` are ids, joined by semicolons.

    A skipped image has its path and error only. The last columns are the `recorded` options.
    """
    table, said = csv.writer(stream), recorded.as_texts()
    table.writerow((*PREDICTIONS, *said))
    ids = [entry.name.id for entry in result.per_class]
    for image in result.images:
        named = [
            defused(SEPARATOR.join(ids[place] for place in places))
            for places in (image.labels, image.predicted)
        ]
        table.writerow((defused(image.path), *named, image.loss, "", *said.values()))
    for path, reason in result.skipped:
        table.writerow((defused(path), "", "", "", defused(reason), *said.values()))
