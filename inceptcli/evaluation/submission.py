"""`eval --submission`: the five best labels of each image, as ILSVRC's server takes them. No torch.

A line per image in the order of their numbers, each with five labels (ILSVRC2012_ID, 1 to 1000),
the most probable first, separated by spaces.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, TextIO

import numpy as np
from numpy.typing import NDArray

from inceptcli.data.sources import ImageSource
from inceptcli.errors import UsageError, UserError
from inceptcli.evaluation.measures import Evaluation, Origin
from inceptcli.prediction.recorded_options import in_words
from inceptcli.text import printable
from inceptcli.weights.imagenet_classes import ilsvrc_numbers
from inceptcli.weights.metadata import ClassName

LABELS_PER_IMAGE = 5
INSTEAD = (1, 2, 3, 4, 5)
"""Labels in the line of an unreadable image; an empty line could shift those that follow."""

IMAGE_NAME = re.compile(r"ILSVRC2012_(val|test)_([0-9]{8})\.jpe?g", re.IGNORECASE)
NUM_IMAGES = {"val": 50_000, "test": 100_000}


class Ranking(NamedTuple):
    """Best labels of images without labels, by name, and the skipped images with the reasons."""

    images: Mapping[str, tuple[int, ...]]
    skipped: Sequence[tuple[str, str]]

    def as_json(self, origin: Origin) -> str:
        """Return one JSON object like that of images with labels; measures are null."""
        values = {
            "images": len(self.images),
            "split": origin.split,
            **dict.fromkeys(("top1", "top5", "loss")),
            "crops": origin.crops,
            **origin.recorded.as_dict(),
            "weights": origin.weights,
            "skipped": [{"path": name, "reason": reason} for name, reason in self.skipped],
        }
        return json.dumps(values, indent=2)

    def as_table(self, origin: Origin) -> str:
        """Return a line for people."""
        how = [f"{len(self.images)} image{'s' * (len(self.images) != 1)} without labels"]
        how += [f"split {origin.split}"] * (origin.split != "all")
        how += [f"{origin.crops} crops each"] * (origin.crops > 1)
        how += [f"{len(origin.weights)} networks"] * (len(origin.weights) > 1)
        return ", ".join(how + in_words(origin.recorded.as_dict()))


class Submission(NamedTuple):
    """Rule of a submission: the number of each image in `source`'s order, and of each class.

    `notes` warn that some of the server's images are missing.
    """

    line_of: Mapping[str, int]
    labels: NDArray[np.int64]
    notes: tuple[str, ...] = ()

    def best(self, probabilities: NDArray[np.float64]) -> tuple[int, ...]:
        """Return the five most probable labels; equal ones in the order of the classes."""
        order = np.argsort(-probabilities, kind="stable")[:LABELS_PER_IMAGE]
        return tuple(self.labels[order].tolist())

    def write(self, result: Evaluation | Ranking, stream: TextIO) -> None:
        """Write a line for each image, INSTEAD for an unreadable one."""
        if isinstance(result, Ranking):
            best = result.images
        else:
            rows = zip(result.images, result.probabilities, strict=True)
            best = {image.path: self.best(row) for image, row in rows}
        for name in sorted(self.line_of, key=self.line_of.__getitem__):
            print(*best.get(name, INSTEAD), file=stream)

    def loss(self, unreadable: Iterable[str]) -> str | None:
        """Return a sentence about the lines of unreadable images, for people; None if none are."""
        lines = sorted(self.line_of[name] for name in unreadable)
        if not lines:
            return None
        return (
            f"{len(lines)} of {len(self.line_of)} lines of the submission have the labels "
            f"{' '.join(map(str, INSTEAD))} in place of an unreadable image: "
            f"line{'s' * (len(lines) > 1)} {', '.join(map(str, lines))}"
        )


def submission_of(source: ImageSource, classes: Sequence[ClassName]) -> Submission:
    """Return the rule for the images of `source` and the classes of the weights.

    Raises:
        UsageError: the weights have fewer than five classes, or one that is not ILSVRC's.
        UserError: an image is not named as ILSVRC's are, is there twice, or is missing.
    """
    numbers = ilsvrc_numbers()
    if len(classes) < LABELS_PER_IMAGE:
        raise UsageError(
            f"--submission: needs at least {LABELS_PER_IMAGE} classes, since each line has five "
            f"labels; the weights have {len(classes)}"
        )
    strange = next((entry.id for entry in classes if entry.id not in numbers), None)
    if strange is not None:
        raise UsageError(
            f"--submission: class {printable(strange)} is not the id of one of ILSVRC's 1000 "
            "synsets, such as n01440764; the server knows no other labels"
        )
    names = (source.name(index) for index in range(len(source)))
    line_of, part = _lines(names)
    whole = NUM_IMAGES[part]
    note = f"the submission has {len(line_of)} lines, but there are {whole:,} {part} images"
    labels = np.array([numbers[entry.id] for entry in classes])
    return Submission(line_of, labels, (note,) if len(line_of) < whole else ())


def _lines(names: Iterator[str]) -> tuple[dict[str, int], str]:
    """Return the line of each image by name, from 1, and the part of ILSVRC: val or test."""
    found: dict[int, str] = {}
    parts: dict[str, str] = {}
    for name in names:
        match = IMAGE_NAME.fullmatch(name.rpartition("/")[2])
        if match is None:
            raise UserError(
                f"--submission: {printable(name)} is not named as ILSVRC's images are, such as "
                "ILSVRC2012_test_00000001.JPEG, so its line is unknown"
            )
        part, number = match[1].lower(), int(match[2])
        parts.setdefault(part, name)
        if len(parts) > 1:
            both = " and ".join(map(printable, parts.values()))
            raise UserError(f"--submission: {both} are of two sets of images; give one of them")
        if number in found:
            raise UserError(
                f"--submission: {printable(found[number])} and {printable(name)} are both image "
                f"{number}; remove one of them"
            )
        found[number] = name
    (part,) = parts
    wrong = next((number for number in found if not 1 <= number <= NUM_IMAGES[part]), None)
    if wrong is not None:
        raise UserError(
            f"--submission: {printable(found[wrong])} is not one of the {NUM_IMAGES[part]:,} "
            f"{part} images"
        )
    missing = next((n for n in range(1, len(found) + 1) if n not in found), None)
    if missing is not None:
        raise UserError(
            f"--submission: image {missing} is missing, ILSVRC2012_{part}_{missing:08}.JPEG; every "
            "image up to the last one has a line"
        )
    return {name: number for number, name in found.items()}, part
