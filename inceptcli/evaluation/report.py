"""`eval --report`: the result of an evaluation as an HTML page, with filters and sorting."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, TextIO

from inceptcli.data.pixels.decode import UnreadableImage
from inceptcli.data.sources import ImageSource
from inceptcli.evaluation.comparison import flip, most_changed
from inceptcli.evaluation.measures import (
    CalibrationBin,
    Confusion,
    Evaluation,
    ImageResult,
    Origin,
    measure_rows,
    wilson_interval,
)
from inceptcli.pages.page import common_folder, write_page
from inceptcli.pages.thumbnail import thumbnail
from inceptcli.text import printable, tells_top5
from inceptcli.weights.metadata import ClassName

MISTAKES = 48
"""Number of most confident mistakes shown."""

MISTAKE_SIDE = 224
"""Longest side of their thumbnails, pixels."""

FLIPS = 24
"""Most gained images shown, and most lost ones."""

PAIRS = 200
"""Number of most confused pairs listed; the matrix has all."""

LARGEST_TABLE = 16
"""Up to this many classes, the confusion matrix is a table of numbers; above, it is drawn."""

LISTED_IMAGES = 100_000
"""Most images that the page can search, mistakes first."""

FLIP_NUMBERS = {"": 0, "gained": 1, "lost": -1}
"""Numbers of `flip` in the page's data."""

STYLES = ("style.css", "report.css")
SCRIPTS = ("table.js", "images.js", "matrix.js")


class Mistake(NamedTuple):
    """A wrong answer with a thumbnail, None if the image can no longer be read."""

    image: ImageResult
    thumbnail: str | None


class Flip(NamedTuple):
    """An image that was gained or lost against `other`'s answer, with a thumbnail as above."""

    image: ImageResult
    other: ImageResult
    thumbnail: str | None


def write_report(
    result: Evaluation, stream: TextIO, *, source: ImageSource, origin: Origin
) -> None:
    """Write the page; read mistakes and images gained or lost again for thumbnails."""
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
        loss_interval=(result.bootstrap and result.bootstrap.intervals["loss"])
        or result.loss_interval,
        measures=measure_rows(result),
        names=names,
        pairs=wrong[:PAIRS],
        num_pairs=len(wrong),
        taken_for=_taken_for(wrong),
        table=_shares(result) if len(names) <= LARGEST_TABLE else None,
        bins=_drawn(result.calibration),
        confidence=math.fsum(image.probability for image in result.images) / len(result.images),
        mistakes=_most_confident(result, source),
        changed=most_changed(result.against) if result.against else [],
        flips=_flips(result, source),
        num_mistakes=num_mistakes,
        listed=min(len(result.images), LISTED_IMAGES),
        labeled=partial(_labeled, names),
        whose="label" if result.has_one_label else "accepted labels",
        own_probability=own_probability,
        guess_loss=_guess_loss(result),
    )


def _accuracies(result: Evaluation) -> list[tuple[str, float, tuple[float, float]]]:
    """Return name, value and interval of each; omit top-5 for few classes."""
    intervals = {} if result.bootstrap is None else result.bootstrap.intervals

    def named(name: str, key: str) -> tuple[str, float, tuple[float, float]]:
        interval = intervals.get(key) or getattr(result, f"{key}_interval")
        return name, getattr(result, key), interval

    shown = [named("Top-1", "top1")]
    shown += [named("Top-5", "top5")] * tells_top5(len(result.per_class))
    shown += [named(f"Top-{result.top_k}", "topk")] * (result.top_k is not None)
    if result.sets and result.coverage is not None and result.sets.overall.interval is not None:
        shown.append(("Coverage", result.coverage, result.sets.overall.interval))
    return shown


def class_labels(classes: Sequence[ClassName]) -> list[str]:
    """Return names on one line; with ids if several classes have the same name."""
    count = Counter(entry.name for entry in classes)
    return [
        printable(entry.name if count[entry.name] == 1 else f"{entry.name} ({entry.id})")
        for entry in classes
    ]


def own_probability(image: ImageResult) -> float:
    """Return the probability of the label, or the sum of those of the accepted labels."""
    return math.exp(-image.loss)


def _labeled(names: Sequence[str], image: ImageResult) -> str:
    return " or ".join(names[label] for label in image.accepted or (image.label,))


def _guess_loss(result: Evaluation) -> float:
    """Return the loss of equal probabilities of all classes."""
    accepted = (max(1, len(image.accepted)) for image in result.images)
    total = math.fsum(math.log(len(result.per_class) / count) for count in accepted)
    return total / len(result.images)


def _most_confident(result: Evaluation, source: ImageSource) -> list[Mistake]:
    wrong = [image for image in result.images if image.rank != 1]
    chosen = sorted(wrong, key=lambda image: -image.probability)[:MISTAKES]
    return [*map(Mistake, chosen, thumbnails([image.path for image in chosen], source))]


def _flips(result: Evaluation, source: ImageSource) -> dict[str, list[Flip]]:
    """Return images gained and lost, those whose label's probability changed most first."""
    if result.against is None:
        return {}
    found: dict[str, list[tuple[ImageResult, ImageResult]]] = {"gained": [], "lost": [], "": []}
    for pair in zip(result.images, result.against.images, strict=True):
        found[flip(*pair)].append(pair)
    chosen = {}
    for change in ("gained", "lost"):
        pairs = sorted(
            found[change],
            key=lambda pair: -abs(own_probability(pair[0]) - own_probability(pair[1])),
        )[:FLIPS]
        small = thumbnails([image.path for image, _ in pairs], source)
        chosen[change] = [Flip(*pair, each) for pair, each in zip(pairs, small, strict=True)]
    return chosen


def thumbnails(paths: Sequence[str], source: ImageSource) -> list[str | None]:
    """Read images again; return a thumbnail of each, None if it can no longer be read."""
    wanted = {*paths}
    number_of = {}
    for number in range(len(source)) if wanted else ():
        if (name := source.name(number)) in wanted:
            number_of[name] = number
    found: list[str | None] = []
    for path in paths:
        try:
            found.append(thumbnail(source.image(number_of[path]), MISTAKE_SIDE))
        except UnreadableImage:
            found.append(None)
    return found


def _taken_for(wrong: Sequence[Confusion]) -> dict[int, Confusion]:
    """Return the most frequent confusion of each class; `wrong` is in descending order."""
    most: dict[int, Confusion] = {}
    for pair in wrong:
        most.setdefault(pair.label, pair)
    return most


def _shares(result: Evaluation) -> list[list[tuple[int, int]]]:
    """Return the whole matrix: images, and their share of the label's in tenths, rounded up."""
    size = len(result.per_class)
    table = [[(0, 0)] * size for _ in range(size)]
    for label, predicted, images in result.confusion:
        share = images / result.per_class[label].images
        table[label][predicted] = (images, math.ceil(share * 10))
    return table


def _drawn(bins: Sequence[CalibrationBin]) -> list[Mapping[str, Any]]:
    """Return the bins with the interval of their top-1 and their histogram height, 0 to 1."""
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
    """Return the data in columns, a third of the size of rows; paths are relative to `folder`."""
    others = result.against.images if result.against else result.images
    pairs = [*zip(result.images, others, strict=True)]
    if len(pairs) > LISTED_IMAGES:
        pairs = sorted(pairs, key=lambda pair: pair[0].rank == pair[1].rank == 1)[:LISTED_IMAGES]
    images = [image for image, _ in pairs]
    flips = [FLIP_NUMBERS[flip(*pair)] for pair in pairs]
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
        **({"flip": flips} if result.against else {}),
    }
