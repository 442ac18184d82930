"""`eval --report` of multi-label data: figures, classes, and images with wrong labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TextIO

from inceptcli.data.sources import ImageSource
from inceptcli.evaluation.measures import Origin
from inceptcli.evaluation.multi_label import MEANS, LabelsResult, MultiLabelEvaluation
from inceptcli.evaluation.report import MISTAKES, STYLES, class_labels, thumbnails
from inceptcli.pages.page import common_folder, write_page

SCRIPTS = ("table.js", "label_report.js")

WRONG_LABELS = 10
"""Most missing labels, and most additional ones, that a mistake lists."""


class WrongLabel(NamedTuple):
    """A class, as an index, and its probability."""

    label: int
    probability: float


class WrongLabels(NamedTuple):
    """The most clearly wrong labels of an image, and the number of all."""

    shown: Sequence[WrongLabel]
    total: int


class LabelsMistake(NamedTuple):
    """An image with wrong labels, and a thumbnail, None if it can no longer be read."""

    path: str
    labels: Sequence[str]
    missing: WrongLabels
    additional: WrongLabels
    thumbnail: str | None


def write_label_report(
    result: MultiLabelEvaluation, stream: TextIO, *, source: ImageSource, origin: Origin
) -> None:
    """Write the page; read the images with the most wrong labels again for thumbnails."""
    names = class_labels([entry.name for entry in result.per_class])
    paths = [*(image.path for image in result.images), *(path for path, _ in result.skipped)]
    intervals = {} if result.bootstrap is None else result.bootstrap.intervals
    write_page(
        stream,
        "label_report.html",
        STYLES,
        SCRIPTS,
        {},
        result=result,
        origin=origin,
        folder=common_folder(paths, origin.data),
        names=names,
        shares=[(MEANS[key], getattr(result, key), intervals.get(key)) for key in MEANS],
        loss_interval=intervals.get("loss") or result.loss_interval,
        mistakes=_mistakes(result, source, names),
        num_mistakes=sum(image.labels != image.predicted for image in result.images),
    )


def _mistakes(
    result: MultiLabelEvaluation, source: ImageSource, names: Sequence[str]
) -> list[LabelsMistake]:
    """Return the images with the most wrong labels; of as many, the highest loss comes first."""
    wrong = [row for row, image in enumerate(result.images) if image.labels != image.predicted]
    wrong.sort(key=lambda row: (-_count(result.images[row]), -result.images[row].loss))
    chosen = wrong[:MISTAKES]
    pictures = thumbnails([result.images[row].path for row in chosen], source)
    return [
        _mistake(result, row, names, small) for row, small in zip(chosen, pictures, strict=True)
    ]


def _count(image: LabelsResult) -> int:
    return len({*image.labels} ^ {*image.predicted})


def _mistake(
    result: MultiLabelEvaluation, row: int, names: Sequence[str], small: str | None
) -> LabelsMistake:
    image = result.images[row]
    own, given = {*image.labels}, {*image.predicted}

    def listed(labels: set[int], sign: int) -> WrongLabels:
        found = [WrongLabel(label, float(result.probabilities[row, label])) for label in labels]
        found.sort(key=lambda wrong: (sign * wrong.probability, wrong.label))
        return WrongLabels(found[:WRONG_LABELS], len(found))

    return LabelsMistake(
        image.path,
        [names[label] for label in image.labels[:WRONG_LABELS]],
        listed(own - given, 1),
        listed(given - own, -1),
        small,
    )
