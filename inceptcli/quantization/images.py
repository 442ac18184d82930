"""Choose images for quantization: some set the ranges of activations, others check the result."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from inceptcli.data.folders import Label, LabeledImages, find_images, subfolders
from inceptcli.data.label_files import is_remote_list, lists_images
from inceptcli.data.pixels.decode import UnreadableImage
from inceptcli.data.pixels.preprocessing import Preprocessing
from inceptcli.data.shards.files import means_shards
from inceptcli.data.sources import FolderSource, ImageSource, is_multi_label
from inceptcli.errors import UserError
from inceptcli.evaluation.images import Wanted, images_to_measure
from inceptcli.weights.metadata import WeightsMetadata

FEWEST = 16
"""Fewest images to set the ranges, and to check."""


class FoundImages(NamedTuple):
    """Images, whether they are labeled with the classes of the weights, and notes for people.

    `read` has the files that are read.
    """

    source: ImageSource
    are_labeled: bool
    notes: tuple[str, ...] = ()
    read: tuple[Path, ...] = ()


class ChosenImages(NamedTuple):
    """Crops (N, H, W, 3) uint8 that set the ranges, and others to check.

    `labels` (N,) are those of `check`, None for unlabeled images. `skipped` has the path of each
    unreadable image and the reason.
    """

    calibration: NDArray[np.uint8]
    check: NDArray[np.uint8]
    labels: NDArray[np.int64] | None
    skipped: tuple[tuple[str, str], ...]


def find(data: str, file: Path, metadata: WeightsMetadata) -> FoundImages:
    """Find labeled images as `eval` does; a folder without subfolders is unlabeled.

    Raises UsageError if there are none, UserError if the labels do not match the classes.
    """
    folder = Path(data)
    is_flat = (
        not means_shards(data)
        and not is_remote_list(data)
        and folder.is_dir()
        and not lists_images(folder)
        and not subfolders(folder)
    )
    if is_flat:
        images = find_images(folder)
        source = FolderSource(LabeledImages((), images, (0,) * len(images)))
        return FoundImages(source, False, (), tuple(images))
    found = images_to_measure(Wanted(data), [(file, metadata)])
    paths = found.source.images.paths if isinstance(found.source, FolderSource) else ()
    are_labeled = not (metadata.is_multi_label or is_multi_label(found.source))
    return FoundImages(found.source, are_labeled, found.notes, (*found.read, *paths))


def choose(
    found: FoundImages,
    preprocessing: Preprocessing,
    calibration: int,
    check: int,
    seed: int,
    done: Callable[[int], None],
) -> ChosenImages:
    """Read up to `calibration` + `check` images, drawn by `seed`, as many of each class as it has.

    If there are fewer, at most half of the readable ones set the ranges. The images of a class are
    split between both uses. Of equal images, one is chosen. `done` is called with 1 after each
    image.

    Raises UserError if fewer than 2 * FEWEST different images can be read.
    """
    crops: list[NDArray[np.uint8]] = []
    labels: list[Label] = []
    skipped: list[tuple[str, str]] = []
    seen: set[bytes] = set()
    for number in _drawn(found, seed):
        if len(crops) == calibration + check:
            break
        try:
            crop = preprocessing.crop(found.source.image(number))
        except UnreadableImage as error:
            skipped.append((found.source.name(number), str(error)))
            continue
        if (digest := hashlib.sha256(crop.tobytes()).digest()) in seen:
            continue
        seen.add(digest)
        crops.append(crop)
        labels.append(found.source.label(number))
        done(1)
    if len(crops) < 2 * FEWEST:
        raise UserError(
            f"{len(crops)} different images of {len(found.source)} can be read; at least "
            f"{2 * FEWEST} are needed: half set the ranges of activations, the others check the "
            "result"
        )
    if len(crops) < calibration + check:
        calibration = min(calibration, len(crops) // 2)
    setting, checking = _split(labels, calibration)
    return ChosenImages(
        np.stack([crops[number] for number in setting]),
        np.stack([crops[number] for number in checking]),
        np.array([labels[number] for number in checking]) if found.are_labeled else None,
        tuple(skipped),
    )


def _drawn(found: FoundImages, seed: int) -> list[int]:
    """Return all image numbers, shuffled; the classes take turns."""
    random = np.random.default_rng(seed)
    shuffled = random.permutation(len(found.source)).tolist()
    turns = _turns([found.source.label(number) for number in shuffled])
    order = sorted(range(len(shuffled)), key=turns.__getitem__)
    return [shuffled[place] for place in order]


def _split(labels: Sequence[Label], calibration: int) -> tuple[list[int], list[int]]:
    """Return which images set the ranges, and which check.

    Every other image of a class checks. If more are needed to set the ranges, the classes with the
    most images give them.
    """
    turns = _turns(labels)

    def preference(number: int) -> tuple[int, int]:
        return (0, turns[number]) if turns[number] % 2 else (1, -turns[number])

    order = sorted(range(len(labels)), key=preference)
    return sorted(order[:calibration]), sorted(order[calibration:])


def _turns(labels: Sequence[Label]) -> list[int]:
    """Number the images of each class, from 1."""
    turns: Counter[Label] = Counter()
    numbers = []
    for label in labels:
        turns[label] += 1
        numbers.append(turns[label])
    return numbers
