"""A whole dataset read ahead of training: what would be skipped, what is filed twice. No torch."""

from __future__ import annotations

import hashlib
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from inceptcli.data.folders import Say, files_by_class, is_image, unheard
from inceptcli.data.left_out import LeftOut
from inceptcli.data.loading.parallel import in_processes
from inceptcli.data.pixels.decode import UnreadableImage, decode, image_format_of
from inceptcli.data.pixels.image_formats import SUFFIXES, SUFFIXES_OF
from inceptcli.data.splits import folders_in_words, other_folders, split_folders
from inceptcli.text import printable

ODD_SHARE = 0.01
"""A format that fewer of the images have is odd: among photographs often a placeholder."""


class CheckedFile(NamedTuple):
    """A file of a class folder; `split` is train, val or test, or all without splits."""

    path: Path
    split: str
    class_name: str


class Inspected(NamedTuple):
    """What a file holds: a format and size (height, width), pixels, or why it cannot be read."""

    place: CheckedFile
    problem: str | None = None
    format: str = ""
    size: tuple[int, int] = (0, 0)
    digest: str = ""

    @property
    def remark(self) -> Remark:
        """The problem or the format."""
        return Remark(self.place.path, self.problem or self.format)


class Remark(NamedTuple):
    """A file and what there is to say about it."""

    path: Path
    text: str


class Duplicates(NamedTuple):
    """Files of equal content; `across` has classes or splits, or both, when these differ."""

    places: tuple[CheckedFile, ...]
    across: tuple[str, ...]


class ClassCount(NamedTuple):
    """How many readable images a class has in each split where it has a folder."""

    name: str
    images: dict[str, int]


class Spread(NamedTuple):
    """The smallest, the middle and the largest, pixels."""

    min: int
    median: int
    max: int


@dataclass(frozen=True)
class Report:
    """What was found; `images` counts those that can be read.

    Attributes:
        unreadable: Files with an image's suffix, and why they cannot be read.
        overlooked: Images that training would not see, since they have another suffix; the format.
        left_out: Files and folders that are no images by their names, with those overlooked.
        wrong_suffix: Readable images whose suffix is another format's; the format.
        odd_format: Images of a format that fewer than ODD_SHARE of the images have; the format.
        duplicates: Groups of equal files.
        classes: By name.
        width: None without images; so is `height`.
    """

    splits: tuple[str, ...]
    images: int
    unreadable: tuple[Remark, ...]
    overlooked: tuple[Remark, ...]
    wrong_suffix: tuple[Remark, ...]
    odd_format: tuple[Remark, ...]
    duplicates: tuple[Duplicates, ...]
    classes: tuple[ClassCount, ...]
    formats: dict[str, int]
    width: Spread | None
    height: Spread | None
    left_out: LeftOut

    @property
    def empty_classes(self) -> list[tuple[str, str]]:
        """(split, class) of folders without a readable image."""
        return [
            (split, entry.name)
            for entry in self.classes
            for split, count in entry.images.items()
            if not count
        ]

    @property
    def one_split_only(self) -> list[tuple[str, str]]:
        """(split, class) of classes that the other splits lack."""
        return [
            (split, entry.name)
            for entry in self.classes
            for split in entry.images
            if len(entry.images) == 1 < len(self.splits)
        ]

    @property
    def clean(self) -> bool:
        """Nothing would be skipped or refused, and nothing is filed under two classes or splits."""
        untrained = "train" in self.splits and any(
            "train" not in entry.images for entry in self.classes
        )
        refused = untrained or self.empty_classes
        crossing = any(group.across for group in self.duplicates)
        return not (self.unreadable or self.overlooked or crossing or refused)


def check_folders(
    root: Path,
    workers: int | None,
    progress: Callable[[int, int], None],
    say: Say = unheard,
) -> Report:
    """Read every file in the class folders of `root`, or of its train/, val/ and test/.

    `workers` processes share the reading; by default as many as this one may use cores. `progress`
    is told how many files of how many are done, `say` what is left out.

    Raises:
        UsageError: `root` is missing or not a folder.
        UserError: there are no class folders, or one cannot be read.
    """
    splits = split_folders(root)
    if others := other_folders(root, splits):
        say(
            f"{printable(str(root))}: {folders_in_words(others)} left out, neither a split nor "
            "a class"
        )
    folders: list[tuple[str, Path]] = [*splits.items()] or [("all", root)]
    left_out = LeftOut()
    files = {
        split: files_by_class(folder, say, splits.values(), left_out) for split, folder in folders
    }
    places = [
        CheckedFile(path, split, name)
        for split, classes in files.items()
        for name, paths in classes.items()
        for path in paths
    ]
    inspected = []
    for done, entry in enumerate(in_processes(inspect, places, workers, chunk=8), start=1):
        inspected.append(entry)
        progress(done, len(places))
        if not entry.digest and not entry.problem:
            left_out.add_file(entry.place.path.name)
    names = {split: list(classes) for split, classes in files.items()}
    return _report(names, inspected, left_out)


def inspect(place: CheckedFile) -> Inspected:
    """Decode one file; neither problem nor format when it does not claim to be an image."""
    if not is_image(place.path):
        return Inspected(place, format=image_format_of(place.path) or "")
    try:
        height, width, _ = decode(place.path).shape
        with place.path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except UnreadableImage as error:
        return Inspected(place, problem=str(error))
    return Inspected(place, None, image_format_of(place.path) or "", (height, width), digest)


def _report(
    names: dict[str, list[str]], inspected: Sequence[Inspected], left_out: LeftOut
) -> Report:
    readable = [entry for entry in inspected if entry.digest]
    formats = Counter(entry.format for entry in readable)
    odd = {name for name, count in formats.items() if count < ODD_SHARE * len(readable)}
    counts = Counter((entry.place.split, entry.place.class_name) for entry in readable)
    classes = sorted({name for found in names.values() for name in found})
    return Report(
        tuple(names),
        len(readable),
        tuple(entry.remark for entry in inspected if entry.problem),
        tuple(entry.remark for entry in inspected if entry.format and not entry.digest),
        tuple(
            entry.remark
            for entry in readable
            if entry.place.path.suffix.lower() in SUFFIXES - SUFFIXES_OF.get(entry.format, set())
        ),
        tuple(entry.remark for entry in readable if entry.format in odd),
        _duplicates(readable),
        tuple(
            ClassCount(
                name, {split: counts[split, name] for split in names if name in names[split]}
            )
            for name in classes
        ),
        dict(formats.most_common()),
        _spread([entry.size[1] for entry in readable]),
        _spread([entry.size[0] for entry in readable]),
        left_out,
    )


def _duplicates(readable: Sequence[Inspected]) -> tuple[Duplicates, ...]:
    groups: defaultdict[str, list[CheckedFile]] = defaultdict(list)
    for entry in readable:
        groups[entry.digest].append(entry.place)
    found = []
    for places in groups.values():
        if len(places) > 1:
            across = []
            if len({place.class_name for place in places}) > 1:
                across.append("classes")
            if len({place.split for place in places}) > 1:
                across.append("splits")
            found.append(Duplicates(tuple(places), tuple(across)))
    return tuple(found)


def _spread(values: list[int]) -> Spread | None:
    return Spread(min(values), statistics.median_low(values), max(values)) if values else None
