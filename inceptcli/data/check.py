"""Check a dataset before training: unreadable, overlooked and duplicate images. No torch."""

from __future__ import annotations

import hashlib
import logging
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from inceptcli.data.folders import files_by_class, is_image, positions
from inceptcli.data.label_files import SEPARATOR, images_to_train_on, is_list_to_train_on
from inceptcli.data.left_out import LeftOut
from inceptcli.data.loading.parallel import in_processes
from inceptcli.data.pixels.decode import UnreadableImage, decode, image_format_of
from inceptcli.data.pixels.image_formats import SUFFIXES, SUFFIXES_OF
from inceptcli.data.shards.files import class_list, find_shards, means_shards, of_split
from inceptcli.data.shards.index import index_of
from inceptcli.data.shards.source import TarImage, labels_by_name, read_image
from inceptcli.data.splits import NAMES, folders_in_words, other_folders, split_folders
from inceptcli.errors import UsageError
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
    """

    path: Path
    split: str
    classes: tuple[str, ...]
    in_tar: TarImage | None = None

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
        unreadable: Files with an image suffix, with the reason they cannot be read.
        overlooked: Images that training would miss because of their suffix, with their format.
        wrong_suffix: Readable images with the suffix of another format, with their format.
        odd_format: Images of a format that less than ODD_SHARE of the images have.
        duplicates: Groups of identical files.
        classes: Image counts, sorted by class name.
        formats: Number of images by format, most common first.
        width: Spread of image widths; None without images.
        height: Spread of image heights; None without images.
        left_out: Files and folders that are not images by name, including overlooked ones.
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
        refused = untrained or self.empty_classes
        crossing = any(group.across for group in self.duplicates)
        return not (self.unreadable or self.overlooked or crossing or refused)


Found = tuple[dict[str, list[str]], list[CheckedFile]]
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
    find = _files_in_shards if means_shards(data) else _files_in_folders
    find = _files_in_list if is_list_to_train_on(data) else find
    names, files = find(data, left_out)
    inspected = []
    for done, entry in enumerate(in_processes(inspect, files, workers, chunk=8), start=1):
        inspected.append(entry)
        progress(done, len(files))
        if not entry.digest and not entry.problem:
            left_out.add_file(entry.place.path.name)
    return _report(names, inspected, left_out)


def _files_in_list(data: str, left_out: LeftOut) -> Found:
    """Return the files of a CSV file; images without a label are counted in a notice."""
    images = images_to_train_on(Path(data), allow_unlabeled=True)
    named = [tuple(images.classes[place] for place in positions(label)) for label in images.labels]
    if unlabeled := named.count(()):
        logger.info(f"{data}: {unlabeled} of {len(named)} images have no label")
    files = [CheckedFile(path, "all", own) for path, own in zip(images.paths, named, strict=True)]
    return {"all": list(images.classes)}, files


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
    files: list[CheckedFile] = []
    for split in NAMES:
        trains = split == "train"
        found = of_split(shards, split, *([None] if trains else []))
        of_split_files = [
            file
            for shard in found
            for file in _files_in(shard, split if has_splits else "all", classes, left_out)
        ]
        if found:
            occurring = sorted({name for file in of_split_files for name in file.classes})
            listed = [*dict.fromkeys(map(composed, classes))] if trains else occurring
            names[split if has_splits else "all"] = listed
        files += of_split_files
    return names, files


def _files_in(
    shard: Path, split: str, classes: Sequence[str], left_out: LeftOut
) -> Iterator[CheckedFile]:
    index = index_of(shard, labels_by_name(classes))
    left_out.update(index.left_out)
    rows = zip(index.members, index.offsets, index.sizes, index.labels, strict=True)
    for place, (member, offset, size, label) in enumerate(rows):
        name = f"{shard}/{member}".rstrip("/")
        image = TarImage(name, shard, offset, size, index.problems.get(place))
        # The class of an unreadable image is unknown.
        own = (composed(classes[label]),) if image.problem is None else ()
        yield CheckedFile(Path(name), split, own, image)


def _files_in_folders(data: str, left_out: LeftOut) -> Found:
    """Return all files in the class folders of `data`, or of its train/, val/ and test/."""
    root = Path(data)
    splits = split_folders(root)
    if others := other_folders(root, splits):
        logger.info(f"{root}: {folders_in_words(others)} left out, neither a split nor a class")
    folders: list[tuple[str, Path]] = [*splits.items()] or [("all", root)]
    files = {split: files_by_class(folder, splits.values(), left_out) for split, folder in folders}
    places = [
        CheckedFile(path, split, (name,))
        for split, classes in files.items()
        for name, paths in classes.items()
        for path in paths
    ]
    return {split: list(classes) for split, classes in files.items()}, places


def inspect(place: CheckedFile) -> Inspected:
    """Decode a file; a file without an image suffix only gets the format of its content."""
    if place.in_tar is not None:
        return _inspect_in_tar(place, place.in_tar)
    if not is_image(place.path):
        return Inspected(place, format=image_format_of(place.path) or "")
    try:
        height, width, _ = decode(place.path).shape
        digest = sha256_of(place.path)
    except UnreadableImage as error:
        return Inspected(place, problem=str(error))
    return Inspected(place, None, image_format_of(place.path) or "", (height, width), digest)


def _inspect_in_tar(place: CheckedFile, image: TarImage) -> Inspected:
    if image.problem is not None:
        return Inspected(place, problem=image.problem)
    try:
        content = read_image(image.shard, image.offset, image.size)
        height, width, _ = decode(content).shape
    except UnreadableImage as error:
        return Inspected(place, problem=str(error))
    digest = hashlib.sha256(content).hexdigest()
    return Inspected(place, None, image_format_of(content) or "", (height, width), digest)


def _report(
    names: dict[str, list[str]], inspected: Sequence[Inspected], left_out: LeftOut
) -> Report:
    readable = [entry for entry in inspected if entry.digest]
    formats = Counter(entry.format for entry in readable)
    odd = {name for name, count in formats.items() if count < ODD_SHARE * len(readable)}
    counts = Counter(
        (entry.place.split, name) for entry in readable for name in entry.place.classes
    )
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
