"""`eval --report`: what an evaluation found, as a page to look at and to search."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TextIO

from inceptcli.data.pixels.decode import UnreadableImage
from inceptcli.data.sources import ImageSource
from inceptcli.evaluation.results import (
    CalibrationBin,
    Confusion,
    Evaluation,
    ImageResult,
    Origin,
    wilson_interval,
)
from inceptcli.pages.page import common_folder, write_page
from inceptcli.pages.thumbnail import thumbnail
from inceptcli.text import printable, tells_top5
from inceptcli.weights.metadata import ClassName

MISTAKES = 48
"""How many of the most confident ones are shown."""

MISTAKE_SIDE = 224
"""Longest side of their thumbnails, pixels."""

PAIRS = 200
"""How many of the most confused pairs are listed; all are in the matrix."""

LARGEST_TABLE = 16
"""Up to so many classes the confusion matrix is a table of numbers; beyond, it is drawn."""

LISTED_IMAGES = 100_000
"""How many images the page can search; of more, the mistakes come first."""

STYLES = ("style.css", "report.css")
SCRIPTS = ("table.js", "images.js", "matrix.js")


class Mistake(NamedTuple):
    """A wrong answer with a small copy of its picture; None when that can be read no more."""

    image: ImageResult
    thumbnail: str | None


def write_report(
    result: Evaluation, stream: TextIO, *, source: ImageSource, origin: Origin
) -> None:
    """The page. `source` gives the pictures of the most confident mistakes once more."""
    names = class_labels([entry.name for entry in result.per_class])
    wrong = sorted(
        (pair for pair in result.confusion if pair.label != pair.predicted),
        key=lambda pair: -pair.images,
    )
    read = [image.path for image in result.images]
    folder = common_folder([*read, *(path for path, _ in result.skipped)], origin.data)
    num_mistakes = sum(image.rank != 1 for image in result.images)
    write_page(
        stream,
        "report.html",
        STYLES,
        SCRIPTS,
        _data(result, names, folder),
        result=result,
        origin=origin,
        folder=folder,
        accuracies=_accuracies(result),
        names=names,
        pairs=wrong[:PAIRS],
        num_pairs=len(wrong),
        taken_for=_taken_for(wrong),
        table=_shares(result) if len(names) <= LARGEST_TABLE else None,
        bins=_drawn(result.calibration),
        confidence=math.fsum(image.probability for image in result.images) / len(result.images),
        mistakes=_most_confident(result, source),
        num_mistakes=num_mistakes,
        listed=min(len(result.images), LISTED_IMAGES),
        own_probability=own_probability,
        guess_loss=math.log(len(names)),
    )


def _accuracies(result: Evaluation) -> list[tuple[str, float, tuple[float, float]]]:
    """Name, value and interval of each; top-5 of few classes says nothing."""
    top5 = ("Top-5", result.top5, result.top5_interval)
    shown = [("Top-1", result.top1, result.top1_interval)]
    return [*shown, top5] if tells_top5(len(result.per_class)) else shown


def class_labels(classes: Sequence[ClassName]) -> list[str]:
    """Names on one line; where several classes have the same one, with their ids."""
    count = Counter(entry.name for entry in classes)
    return [
        printable(entry.name if count[entry.name] == 1 else f"{entry.name} ({entry.id})")
        for entry in classes
    ]


def own_probability(image: ImageResult) -> float:
    """The label's probability."""
    return math.exp(-image.loss)


def _most_confident(result: Evaluation, source: ImageSource) -> list[Mistake]:
    wrong = [image for image in result.images if image.rank != 1]
    chosen = sorted(wrong, key=lambda image: -image.probability)[:MISTAKES]
    wanted = {image.path for image in chosen}
    number_of = {}
    for number in range(len(source)):
        if (name := source.name(number)) in wanted:
            number_of[name] = number
    mistakes = []
    for image in chosen:
        try:
            small = thumbnail(source.image(number_of[image.path]), MISTAKE_SIDE)
        except UnreadableImage:
            small = None
        mistakes.append(Mistake(image, small))
    return mistakes


def _taken_for(wrong: Sequence[Confusion]) -> dict[int, Confusion]:
    """For each class that was mistaken, what for most often; `wrong` starts with the most."""
    most: dict[int, Confusion] = {}
    for pair in wrong:
        most.setdefault(pair.label, pair)
    return most


def _shares(result: Evaluation) -> list[list[tuple[int, int]]]:
    """The whole matrix: images, and their share of the label's in steps of a tenth, up."""
    size = len(result.per_class)
    table = [[(0, 0)] * size for _ in range(size)]
    for label, predicted, images in result.confusion:
        share = images / result.per_class[label].images
        table[label][predicted] = (images, math.ceil(share * 10))
    return table


def _drawn(bins: Sequence[CalibrationBin]) -> list[Mapping[str, Any]]:
    """The bins with the interval of their top-1 and their images as a share of the fullest's."""
    most = max(entry.images for entry in bins)
    return [
        {
            "bin": entry,
            "interval": wilson_interval(entry.right, entry.images) if entry.images else None,
            "fullness": entry.images / most,
        }
        for entry in bins
    ]


def _data(result: Evaluation, names: Sequence[str], folder: str) -> Mapping[str, Any]:
    """Columns, not rows: a third of the size. Paths are from `folder`, `prefix` here."""
    images = result.images
    if len(images) > LISTED_IMAGES:
        images = tuple(sorted(images, key=lambda image: image.rank == 1)[:LISTED_IMAGES])
    return {
        "names": names,
        "totals": [entry.images for entry in result.per_class],
        "pairs": [number for pair in result.confusion for number in pair],
        "prefix": printable(folder),
        "path": [printable(image.path.removeprefix(folder)) for image in images],
        "label": [image.label for image in images],
        "predicted": [image.predicted for image in images],
        "probability": [round(image.probability, 4) for image in images],
        "own": [float(f"{own_probability(image):.3g}") for image in images],
        "rank": [image.rank for image in images],
    }
