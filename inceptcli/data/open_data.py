"""What `--data` says, opened: class folders or shards, as labelled images by number. No torch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from inceptcli.data.content_split import unvalidated, validating
from inceptcli.data.folders import (
    Say,
    class_folder,
    has_only_outputs,
    labelled_for,
    subfolders,
    unheard,
)
from inceptcli.data.identity import KeptIdentity
from inceptcli.data.shards.files import class_list, find_shards, means_shards, of_split
from inceptcli.data.shards.source import ShardSource, open_shards
from inceptcli.data.sources import FolderSource, ListedSource
from inceptcli.data.splits import NAMES, Split, in_words, split_folders, split_named
from inceptcli.errors import UsageError
from inceptcli.text import printable

Measured = Literal["train", "val", "test", "all"]
"""Which images of a dataset: one of its splits, or all where it has none."""


class Dataset(ABC):
    """What `data` names, its images not looked for yet.

    Attributes:
        data: As the command line has it.
        splits: Those that it has, of train, val and test; none where it is class folders alone or
            shards whose names say nothing.
        training: Which images train.
    """

    def __init__(self, data: str, splits: Sequence[Split], training: Measured | None) -> None:
        self.data, self.splits, self.training = data, tuple(splits), training

    @abstractmethod
    def images(
        self, which: Measured, classes: Sequence[str] | None, say: Say
    ) -> FolderSource | ShardSource:
        """Some of the images, labelled by the place of a class in `classes`, else in its own."""

    @property
    @abstractmethod
    def training_places(self) -> list[Path]:
        """The folder or the tar files that have the training images."""

    @abstractmethod
    def left_out(self, val_data: str | None) -> list[Path]:
        """What neither trains nor validates."""

    @property
    def default(self) -> Measured | None:
        """What is measured when nobody says what; None where that is not clear."""
        if "val" in self.splits:
            return "val"
        if not self.splits:
            return "all"
        return self.splits[0] if len(self.splits) == 1 and not self.unnamed else None

    @property
    def unnamed(self) -> bool:
        """Whether there are images of no split."""
        return self.training is not None and "train" not in self.splits

    def check_training(self, val_data: str | None, val_fraction: float | None) -> None:
        """UsageError when nothing trains, or when nothing or two things would validate."""
        place = printable(self.data)
        if self.training is None:
            raise UsageError(
                f"--data {place}: nothing to train on, only {' and '.join(self.splits)}; name the "
                "training images' folder train/, or shards train-*"
            )
        if "val" in self.splits and val_fraction is not None:
            raise UsageError(
                f"--val-fraction {val_fraction}: {place} has images to validate on already; leave "
                "it out, or give the training images' own folder as --data"
            )
        if "val" in self.splits or val_data is not None or val_fraction is not None:
            return
        if self.splits:
            test = "; or --val-data to validate on the test images" * ("test" in self.splits)
            raise UsageError(
                f"--data {place}: has {' and '.join(self.splits)} images but none to validate on; "
                f"give --val-fraction 0.1 to split those of train{test}"
            )
        raise UsageError(
            f"--data {place}: no validation images; give a folder with train/ and val/, each with "
            "one folder per class, or shards train-* and val-*; or give --val-fraction or "
            "--val-data"
        )

    def say_what_is_left_out(self, val_data: str | None, say: Say) -> None:
        """In one line, if anything is."""
        if places := self.left_out(val_data):
            say(
                f"{printable(self.data)}: {in_words(places)} left out of training and validation"
                + "; `inceptcli eval RUN --split test` measures test images" * self._has_test
            )

    @property
    def _has_test(self) -> bool:
        return "test" in self.splits


def open_dataset(data: str, say: Say = unheard) -> Dataset:
    """What `data` names; UsageError when it is nothing of the kind or cannot be fetched."""
    return Shards(data, say) if means_shards(data) else Folders(data)


class Folders(Dataset):
    """Class folders, or folders for splits with class folders in them."""

    def __init__(self, data: str, classes: Sequence[str] = ()) -> None:
        """`classes` that are known already are no splits, though they were named so."""
        self.root = Path(data)
        found = split_folders(self.root)
        if {folder.name for folder in found.values()} <= set(classes):
            found = {}
        self.folders = found
        training: Measured | None = None if found and "train" not in found else "all"
        super().__init__(data, list(found), "train" if "train" in found else training)

    def images(self, which: Measured, classes: Sequence[str] | None, say: Say) -> FolderSource:
        """As the base has it."""
        folder = self.root if which == "all" else self.folders.get(which, self.root)
        if classes is None:
            return FolderSource(class_folder(folder, say))
        return FolderSource(labelled_for(folder, classes, say))

    @property
    def training_places(self) -> list[Path]:
        """As the base has it."""
        return [self.folders.get("train", self.root)] if self.training else []

    def left_out(self, val_data: str | None) -> list[Path]:
        """As the base has it; not what `val_data` names."""
        if not self.folders:
            return []
        used = {self.folders["train"]}
        if val_data is None:
            used |= {self.folders[split] for split in ("val",) if split in self.folders}
        named = {Path(val_data).resolve()} if val_data is not None else set()
        return [
            folder
            for folder in subfolders(self.root)
            if folder not in used and folder.resolve() not in named and not has_only_outputs(folder)
        ]


class Shards(Dataset):
    """Tar shards."""

    def __init__(self, data: str, say: Say) -> None:
        self.shards = find_shards(data, say)
        splits: list[Split] = [split for split in NAMES if of_split(self.shards, split)]
        trains = of_split(self.shards, "train", None)
        training: Measured | None = ("train" if splits else "all") if trains else None
        super().__init__(data, splits, training)

    @property
    def unnamed(self) -> bool:
        """Whether there are shards of no split."""
        return bool(of_split(self.shards, None))

    def images(self, which: Measured, classes: Sequence[str] | None, say: Say) -> ShardSource:
        """As the base has it; shards that name no split are train's."""
        shards = self.shards
        if which != "all":
            shards = of_split(shards, *(("train", None) if which == "train" else (which,)))
        found = class_list(shards)
        source = open_shards(shards, found)
        return source if classes is None else source.labelled_for(classes)

    @property
    def training_places(self) -> list[Path]:
        """As the base has it."""
        return of_split(self.shards, "train", None)

    def left_out(self, val_data: str | None) -> list[Path]:
        """As the base has it; not what `val_data` names."""
        places = of_split(self.shards, "test", *(("val",) if val_data is not None else ()))
        used = find_shards(val_data) if val_data is not None and means_shards(val_data) else []
        return [path for path in places if path not in used]


def open_for_training(
    data: str,
    val_data: str | None,
    val_fraction: float | None,
    say: Say | None = None,
    kept: KeptIdentity | None = None,
) -> tuple[ListedSource, ListedSource, tuple[str, ...]]:
    """Training images, validation images, and the names of the classes that both have.

    `val_data` validates, else what `data` calls val, else `val_fraction` of the images of each
    class, told apart by a hash of their bytes or as `kept`, what a run that goes on knows of its
    data, has them. Shards at https addresses are fetched; of that, and of what is left out, `say`
    is told.

    Raises UsageError when `data` is nothing of the kind, when nothing or two things would validate,
    UserError for what the files hold.
    """
    say = say or unheard
    if val_data is not None and val_fraction is not None:
        raise UsageError(
            f"--val-fraction {val_fraction}: --val-data {printable(val_data)} validates already; "
            "leave out one of the two"
        )
    dataset = open_dataset(data, say)
    dataset.check_training(val_data, val_fraction)
    dataset.say_what_is_left_out(val_data, say)
    assert dataset.training is not None
    train = dataset.images(dataset.training, None, say)
    classes = train.classes
    if val_data is not None:
        return train, open_for_evaluation(val_data, classes, say), classes
    if val_fraction is not None:
        return *_split_by_content(train, val_fraction, say, kept), classes
    return train, dataset.images("val", classes, say), classes


def open_for_evaluation(data: str, classes: Sequence[str], say: Say | None = None) -> ListedSource:
    """The images of `data`, of its val if it has one; as `open_split` without a split."""
    return open_split(data, classes, say=say)[0]


def open_split(
    data: str,
    classes: Sequence[str],
    split: Measured | None = None,
    val_fraction: float | None = None,
    say: Say | None = None,
) -> tuple[ListedSource, Measured]:
    """Some images of `data` with positions in `classes` as labels, and which these are.

    Args:
        data: as for training.
        classes: names, which all differ.
        split: which images; by default val, or all where `data` has no splits.
        val_fraction: where `data` has no val, what a run that was trained on it validates on.
        say: is told what is left out.

    Raises UsageError when `data` is nothing of the kind or has no such split, UserError when a
    class is not among `classes` or there is no image.
    """
    say = say or unheard
    dataset = Shards(data, say) if means_shards(data) else Folders(data, classes)
    named = None if dataset.splits else split_named(Path(data).absolute().name)
    if dataset.training is None or "val" in dataset.splits or named in ("val", "test"):
        val_fraction = None
    if val_fraction is not None and split in (None, "train", "val"):
        assert dataset.training is not None
        whole = dataset.images(dataset.training, classes, say)
        train, val = _split_by_content(whole, val_fraction, say)
        if split is None:
            say(
                f"{printable(data)}: {len(val)} of {len(whole)} images, those that the run keeps "
                f"for validation by its val_fraction {val_fraction}; --split all takes all"
            )
        return (train, "train") if split == "train" else (val, "val")
    known = (named,) if named else dataset.splits or ("all",)
    chosen = split or named or dataset.default
    if (chosen == "all" and named) or chosen in known:
        assert chosen is not None
        return dataset.images(chosen, classes, say), chosen
    there = " and ".join(known) if dataset.splits or named else "no splits"
    raise UsageError(
        f"--split {chosen or 'val'}: {printable(data)} has {there}; give --split "
        f"{' or '.join(known)}"
    )


def training_places(data: str) -> list[Path]:
    """Where the training images of `data` lie, folders or tar files; none where it is not here."""
    if "://" in data:
        return []
    try:
        dataset = open_dataset(data)
    except UsageError:
        return []
    return dataset.training_places


def _split_by_content(
    images: FolderSource | ShardSource,
    val_fraction: float,
    say: Say,
    kept: KeptIdentity | None = None,
) -> tuple[ListedSource, ListedSource]:
    labels = [images.label(index) for index in range(len(images))]
    is_val = None
    if kept is not None:
        is_val = kept.validated([name for name, _ in images.files()])
    if is_val is None:
        is_val = validating(images.digests(), labels, val_fraction)
    if line := unvalidated(is_val, labels, images.classes, val_fraction):
        say(line)
    chosen = np.array(is_val)
    return images.where(~chosen), images.where(chosen)
