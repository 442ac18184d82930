"""Open `--data` for training or evaluation: class folders, a CSV file or shards. No torch."""

from __future__ import annotations

import logging
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from inceptcli.data.exclusion import exclude as leave_out
from inceptcli.data.folders import beside_tars, class_folder, labeled_for, positions, subfolders
from inceptcli.data.identity import KeptIdentity
from inceptcli.data.label_files import images_to_train_on, is_list_to_train_on
from inceptcli.data.recorded_images import RecordedImages
from inceptcli.data.shards.files import class_list, find_shards, means_shards, of_split
from inceptcli.data.shards.source import ShardSource, open_shards
from inceptcli.data.sources import FolderSource, ListedSource, is_multi_label
from inceptcli.data.splits import (
    NAMES,
    Split,
    folders_in_words,
    other_folders,
    split_folders,
    split_named,
    unvalidated,
    validation_mask,
)
from inceptcli.errors import UsageError, UserError
from inceptcli.text import listed, printable

logger = logging.getLogger(__name__)

Measured = Literal["train", "val", "test", "all"]
"""Images of a dataset to use: one of its splits, or all if it has none."""


Place = tuple[str, str]
"""The real path of a folder, and the name of a file in it."""


class TrainedOn(NamedTuple):
    """Training data of a run, from its recipe; `record` has its images, if it is there."""

    path: str
    val_path: str | None = None
    val_fraction: float | None = None
    allow_unlabeled: bool = False
    exclude: str | None = None
    record: RecordedImages | None = None


class Chosen(NamedTuple):
    """Images of a dataset, their split, and the `val_fraction` that defined it, if any."""

    source: ListedSource
    split: Measured
    val_fraction: float | None = None


class Dataset(ABC):
    """A dataset given by `--data`; its images are not searched until `images` is called.

    Attributes:
        data: The argument of `--data`.
        splits: Its splits among train, val and test; empty for plain class folders, CSV files and
            shards that name no split.
        training: The images to train on; None if there are none.
    """

    def __init__(self, data: str, splits: Sequence[Split], training: Measured | None) -> None:
        self.data, self.splits, self.training = data, tuple(splits), training

    @abstractmethod
    def images(self, which: Measured, classes: Sequence[str] | None) -> FolderSource | ShardSource:
        """Return a split's images, labeled by position in `classes`, or in its own if None."""

    @property
    @abstractmethod
    def training_places(self) -> list[Path]:
        """The class folders, tar files or listed files of the training images."""

    @property
    @abstractmethod
    def validation_places(self) -> list[Path]:
        """The folders or tar files of the val split; without one, those of all images."""

    @abstractmethod
    def left_out(self, val_data: str | None) -> list[Path]:
        """Return folders or shards used neither for training nor for validation."""

    @property
    def default(self) -> Measured | None:
        """The images to evaluate by default; None if that is ambiguous."""
        if "val" in self.splits:
            return "val"
        if not self.splits:
            return "all"
        return self.splits[0] if len(self.splits) == 1 and not self.unnamed else None

    @property
    def unnamed(self) -> bool:
        """Whether there are images outside of all splits."""
        return self.training is not None and "train" not in self.splits

    def check_training(self, val_data: str | None, val_fraction: float | None) -> None:
        """Raise UsageError unless there are training images and exactly one validation set."""
        place = printable(self.data)
        if self.training is None:
            raise UsageError(
                f"--data {place}: nothing to train on, only {' and '.join(self.splits)}; name the "
                "training images' folder train/, or shards train-*"
            )
        if "val" in self.splits and val_fraction is not None:
            raise UsageError(
                f"--val-fraction {val_fraction}: {place} already has validation images; leave the "
                "flag out, or give the training images' own folder as --data"
            )
        if "val" in self.splits or val_data is not None or val_fraction is not None:
            return
        if self.splits:
            test = ", or --val-data to validate on the test images" * ("test" in self.splits)
            raise UsageError(
                f"--data {place}: has {' and '.join(self.splits)} images but none to validate on; "
                f"give --val-fraction 0.1 to split the train images{test}"
            )
        folder = Path(self.data)
        if isinstance(self, Listing):
            raise UsageError(
                f"--data {place}: no validation images; give --val-fraction 0.1, or another CSV "
                "file as --val-data"
            )
        is_folder = folder.is_dir() and not means_shards(self.data)
        if is_folder and not subfolders(folder):
            raise UsageError(
                f"--data {place}: no class folders; put each class's images into a folder of its "
                "own, and these folders into train/ and val/"
            )
        raise UsageError(
            f"--data {place}: no validation images; give a folder with train/ and val/, each with "
            "one folder per class, or shards train-* and val-*; or give --val-fraction or "
            f"--val-data{beside_tars(folder) if is_folder else ''}"
        )

    def log_what_is_left_out(self, val_data: str | None) -> None:
        """Log one line about folders or shards that are not used, if any."""
        if places := self.left_out(val_data):
            logger.info(
                f"{self.data}: {folders_in_words(places)} left out of training and "
                + "validation"
                + "; `inceptcli eval RUN --split test` measures test images" * self._has_test
            )

    @property
    def _has_test(self) -> bool:
        return "test" in self.splits


def open_dataset(
    data: str,
    val_data: str | None = None,
    classes: Sequence[str] = (),
    *,
    allow_unlabeled: bool = False,
) -> Dataset:
    """Open class folders, a CSV file or shards.

    Args:
        data: The argument of `--data`.
        val_data: The argument of `--val-data`; excluded from training if it is inside `data`.
        classes: Known classes; folders of these names are classes, not splits.
        allow_unlabeled: Whether images of a CSV file may have no label.

    Raises:
        UsageError: `data` is neither class folders nor a CSV file nor shards.
        UserError: shards cannot be fetched.
    """
    if is_list_to_train_on(data):
        return Listing(data, allow_unlabeled)
    if means_shards(data):
        return Shards(data, val_data)
    return Folders(data, val_data, classes)


class Folders(Dataset):
    """Class folders, or folders of splits that contain class folders."""

    def __init__(self, data: str, val_data: str | None, classes: Sequence[str]) -> None:
        self.root = Path(data)
        found = split_folders(self.root)
        if {folder.name for folder in found.values() if folder != self.root} <= set(classes):
            found = {}
        self.folders = found
        self.validating = None if val_data is None else Path(val_data).resolve()
        training: Measured | None = None if found and "train" not in found else "all"
        super().__init__(data, list(found), "train" if "train" in found else training)

    def images(self, which: Measured, classes: Sequence[str] | None) -> FolderSource:
        """See `Dataset`."""
        folder = self.root if which == "all" else self.folders.get(which, self.root)
        apart = self._no_classes() if folder == self._training_folder else []
        for place in apart:
            if place not in self.folders.values() and place.resolve() != self.validating:
                logger.info(f"{place}: contains the images of --val-data, not a class")
        if classes is None:
            return FolderSource(class_folder(folder, apart))
        return FolderSource(labeled_for(folder, classes, apart))

    @property
    def training_places(self) -> list[Path]:
        """See `Dataset`."""
        if not self.training:
            return []
        apart = self._no_classes()
        return [folder for folder in subfolders(self._training_folder) if folder not in apart]

    @property
    def validation_places(self) -> list[Path]:
        """See `Dataset`."""
        return [self.folders.get("val", self.root)]

    @property
    def _training_folder(self) -> Path:
        return self.folders.get("train", self.root)

    def _no_classes(self) -> list[Path]:
        """Return the folders beside training classes that are splits or validation data."""
        apart = [*self.folders.values()]
        for folder in subfolders(self._training_folder) if self.validating else []:
            if folder not in apart and self._validates(folder):
                apart.append(folder)
        return apart

    def _validates(self, folder: Path) -> bool:
        """Return whether `folder` is or contains the validation data."""
        return self.validating is not None and self.validating.is_relative_to(folder.resolve())

    def left_out(self, val_data: str | None) -> list[Path]:
        """See `Dataset`; leaves out the data of `val_data`."""
        used = ("train", "val") if val_data is None else ("train",)
        unused = [folder for split, folder in self.folders.items() if split not in used]
        unused += other_folders(self.root, self.folders)
        return sorted(folder for folder in unused if not self._validates(folder))


class Listing(Dataset):
    """A CSV file of paths and labels."""

    def __init__(self, data: str, allow_unlabeled: bool) -> None:
        self.allow_unlabeled = allow_unlabeled
        super().__init__(data, (), "all")

    def images(self, which: Measured, classes: Sequence[str] | None) -> FolderSource:
        """See `Dataset`."""
        images = images_to_train_on(Path(self.data), classes, allow_unlabeled=self.allow_unlabeled)
        return FolderSource(images)

    @property
    def training_places(self) -> list[Path]:
        """See `Dataset`."""
        images = images_to_train_on(
            Path(self.data), allow_unlabeled=self.allow_unlabeled, quiet=True
        )
        return list(images.paths)

    @property
    def validation_places(self) -> list[Path]:
        """See `Dataset`."""
        return self.training_places

    def left_out(self, val_data: str | None) -> list[Path]:
        """See `Dataset`."""
        return []


class Shards(Dataset):
    """Tar shards."""

    def __init__(self, data: str, val_data: str | None) -> None:
        self.shards = find_shards(data)
        self.validating = _validating(data, val_data)
        splits: list[Split] = [split for split in NAMES if of_split(self.shards, split)]
        trains = of_split(self.shards, "train", None)
        self.trains = [path for path in trains if path.resolve() not in self.validating] or trains
        training: Measured | None = ("train" if splits else "all") if trains else None
        super().__init__(data, splits, training)

    @property
    def unnamed(self) -> bool:
        """Whether there are shards that name no split."""
        return bool(of_split(self.shards, None))

    def images(self, which: Measured, classes: Sequence[str] | None) -> ShardSource:
        """See `Dataset`; shards that name no split belong to train."""
        shards = self.trains
        if which != "all" and which != "train":
            shards = of_split(self.shards, which)
        found = class_list(shards)
        source = open_shards(shards, found)
        return source if classes is None else source.labeled_for(classes)

    @property
    def training_places(self) -> list[Path]:
        """See `Dataset`."""
        return self.trains

    @property
    def validation_places(self) -> list[Path]:
        """See `Dataset`."""
        return of_split(self.shards, "val") or self.shards

    def left_out(self, val_data: str | None) -> list[Path]:
        """See `Dataset`; leaves out the data of `val_data`."""
        places = of_split(self.shards, "test", *(("val",) if val_data is not None else ()))
        return [path for path in places if path.resolve() not in self.validating]


def _validating(data: str, val_data: str | None) -> set[Path]:
    """Return the shards of `val_data` to validate on: those of val if any, else all."""
    if val_data is None or not means_shards(val_data) or ("://" in val_data) != ("://" in data):
        return set()
    try:
        shards = find_shards(val_data)
    except UsageError:  # reported when its images are opened
        return set()
    return {path.resolve() for path in of_split(shards, "val") or shards}


def open_for_training(
    data: str,
    val_data: str | None,
    val_fraction: float | None,
    kept: KeptIdentity | None = None,
    exclude: str | None = None,
    *,
    allow_unlabeled: bool = False,
) -> tuple[ListedSource, ListedSource, tuple[str, ...]]:
    """Return training images, validation images and their class names.

    Remote shards are fetched.

    Args:
        data: The argument of `--data`.
        val_data: Data to validate on; None for the val split of `data`.
        val_fraction: Fraction of each class to validate on, selected by a hash of the file
            content, if there is no other validation data.
        kept: Stored identity of a resumed run's data; its assignment of images is reused.
        exclude: File that lists images to leave out of validation; they may be training images.
        allow_unlabeled: Whether images of a CSV file may have no label.

    Raises:
        UsageError: `data` is neither class folders nor a CSV file nor shards, there is not exactly
            one source of validation images, or only one of the two is multi-label.
        UserError: the content of a folder or file is invalid, or no validation image remains.
    """
    if val_data is not None and val_fraction is not None:
        raise UsageError(
            f"--val-fraction {val_fraction}: --val-data {val_data} already selects the "
            "validation images; leave out one of the two"
        )
    dataset = open_dataset(data, val_data, allow_unlabeled=allow_unlabeled)
    dataset.check_training(val_data, val_fraction)
    dataset.log_what_is_left_out(val_data)
    assert dataset.training is not None
    whole = dataset.images(dataset.training, None)
    train: ListedSource = whole
    classes = whole.classes
    if val_fraction is not None:
        is_val = None if kept is None else _kept_split(whole, kept, exclude, data)
        train, val = _split_by_content(whole, val_fraction, is_val)
    elif val_data is not None:
        val = open_for_evaluation(val_data, classes, allow_unlabeled=allow_unlabeled)
        _check_same_labels(whole, val, data, val_data)
    else:
        val = dataset.images("val", classes)
    if exclude is not None:
        val = _without(val, exclude, val_data or data)
    if val_data is not None:
        train = _without_validation(whole, val, data, val_data)
    if val_fraction is None and (line := without_images(val, classes)):
        logger.info(f"{val_data or data}: {line}")
    return train, val, classes


def _without_validation(
    train: FolderSource | ShardSource, val: ListedSource, data: str, val_data: str
) -> FolderSource | ShardSource:
    """Return the training images that are not validation images.

    Where some shards are both, `Shards` has left them out. Raises UsageError if none remain, or
    none of a class.
    """
    remain = np.ones(len(train), bool)
    if isinstance(train, FolderSource) and isinstance(val, FolderSource):
        validating = {*chain.from_iterable(places_of(val))}
        is_only_train = (validating.isdisjoint(places) for places in places_of(train))
        remain = np.fromiter(is_only_train, bool, len(train))
    elif isinstance(train, ShardSource) and isinstance(val, ShardSource):
        of_val = {path.resolve() for path in val.shards}
        remain[:] = all(path.resolve() not in of_val for path in train.shards)
    if remain.all():
        return train
    if not remain.any():
        raise UsageError(
            f"--val-data {printable(val_data)}: has all training images of {printable(data)}; give "
            "other images, or --val-fraction instead"
        )
    logger.info(
        f"{printable(data)}: {len(train) - int(remain.sum())} images are also in --val-data "
        f"{printable(val_data)}, and are left out of training"
    )
    left = train.where(remain)
    if not is_multi_label(train) and (line := without_images(left, train.classes, "training")):
        raise UsageError(f"--val-data {printable(val_data)}: leaves {line}")
    return left


def places_of(source: FolderSource) -> Iterator[tuple[Place, Place]]:
    """Yield each image's place, and that of the file that it leads to if it is a link."""
    real: dict[str, str] = {}
    for path in source.images.paths.texts():
        folder, name = os.path.split(path)
        if folder not in real:
            real[folder] = os.path.realpath(folder)
        own = target = real[folder], name
        if os.path.islink(path):  # noqa: PTH114 (a Path takes longer)
            head, tail = os.path.split(os.path.realpath(path))
            target = head, tail
        yield own, target


def _check_same_labels(train: ListedSource, val: ListedSource, data: str, val_data: str) -> None:
    """Raise UsageError if only one of the two is multi-label."""
    if is_multi_label(train) != is_multi_label(val):
        one, several = (val_data, data) if is_multi_label(train) else (data, val_data)
        raise UsageError(
            f"--val-data {val_data}: images of {one} have one label, those "
            f"of {several} any number; give CSV files with the same columns"
        )


def _without(val: ListedSource, exclude: str, data: str) -> FolderSource:
    left = leave_out(val, Path(exclude), data)
    for note in left.notes:
        logger.info(f"validation: {note}")
    return FolderSource(left.images)


def without_images(
    source: ListedSource, classes: Sequence[str], what: str = "validation"
) -> str | None:
    """Return a line about the classes without validation images; None if there are none.

    `what` names the images of the source.
    """
    seen = {label for number in range(len(source)) for label in positions(source.label(number))}
    names = [name for label, name in enumerate(classes) if label not in seen]
    if not names:
        return None
    return f"no {what} images of {len(names)} of {len(classes)} classes: {listed(names)}"


def open_for_evaluation(
    data: str, classes: Sequence[str], *, allow_unlabeled: bool = False
) -> ListedSource:
    """Return the images of the default split; see `open_split`."""
    trained = TrainedOn(data, allow_unlabeled=allow_unlabeled)
    return open_split(data, classes, trained=trained).source


def open_split(
    data: str,
    classes: Sequence[str],
    split: Measured | None = None,
    trained: TrainedOn | None = None,
) -> Chosen:
    """Return the images of a split of `data`, labeled by position in `classes`, and the split.

    Args:
        data: As for training.
        classes: Distinct class names.
        split: Images to return; by default val, all if `data` has no splits, or its only split.
        trained: Training data of a run. Its `val_fraction` splits `data` if that may be the run's
            data, has no val and is not itself named val or test, unless the run's own data has the
            same name.

    Raises:
        UsageError: `data` is neither class folders nor a CSV file nor shards, has no such split, or
            several and no val.
        UserError: a class is not in `classes`, or there are no images.
    """
    dataset = open_dataset(
        data,
        trained.val_path if trained else None,
        classes,
        allow_unlabeled=trained is not None and trained.allow_unlabeled,
    )
    named = None if dataset.splits else _split_of(data)
    val_fraction = trained.val_fraction if trained else None
    if dataset.training is None or "val" in dataset.splits:
        val_fraction = None
    if named in ("val", "test") and trained and named != _split_of(trained.path):
        val_fraction = None
    if val_fraction is not None and split in (None, "train", "val"):
        assert dataset.training is not None
        assert trained is not None
        whole = dataset.images(dataset.training, classes)
        if _may_be_data_of(trained, data, whole):
            return part_by_fraction(whole, data, split, val_fraction)
    known = (named,) if named else dataset.splits or ("all",)
    chosen = split or named or dataset.default
    if (chosen == "all" and named) or chosen in known:
        assert chosen is not None
        return Chosen(dataset.images(chosen, classes), chosen)
    there = " and ".join(known) if dataset.splits or named else "no splits"
    raise UsageError(
        f"--split {chosen or 'val'}: {data} has {there}; give --split {' or '.join(known)}"
    )


def part_by_fraction(
    images: FolderSource | ShardSource, data: str, split: Measured | None, val_fraction: float
) -> Chosen:
    """Return the images of a run's data on which it trained, if `split` is train, or validated."""
    train, val = _split_by_content(images, val_fraction)
    if split is None:
        logger.info(
            f"{data}: {len(val)} of {len(images)} images, the run's validation "
            f"images by its val_fraction {val_fraction}; --split all uses all"
        )
    if split == "train":
        return Chosen(train, "train", val_fraction)
    return Chosen(val, "val", val_fraction)


def lists_data_of(trained: TrainedOn, data: str, images: FolderSource) -> bool:
    """Return whether a CSV file lists the images of a run: it is the run's, or has their names."""
    if os.path.realpath(trained.path) == os.path.realpath(data):
        return True
    return trained.record is not None and trained.record.names <= {*images.names()}


def _may_be_data_of(trained: TrainedOn, data: str, images: FolderSource | ShardSource) -> bool:
    """Return whether `data` may be what a run trained on, in any form and place.

    Without a record of the run's images, it may be if it shares names with what is at the place
    where the run found them, or if there is nothing.
    """
    if os.path.realpath(trained.path) == os.path.realpath(data):
        return True
    if trained.record is not None:
        return trained.record.are_in(images)
    if not os.path.exists(trained.path):  # noqa: PTH110 (Path raises where a folder is closed)
        return True
    try:
        dataset = open_dataset(trained.path, trained.val_path, allow_unlabeled=True)
        there = dataset.images(dataset.training or "all", None)
    except (OSError, UserError):
        return True
    return not {*images.names()}.isdisjoint(there.names())


def _split_of(data: str) -> Split | None:
    """Return the split that the folder itself is named after."""
    return split_named(Path(data).absolute().name)


def training_places(trained: TrainedOn) -> list[Path]:
    """Return the class folders, tar files or listed files of the training images, if local.

    Empty if they are not found.
    """
    if "://" in trained.path:
        return []
    try:
        dataset = open_dataset(trained.path, trained.val_path, allow_unlabeled=True)
        return dataset.training_places
    except (OSError, UserError):  # perhaps of another user
        return []


def validating_places(trained: TrainedOn, classes: Sequence[str]) -> set[Place]:
    """Return the places of the local images of `val_path` that validated, and those of their links.

    They did not train. Those of shards are left out, as shards that validate do not train.
    """
    if trained.val_path is None or "://" in trained.val_path:
        return set()
    try:
        val = open_for_evaluation(trained.val_path, classes, allow_unlabeled=True)
        if trained.exclude is not None and Path(trained.exclude).is_file():
            val = FolderSource(leave_out(val, Path(trained.exclude), trained.val_path).images)
    except (OSError, UserError):
        return set()
    return {*chain.from_iterable(places_of(val))} if isinstance(val, FolderSource) else set()


def _kept_split(
    images: FolderSource | ShardSource, kept: KeptIdentity, exclude: str | None, data: str
) -> list[bool] | None:
    """Return whether each image validates in the run of `kept`; see KeptIdentity.validated."""
    names = list(images.names())
    if exclude is None:
        return kept.validated(names)
    left = leave_out(images, Path(exclude), data)
    assert isinstance(images, FolderSource)
    remaining = set(left.images.paths)
    pairs = zip(names, images.images.paths, strict=True)
    return kept.validated(names, [name for name, path in pairs if path not in remaining])


def validation_places(trained: TrainedOn) -> list[Path]:
    """Return the local folders or tar files of a run's validation images; empty if not found.

    A `val_fraction` of the training images has none.
    """
    data = trained.val_path or trained.path
    if "://" in data or trained.val_fraction is not None:
        return []
    try:
        return open_dataset(data, allow_unlabeled=True).validation_places
    except (OSError, UserError):
        return []


def _split_by_content(
    images: FolderSource | ShardSource,
    val_fraction: float,
    is_val: list[bool] | None = None,
) -> tuple[ListedSource, ListedSource]:
    labels = [images.label(index) for index in range(len(images))]
    if is_val is None:
        is_val = validation_mask(images.digests(), labels, val_fraction)
    if line := unvalidated(is_val, labels, images.classes, val_fraction):
        logger.info(line)
    chosen = np.array(is_val)
    return images.where(~chosen), images.where(chosen)
