"""Write results: a table for people, JSON, and CSV by image or by pair of classes."""

from __future__ import annotations

import csv
import json
from typing import TextIO

from inceptcli.evaluation.measures import Evaluation, Origin
from inceptcli.prediction.recorded_options import DEFAULT_OPTIONS, RecordedOptions
from inceptcli.text import accuracies, defused, printable

PREDICTIONS = (
    "path", "label", "label_name", "predicted", "predicted_name", "probability", "loss", "rank",
    "error",
)  # fmt: skip
CONFUSION = ("label", "label_name", "predicted", "predicted_name", "images")
MOST_CONFUSED = 5


def write_predictions(
    result: Evaluation, stream: TextIO, recorded: RecordedOptions = DEFAULT_OPTIONS
) -> None:
    """Write PREDICTIONS, a line per image; a skipped image has its path and error only.

    `label` and `predicted` are class ids. The last columns are the `recorded` options. Text that a
    spreadsheet would take for a formula is prefixed with an apostrophe; see `defused`.
    """
    table, said = csv.writer(stream), recorded.as_texts()
    last = said.values()
    table.writerow((*PREDICTIONS, *said))
    names = [tuple(map(defused, entry.name)) for entry in result.per_class]
    for image in result.images:
        classes = (*names[image.label], *names[image.predicted])
        figures = (image.probability, image.loss, image.rank)
        table.writerow((defused(image.path), *classes, *figures, "", *last))
    for path, reason in result.skipped:
        table.writerow((defused(path), *[""] * (len(PREDICTIONS) - 2), defused(reason), *last))


def write_confusion(
    result: Evaluation, stream: TextIO, recorded: RecordedOptions = DEFAULT_OPTIONS
) -> None:
    """Write CONFUSION, a line for each pair of label and prediction that occurs.

    The last columns are the `recorded` options.
    """
    table, said = csv.writer(stream), recorded.as_texts()
    last = said.values()
    table.writerow((*CONFUSION, *said))
    names = [tuple(map(defused, entry.name)) for entry in result.per_class]
    for label, predicted, images in result.confusion:
        table.writerow((*names[label], *names[predicted], images, *last))


def evaluation_as_json(result: Evaluation, origin: Origin) -> str:
    """Return one JSON object; accuracies are fractions of 1, classes of `confusion` are ids.

    It has the recorded options, as `as_table` does.
    """
    ids = [entry.name.id for entry in result.per_class]
    values = {
        "images": len(result.images),
        "split": origin.split,
        "top1": result.top1,
        "top1_interval": result.top1_interval,
        "top5": result.top5,
        "top5_interval": result.top5_interval,
        "loss": result.loss,
        "loss_interval": result.loss_interval,
        "calibration_error": result.calibration_error,
        "calibration": [
            {
                "low": b.low,
                "high": b.high,
                "images": b.images,
                "probability": b.probability,
                "top1": b.top1,
            }
            for b in result.calibration
        ],
        "crops": origin.crops,
        **origin.recorded.as_dict(),
        "weights": origin.weights,
        "excluded": origin.excluded,
        "per_class": [
            {
                "class": e.name.id,
                "name": e.name.name,
                "images": e.images,
                "top1": e.top1,
                "top1_interval": e.top1_interval,
                "predicted": e.predicted,
                "precision": e.precision,
            }
            for e in result.per_class
        ],
        "confusion": [
            {"label": ids[label], "predicted": ids[predicted], "images": images}
            for label, predicted, images in result.confusion
        ],
        "skipped": [{"path": name, "reason": reason} for name, reason in result.skipped],
    }
    return json.dumps(values, indent=2)


def as_table(result: Evaluation, origin: Origin) -> str:
    """Return overall measures, then a line per class, then the most confused pairs."""
    low, high = result.top1_interval
    how = [f"{len(result.images)} images"]
    how += [f"split {origin.split}"] * (origin.split != "all")
    how += [f"{origin.excluded} excluded"] * bool(origin.excluded)
    how += [f"{origin.crops} crops each"] * (origin.crops > 1)
    how += [f"{len(origin.weights)} networks"] * (len(origin.weights) > 1)
    how += [
        name if value is True else f"{name} {value}"
        for name, value in origin.recorded.as_dict().items()
    ]
    lines = [
        f"{', '.join(how)}: {accuracies(result.top1, result.top5, len(result.per_class))}, "
        f"loss {result.loss:.4f}",
        f"95 % interval of top-1 {low:.2%} to {high:.2%}, calibration error "
        f"{result.calibration_error:.4f}",
        "",
        f"{'top-1':>8}  {'images':>7}  class",
    ]
    names = [printable(entry.name.name) for entry in result.per_class]
    for name, entry in zip(names, result.per_class, strict=True):
        top1 = "-" if entry.top1 is None else f"{entry.top1:.2%}"
        lines.append(f"{top1:>8}  {entry.images:>7}  {name}")
    wrong = [pair for pair in result.confusion if pair.label != pair.predicted]
    if wrong:
        lines += ["", f"{'':>8}  {'images':>7}  most confused pairs"]
    for pair in sorted(wrong, key=lambda pair: -pair.images)[:MOST_CONFUSED]:
        lines.append(f"{'':>8}  {pair.images:>7}  {names[pair.label]} as {names[pair.predicted]}")
    return "\n".join(lines)
