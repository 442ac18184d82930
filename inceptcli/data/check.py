"""Check a dataset before training: unreadable, overlooked and duplicate images. No torch."""

from __future__ import annotations

import hashlib
import logging
from array import array
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple, overload

import numpy as np

from inceptcli.data.file_paths import FilePaths
from inceptcli.data.folders import LabeledImages, files_by_class, is_image, positions
from inceptcli.data.label_files import SEPARATOR, images_to_train_on, is_list_to_train_on
from inceptcli.data.left_out import LeftOut
from inceptcli.data.loading.parallel import in_processes
from inceptcli.data.pixels.decode import UnreadableImage, decode, image_format_of
from inceptcli.data.pixels.image_formats import SUFFIXES, SUFFIXES_OF
from inceptcli.data.shards.files import class_list, find_shards, means_shards, of_split
from inceptcli.data.shards.index import ShardIndex, index_of
from inceptcli.data.shards.source import TarImage, labels_by_name, tar_image
from inceptcli.data.splits import NAMES, folders_in_words, other_folders, split_folders
from inceptcli.errors import UsageError, UserError
from inceptcli.files.regular_file import sha256_of
from inceptcli.text import composed

logger = logging.getLogger(__name__)

ODD_SHARE = 0.01
"""A format of a smaller share of the images is odd; among photographs often a placeholder."""


class CheckedFile(NamedTuple):
    """A file in a class folder or of a CSV file, or an image in a shard.

    Attributes:
        path: The file; for an image in a shard, the shard's path followed by the member's name.
        split: train, val or test; all if the dataset has no splits.
        classes: Names of its classes: one, any number for multi-label data, none for an unreadable
            image in a shard.
        in_tar: Its location in the shard.
        is_listed: Whether a CSV file lists it; training then decodes it whatever its suffix.
    """

    path: Path
    split: str
    classes: tuple[str, ...]
    in_tar: TarImage | None = None
    is_listed: bool = False

    @property
    def class_name(self) -> str:
        """Names of its classes, separated by semicolons."""
        return SEPARATOR.join(self.classes)


class Inspected(NamedTuple):
    """Result of reading a file: format, (height, width) and digest, or the problem."""

    place: CheckedFile
    problem: str | None = None
    format: str = ""
    size: tuple[int, int] = (0, 0)
    digest: str = ""

    @property
    def remark(self) -> Remark:
        """The file with its problem, else its format."""
        return Remark(self.place.path, self.problem or self.format)


class Remark(NamedTuple):
    """A file and a remark about it."""

    path: Path
    text: str


class Duplicates(NamedTuple):
    """Files of equal content; `across` lists classes and splits if the files differ in them."""

    places: tuple[CheckedFile, ...]
    across: tuple[str, ...]


class ClassCount(NamedTuple):
    """Number of readable images of a class in each split that has a folder for it."""

    name: str
    images: dict[str, int]


class Spread(NamedTuple):
    """Minimum, median and maximum, in pixels."""

    min: int
    median: int
    max: int


@dataclass(frozen=True)
class Report:
    """Result of a check.

    Attributes:
        splits: The splits found; ("all",) without splits.
        images: Number of readable images.
        unreadable: Listed files, and files with an image suffix, with why they cannot be read.
        overlooked: Images that training would miss because of their suffix, with their format.
        wrong_suffix: Readable images with the suffix of another format, with their format.
        odd_format: Images of a format that less than ODD_SHARE of the images have.
        duplicates: Groups of identical files.
        classes: Image counts, sorted by class name.
        formats: Number of images by format, most common first.
        width: Spread of image widths; None without images.
        height: Spread of image heights; None without images.
        left_out: Files and folders that are not images by name, including overlooked ones.
        one_class: Whether class folders or shards have one class only, which training refuses.
        unlabeled: Number of images that lack a label, if training refuses these.
        is_list: Whether the images are those of a CSV file, whose columns may be 0 everywhere.
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
    one_class: bool
    unlabeled: int
    is_list: bool

    @property
    def empty_classes(self) -> list[tuple[str, str]]:
        """(split, class) of each class folder without a readable image."""
        return [
            (split, entry.name)
            for entry in self.classes
            for split, count in entry.images.items()
            if not count
        ]

    @property
    def one_split_only(self) -> list[tuple[str, str]]:
        """(split, class) of each class that exists in only one split."""
        return [
            (split, entry.name)
            for entry in self.classes
            for split in entry.images
            if len(entry.images) == 1 < len(self.splits)
        ]

    @property
    def clean(self) -> bool:
        """Whether no image is skipped or refused, and no duplicates cross classes or splits."""
        untrained = "train" in self.splits and any(
            "train" not in entry.images for entry in self.classes
        )
        lacking = self.empty_classes and not self.is_list
        refused = untrained or lacking or self.one_class or self.unlabeled
        crossing = any(group.across for group in self.duplicates)
        return not (self.unreadable or self.overlooked or crossing or refused)


class CheckedPart(NamedTuple):
    """Number of files in a part of a dataset, and a function that makes each of them."""

    files: int
    file: Callable[[int], CheckedFile]


class CheckedFiles(Sequence[CheckedFile]):
    """All files of a dataset, each made when it is read: a million take over a gigabyte."""

    def __init__(self, parts: Sequence[CheckedPart]) -> None:
        self.parts = parts
        self._ends = list(accumulate(part.files for part in parts))

    def __len__(self) -> int:
        """Return the number of files."""
        return self._ends[-1] if self._ends else 0

    @overload
    def __getitem__(self, index: int) -> CheckedFile: ...

    @overload
    def __getitem__(self, index: slice) -> list[CheckedFile]: ...

    def __getitem__(self, index: int | slice) -> CheckedFile | list[CheckedFile]:
        """Return a file, or several."""
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        number = range(len(self))[index]
        place = bisect_right(self._ends, number)
        part = self.parts[place]
        return part.file(number - self._ends[place] + part.files)


Found = tuple[dict[str, list[str]], CheckedFiles]
"""Class names by split, and all files."""


def check_dataset(
    data: str,
    workers: int | None,
    progress: Callable[[int, int], None],
) -> Report:
    """Read every image of `data` and report problems.

    Args:
        data: Class folders, alone or in train/, val/ and test/, a CSV file, or shards.
        workers: Number of processes; None for one per usable core.
        progress: Called with the number of finished files and the total.

    Raises:
        UsageError: `data` is missing, or neither a folder nor a CSV file nor shards.
        UserError: there are no class folders, one cannot be read, a row of the CSV file cannot be
            understood, or a shard has a label that is not in the class list beside it.
    """
    left_out = LeftOut()
    is_list, unlabeled = is_list_to_train_on(data), 0
    if is_list:
        names, files, unlabeled = _files_in_list(data)
    else:
        find = _files_in_shards if means_shards(data) else _files_in_folders
        names, files = find(data, left_out)
    tally = _Tally()
    for number, entry in enumerate(in_processes(inspect, files, workers, chunk=8)):
        tally.add(number, entry)
        progress(number + 1, len(files))
        if not entry.digest and not entry.problem:
            left_out.add_file(entry.place.path.name)
    return _report(names, files, tally, left_out, unlabeled, is_list=is_list)


@dataclass
class _Tally:
    """Results of the files read so far; about 50 bytes for a readable image.

    Attributes:
        unreadable: See Report.
        overlooked: See Report.
        wrong_suffix: See Report.
        counts: Number of readable images by split and class.
        formats: Number of readable images by format.
        numbers: Position of each readable image in the files of the dataset.
        format_of: Position of each readable image's format in `formats`.
        heights: Height of each readable image in pixels.
        widths: Width of each readable image in pixels.
        digests: SHA-256 of each readable image's file, 32 bytes each.
    """

    unreadable: list[Remark] = field(default_factory=list)
    overlooked: list[Remark] = field(default_factory=list)
    wrong_suffix: list[Remark] = field(default_factory=list)
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    formats: Counter[str] = field(default_factory=Counter)
    numbers: array[int] = field(default_factory=lambda: array("q"))
    format_of: array[int] = field(default_factory=lambda: array("B"))
    heights: array[int] = field(default_factory=lambda: array("i"))
    widths: array[int] = field(default_factory=lambda: array("i"))
    digests: bytearray = field(default_factory=bytearray)

    def add(self, number: int, entry: Inspected) -> None:
        """Count the file at position `number`."""
        if entry.problem:
            self.unreadable.append(entry.remark)
        elif entry.digest:
            self._add_readable(number, entry)
        elif entry.format:
            self.overlooked.append(entry.remark)

    def _add_readable(self, number: int, entry: Inspected) -> None:
        self.counts.update((entry.place.split, name) for name in entry.place.classes)
        self.formats[entry.format] += 1
        if entry.place.path.suffix.lower() in SUFFIXES - SUFFIXES_OF.get(entry.format, set()):
            self.wrong_suffix.append(entry.remark)
        self.numbers.append(number)
        self.format_of.append(list(self.formats).index(entry.format))
        self.heights.append(entry.size[0])
        self.widths.append(entry.size[1])
        self.digests += bytes.fromhex(entry.digest)

    def of_formats(self, names: Collection[str]) -> list[tuple[int, str]]:
        """Return positions and formats of the readable images with one of these formats."""
        chosen = {place: name for place, name in enumerate(self.formats) if name in names}
        rows = zip(self.numbers, self.format_of, strict=True)
        return [(number, chosen[place]) for number, place in rows if place in chosen]

    def of_equal_content(self) -> list[list[int]]:
        """Return positions of readable images in groups of identical files, each ascending."""
        digests = np.frombuffer(self.digests, np.uint64).reshape(-1, 4)
        order = np.lexsort(digests.T)
        differs = (digests[order[1:]] != digests[order[:-1]]).any(axis=1)
        starts = np.concatenate([[0], np.flatnonzero(differs) + 1, [len(order)]])
        repeated = np.flatnonzero(np.diff(starts) > 1)
        groups = (order[starts[at] : starts[at + 1]] for at in repeated)
        return sorted([self.numbers[i] for i in group] for group in groups)


def _files_in_list(data: str) -> tuple[dict[str, list[str]], CheckedFiles, int]:
    """Return the files of a CSV file, and the number of images that are refused without a label.

    Images without a label are counted in a notice.
    """
    images = images_to_train_on(Path(data), allow_unlabeled=True)
    if unlabeled := sum(not positions(label) for label in images.labels):
        logger.info(f"{data}: {unlabeled} of {len(images.labels)} images have no label")
    listed = CheckedPart(len(images.labels), partial(_listed_file, images))
    refused = unlabeled if unlabeled and _needs_labels(Path(data)) else 0
    return {"all": list(images.classes)}, CheckedFiles([listed]), refused


def _needs_labels(file: Path) -> bool:
    """Return whether training refuses images of a CSV file that have no label."""
    try:
        images_to_train_on(file, allow_unlabeled=False, quiet=True)
    except UserError:
        return True
    return False  # rows of zeros


def _listed_file(images: LabeledImages, number: int) -> CheckedFile:
    classes = tuple(images.classes[place] for place in positions(images.labels[number]))
    return CheckedFile(images.paths[number], "all", classes, is_listed=True)


def _files_in_shards(data: str, left_out: LeftOut) -> Found:
    """Return the images of shards; as in training, shards that name no split belong to train.

    Train has all classes of the class list; other splits have the classes that occur in them.
    """
    try:
        shards = find_shards(data)
    except UsageError as error:
        raise UsageError(str(error).removeprefix("--data ")) from error
    classes = class_list(shards)
    has_splits = any(of_split(shards, split) for split in NAMES)
    names: dict[str, list[str]] = {}
    parts: list[CheckedPart] = []
    for split in NAMES:
        trains = split == "train"
        found = of_split(shards, split, *([None] if trains else []))
        split_name = split if has_splits else "all"
        of_shards = [_part_of_shard(shard, split_name, classes, left_out) for shard in found]
        if found:
            files = CheckedFiles(of_shards)
            listed = map(composed, classes) if trains else _occurring(files)
            names[split_name] = list(dict.fromkeys(listed))
        parts += of_shards
    return names, CheckedFiles(parts)


def _occurring(files: CheckedFiles) -> list[str]:
    return sorted({name for file in files for name in file.classes})


def _part_of_shard(
    shard: Path, split: str, classes: Sequence[str], left_out: LeftOut
) -> CheckedPart:
    index = index_of(shard, labels_by_name(classes))
    left_out.update(index.left_out)
    return CheckedPart(len(index.members), partial(_file_in_shard, shard, split, classes, index))


def _file_in_shard(
    shard: Path, split: str, classes: Sequence[str], index: ShardIndex, number: int
) -> CheckedFile:
    image = tar_image(shard, index, number, labeled=True)
    # The class of an unreadable image is unknown.
    own = (composed(classes[index.labels[number]]),) if image.problem is None else ()
    return CheckedFile(Path(image.name), split, own, image)


def _files_in_folders(data: str, left_out: LeftOut) -> Found:
    """Return all files in the class folders of `data`, or of its train/, val/ and test/."""
    root = Path(data)
    splits = split_folders(root)
    if others := other_folders(root, splits):
        logger.info(f"{root}: {folders_in_words(others)} left out, neither a split nor a class")
    folders: list[tuple[str, Path]] = [*splits.items()] or [("all", root)]
    files = {split: files_by_class(folder, splits.values(), left_out) for split, folder in folders}
    parts = [
        CheckedPart(len(paths), partial(_file_of_class, paths, split, name))
        for split, classes in files.items()
        for name, paths in classes.items()
    ]
    return {split: list(classes) for split, classes in files.items()}, CheckedFiles(parts)


def _file_of_class(paths: FilePaths, split: str, name: str, number: int) -> CheckedFile:
    return CheckedFile(paths[number], split, (name,))


def inspect(place: CheckedFile) -> Inspected:
    """Decode a file; one of a folder without an image suffix gets only its content's format."""
    if place.in_tar is not None:
        return _inspect_in_tar(place, place.in_tar)
    if not place.is_listed and not is_image(place.path):
        return Inspected(place, format=image_format_of(place.path) or "")
    try:
        height, width, _ = decode(place.path).shape
        digest = sha256_of(place.path)
    except UnreadableImage as error:
        return Inspected(place, problem=str(error))
    return Inspected(place, None, image_format_of(place.path) or "", (height, width), digest)


def _inspect_in_tar(place: CheckedFile, image: TarImage) -> Inspected:
    try:
        content = image.content()
        height, width, _ = decode(content).shape
    except UnreadableImage as error:
        return Inspected(place, problem=str(error))
    digest = hashlib.sha256(content).hexdigest()
    return Inspected(place, None, image_format_of(content) or "", (height, width), digest)


def _report(
    names: dict[str, list[str]],
    files: CheckedFiles,
    tally: _Tally,
    left_out: LeftOut,
    unlabeled: int,
    *,
    is_list: bool,
) -> Report:
    images, counts = len(tally.numbers), tally.counts
    odd = {name for name, count in tally.formats.items() if count < ODD_SHARE * images}
    classes = sorted({name for found in names.values() for name in found})
    return Report(
        tuple(names),
        images,
        tuple(tally.unreadable),
        tuple(tally.overlooked),
        tuple(tally.wrong_suffix),
        tuple(Remark(files[number].path, name) for number, name in tally.of_formats(odd)),
        tuple(_duplicates(files, group) for group in tally.of_equal_content()),
        tuple(
            ClassCount(
                name, {split: counts[split, name] for split in names if name in names[split]}
            )
            for name in classes
        ),
        dict(tally.formats.most_common()),
        _spread(tally.widths),
        _spread(tally.heights),
        left_out,
        one_class=len(classes) < 2 and not is_list,  # a list of multi-label data may have one
        unlabeled=unlabeled,
        is_list=is_list,
    )


def _duplicates(files: CheckedFiles, group: Sequence[int]) -> Duplicates:
    places = tuple(files[number] for number in group)
    differing = {
        "classes": {place.class_name for place in places},
        "splits": {place.split for place in places},
    }
    return Duplicates(places, tuple(what for what, found in differing.items() if len(found) > 1))


def _spread(values: array[int]) -> Spread | None:
    if not values:
        return None
    ordered = np.sort(np.asarray(values))
    return Spread(*(int(ordered[place]) for place in (0, (len(values) - 1) // 2, -1)))
