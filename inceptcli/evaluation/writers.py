"""Write results: a table for people, JSON, and CSV by image or by pair of classes."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from typing import TextIO

from inceptcli.evaluation.bootstrap import Interval
from inceptcli.evaluation.class_measures import CLASS_AVERAGES, PER_CLASS
from inceptcli.evaluation.comparison import PairedComparison, flip, most_changed
from inceptcli.evaluation.coverage import SetCounts
from inceptcli.evaluation.measures import Evaluation, Origin, measure_rows
from inceptcli.prediction.recorded_options import DEFAULT_OPTIONS, RecordedOptions
from inceptcli.text import accuracies, defused, joined_names, printable

PREDICTIONS = (
    "path", "label", "label_name", "predicted", "predicted_name", "probability", "loss", "rank",
    "error",
)  # fmt: skip
AGAINST = (
    "against_predicted", "against_predicted_name", "against_probability", "against_loss",
    "against_rank", "flip",
)  # fmt: skip
CONFUSION = ("label", "label_name", "predicted", "predicted_name", "images")
MOST_CONFUSED = 5
MOST_CHANGED = 5


def write_predictions(
    result: Evaluation, stream: TextIO, recorded: RecordedOptions = DEFAULT_OPTIONS
) -> None:
    """Write PREDICTIONS, a line per image; a skipped image has its path and error only.

    A comparison adds AGAINST: the other network's results, and whether the image is gained or lost.
    `label` and `predicted` are class ids; several accepted labels are joined as in
    `joined_names`. The last columns are the `recorded` options. Text that a spreadsheet would take
    for a formula is prefixed with an apostrophe; see `defused`.
    """
    table, said = csv.writer(stream), recorded.as_texts()
    last = said.values()
    against = AGAINST if result.against else ()
    table.writerow((*PREDICTIONS, *against, *said))
    names = [tuple(map(defused, entry.name)) for entry in result.per_class]
    others = result.against.images if result.against else result.images
    for image, other in zip(result.images, others, strict=True):
        own = names[image.label]
        if image.accepted:
            columns = zip(*(names[label] for label in image.accepted), strict=True)
            own = tuple(map(joined_names, columns))
        classes = (*own, *names[image.predicted])
        figures = (image.probability, image.loss, image.rank)
        theirs = (*names[other.predicted], other.probability, other.loss, other.rank)
        changed = (*theirs, flip(image, other)) if against else ()
        table.writerow((defused(image.path), *classes, *figures, "", *changed, *last))
    for path, reason in result.skipped:
        empty = [""] * (len(PREDICTIONS) - 2)
        table.writerow((defused(path), *empty, defused(reason), *[""] * len(against), *last))


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
        **_measures_as_dict(result),
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
        "coverage": result.coverage,
        "coverage_interval": result.sets and result.sets.overall.interval,
        "mean_set_size": result.mean_set_size,
        "coverage_level": result.sets and result.sets.level,
        "crops": origin.crops,
        **origin.recorded.as_dict(),
        "weights": origin.weights,
        **_members_as_dict(result, origin),
        **_against_as_dict(result, origin),
        "excluded": origin.excluded,
        **origin.left_out,
        "per_class": [
            {
                "class": e.name.id,
                "name": e.name.name,
                "images": e.images,
                "top1": e.top1,
                "top1_interval": e.top1_interval,
                "predicted": e.predicted,
                **_class_measures_as_dict(result, number),
                "coverage": counts and counts.coverage,
                "coverage_interval": counts and counts.interval,
                "mean_set_size": counts and counts.mean_size,
            }
            for number, (e, counts) in enumerate(
                zip(result.per_class, sets_per_class(result), strict=True)
            )
        ],
        "confusion": [
            {"label": ids[label], "predicted": ids[predicted], "images": images}
            for label, predicted, images in result.confusion
        ]
        if result.has_one_label
        else None,
        "skipped": [{"path": name, "reason": reason} for name, reason in result.skipped],
    }
    return json.dumps(values, indent=2)


def _measures_as_dict(result: Evaluation) -> dict[str, object]:
    """Return averages over classes, and the measures and intervals that were asked for."""
    values: dict[str, object] = {}
    if result.top_k is not None:
        values |= {
            "top_k": result.top_k,
            "topk": result.topk,
            "topk_interval": result.topk_interval,
        }
    values |= {name: getattr(result, name) for name in CLASS_AVERAGES}
    if two := result.two_classes:
        values |= {
            "positive": result.per_class[two.positive].name.id,
            "threshold": two.threshold,
            "sensitivity": two.sensitivity,
            "specificity": two.specificity,
        }
    if drawn := result.bootstrap:
        own = ("top1", "top5", "topk", "loss")  # their other intervals are beside them
        intervals = {f"{name}_interval": found for name, found in drawn.intervals.items()}
        values |= {
            key: found for key, found in intervals.items() if key not in map(_interval_of, own)
        }
        values["bootstrap"] = drawn.as_dict(
            {key: intervals[key] for key in map(_interval_of, own) if key in intervals}
        )
    return values


def _interval_of(name: str) -> str:
    return f"{name}_interval"


def _class_measures_as_dict(result: Evaluation, number: int) -> dict[str, object]:
    values: dict[str, object] = {}
    for name in PER_CLASS:
        values[name] = getattr(result.per_class[number], name)
        if result.bootstrap:
            values[f"{name}_interval"] = result.bootstrap.per_class[name][number]
    return values


def _members_as_dict(result: Evaluation, origin: Origin) -> dict[str, object]:
    members = [
        {"weights": weights, "top1": member.top1, "loss": member.loss, "gain": member.gain}
        for weights, member in zip(origin.weights, result.members, strict=False)
    ]
    return {"members": members} if members else {}


def _against_as_dict(result: Evaluation, origin: Origin) -> dict[str, object]:
    found = result.against
    if found is None:
        return {}
    names = [entry.name for entry in result.per_class]
    values = {
        "weights": origin.against,
        "top1": found.top1,
        "difference": found.difference,
        "difference_interval": found.difference_interval,
        "mcnemar_p": found.mcnemar_p,
        "gained": found.gained,
        "lost": found.lost,
        "loss": found.loss,
        "loss_difference": found.loss_difference,
        "loss_difference_interval": found.loss_difference_interval,
        "per_class": [
            {"class": names[label].id, "name": names[label].name, "gained": gained, "lost": lost}
            for label, gained, lost in found.per_class
        ],
    }
    return {"against": values}


def sets_per_class(result: Evaluation) -> Sequence[SetCounts | None]:
    """Return the prediction sets of each class; None for each without calibration."""
    return result.sets.per_class if result.sets else [None] * len(result.per_class)


def as_table(result: Evaluation, origin: Origin) -> str:
    """Return overall measures, then a line per class, then the most confused pairs.

    The networks of an ensemble and the comparison with other weights follow.
    """
    low, high = result.top1_interval
    shown = accuracies(result.top1, result.top5, len(result.per_class))
    if result.topk is not None:
        shown += f", top-{result.top_k} {result.topk:.2%}"
    interval = f"95 % interval of top-1 {low:.2%} to {high:.2%}, " if not result.bootstrap else ""
    names = [printable(entry.name.name) for entry in result.per_class]
    lines = [
        f"{', '.join(origin.in_words(len(result.images)))}: {shown}, loss {result.loss:.4f}",
        f"{interval}calibration error {result.calibration_error:.4f}",
        *filter(None, [origin.caution]),
        *_sets_in_words(result),
        *_measure_lines(result),
        *_class_lines(result, names),
    ]
    wrong = [pair for pair in result.confusion if pair.label != pair.predicted]
    if wrong:
        lines += ["", f"{'':>8}  {'images':>7}  most confused pairs"]
    for pair in sorted(wrong, key=lambda pair: -pair.images)[:MOST_CONFUSED]:
        lines.append(f"{'':>8}  {pair.images:>7}  {names[pair.label]} as {names[pair.predicted]}")
    lines += _member_lines(result, origin)
    if result.against:
        lines += _against_lines(result.against, origin, names)
    return "\n".join(lines)


def _measure_lines(result: Evaluation) -> Iterator[str]:
    """Yield a line per measure, with its interval if there is one."""
    drawn = result.bootstrap
    if not (rows := measure_rows(result)):
        return
    yield ""
    yield f"{'value':>8}  " + f"{'95 % interval':<18}  " * bool(drawn) + "measure"
    for name, value, interval in rows:
        between = "-" if interval is None else f"{interval[0]:.4f} to {interval[1]:.4f}"
        yield f"{_decimal(value):>8}  " + f"{between:<18}  " * bool(drawn) + name
    if drawn:
        yield drawn.in_words()


def _class_lines(result: Evaluation, names: list[str]) -> Iterator[str]:
    """Yield a line per class."""
    yield ""
    sets = f"{'coverage':>8}  {'set size':>8}  " if result.sets else ""
    yield f"{'top-1':>8}  {'F1':>6}  {'AUROC':>6}  {'AP':>6}  {'images':>7}  {sets}class"
    for name, entry, counts in zip(names, result.per_class, sets_per_class(result), strict=True):
        top1 = "-" if entry.top1 is None else f"{entry.top1:.2%}"
        measures = (entry.f1, entry.auroc, entry.average_precision)
        columns = "  ".join(f"{_decimal(value):>6}" for value in measures)
        yield f"{top1:>8}  {columns}  {entry.images:>7}  {_set_columns(counts)}{name}"


def _decimal(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _member_lines(result: Evaluation, origin: Origin) -> Iterator[str]:
    """Yield a line per network of an ensemble, and the gain over the best of them."""
    if not result.members:
        return
    yield ""
    yield f"{'top-1':>8}  {'gain':>7}  {'loss':>7}  member"
    for weights, member in zip(origin.weights, result.members, strict=True):
        figures = f"{member.top1:>8.2%}  {100 * member.gain:>+7.2f}  {member.loss:>7.4f}"
        yield f"{figures}  {printable(weights)}"
    best = result.top1 - max(member.top1 for member in result.members)
    yield f"{'':>8}  {100 * best:>+7.2f}  {'':>7}  the ensemble over its best member"


def _against_lines(found: PairedComparison, origin: Origin, names: list[str]) -> Iterator[str]:
    """Yield the differences with their intervals, the test, and the classes that changed most."""
    yield ""
    yield (
        f"against {', '.join(map(printable, origin.against))}: top-1 {found.top1:.2%}, loss "
        f"{found.loss:.4f}"
    )
    of_top1, of_loss = found.difference_interval, found.loss_difference_interval
    points = of_top1 and (100 * of_top1[0], 100 * of_top1[1])
    yield (
        f"difference of top-1 {100 * found.difference:+.2f} points{_interval(points, 2)}; "
        f"McNemar's exact test: p = {found.mcnemar_p:.3g}"
    )
    if found.loss_difference is not None:
        yield f"difference of loss {found.loss_difference:+.4f}{_interval(of_loss, 4)}"
    yield ""
    yield f"{'gained':>8}  {'lost':>7}  images"
    yield f"{found.gained:>8}  {found.lost:>7}  of all classes"
    for label, gained, lost in most_changed(found)[:MOST_CHANGED]:
        yield f"{gained:>8}  {lost:>7}  {names[label]}"


def _interval(bounds: Interval | None, digits: int) -> str:
    return f", 95 % interval {bounds[0]:+.{digits}f} to {bounds[1]:+.{digits}f}" if bounds else ""


def _sets_in_words(result: Evaluation) -> list[str]:
    if result.sets is None or (interval := result.sets.overall.interval) is None:
        return []
    low, high = interval
    return [
        f"sets for a coverage of {result.sets.level:.6g}: {result.coverage:.2%} contain the class "
        f"(95 % interval {low:.2%} to {high:.2%}), mean size {result.mean_set_size:.2f}"
    ]


def _set_columns(counts: SetCounts | None) -> str:
    if counts is None:
        return ""
    if counts.coverage is None:
        return f"{'-':>8}  {'-':>8}  "
    return f"{counts.coverage:>8.2%}  {counts.mean_size:>8.2f}  "
