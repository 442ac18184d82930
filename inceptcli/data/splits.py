"""Splits of a dataset: their names, their folders, and splitting by content."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import Literal

from inceptcli.data.folders import (
    Label,
    check_folder,
    has_images,
    has_images_below,
    has_only_outputs,
    positions,
    subfolders,
)
from inceptcli.errors import UsageError, UserError
from inceptcli.text import listed, printable

Split = Literal["train", "val", "test"]

NAMES: Mapping[Split, tuple[str, ...]] = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}
"""Accepted names of each split, in any case."""

UNLABELED = -1
"""Stands for the class of images without a label."""


def split_named(word: str) -> Split | None:
    """Return the split that a word names, or None."""
    return next((split for split, words in NAMES.items() if word.lower() in words), None)


def split_folders(root: Path) -> dict[Split, Path]:
    """Return the split folders of `root`, by split; empty if folders of these names are classes.

    If `root` also has other folders with images, a folder counts as a split only if it has class
    folders of its own. If train is a split, the other folders are not classes. Otherwise they are
    the training classes, and `root` itself is the folder of train.

    Raises:
        UsageError: `root` is missing or not a folder, or two folders are the same split.
    """
    check_folder(root)
    folders = [folder for folder in subfolders(root) if split_named(folder.name)]
    others = [folder for folder in subfolders(root) if folder not in folders]
    beside_classes = False
    if folders and any(map(has_images_below, others)):
        whole = _with_class_folders(folders, {folder.name for folder in others})
        beside_classes = "train" not in {split_named(folder.name) for folder in whole}
        folders = whole if beside_classes else folders
    named: dict[Split, list[Path]] = {"train": [root]} if folders and beside_classes else {}
    for folder in folders:
        split = split_named(folder.name)
        assert split is not None
        named.setdefault(split, []).append(folder)
    for split, found in named.items():
        if len(found) > 1:
            raise UsageError(
                f"{root}: {folders_in_words(found)} are both the {split} images; keep one of them"
            )
    return {split: named[split][0] for split in NAMES if split in named}


def other_folders(root: Path, splits: Mapping[Split, Path]) -> list[Path]:
    """Return the folders of `root` that are neither one of its `splits` nor a class."""
    if not splits or splits.get("train") == root:
        return []
    return [
        folder
        for folder in subfolders(root)
        if folder not in splits.values() and not has_only_outputs(folder)
    ]


def folders_in_words(folders: Sequence[Path]) -> str:
    """Return the folders' names for messages, such as train/ and test/."""
    names = [f"{printable(folder.name)}/" for folder in folders]
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def _with_class_folders(folders: Sequence[Path], classes: Set[str]) -> list[Path]:
    """Return folders that have class folders and, unless these are known classes, no images."""
    names = {folder: {inside.name for inside in subfolders(folder)} for folder in folders}
    found = []
    for folder in folders:
        known = set(classes).union(*(names[other] for other in folders if other != folder))
        if (names[folder] & known or not has_images(folder)) and any(
            map(has_images_below, subfolders(folder))
        ):
            found.append(folder)
    return found


def validation_mask(
    digests: Sequence[bytes | None], labels: Sequence[Label], val_fraction: float
) -> list[bool]:
    """Return whether each image is for validation, from its SHA-256 and its labels.

    An image validates if its hash, scaled to [0, 1), is below `val_fraction`. A class with at least
    two different images keeps one on each side: if no hash is below, the smallest validates; if all
    are, the largest trains. Identical images always stay together. Adding an image does not move
    others, unless it becomes the smallest or largest of these. Unreadable images (None) and the
    only image of a class train; a class whose images are all the only ones of classes has none to
    validate. Images without a label are split like a class of their own.

    Raises:
        UsageError: `val_fraction` is not between 0 and 1.
    """
    if not 0 < val_fraction < 1:
        raise UsageError(f"val_fraction must be between 0 and 1, got {val_fraction}")
    classes: defaultdict[int, set[bytes]] = defaultdict(set)
    for digest, label in zip(digests, labels, strict=True):
        if digest is not None:
            for place in positions(label) or (UNLABELED,):
                classes[place].add(digest)
    order = [classes[label] for label in sorted(classes)]
    val = {d for found in order for d in found if int.from_bytes(d[:6]) / 2**48 < val_fraction}
    only = {digest for found in order if len(found) == 1 for digest in found}
    several = [found for found in order if len(found) > 1]
    split = _on_both_sides(several, val - only, only)
    return [digest in split for digest in digests]


def _on_both_sides(several: Sequence[set[bytes]], val: Set[bytes], kept: Set[bytes]) -> set[bytes]:
    """Return `val` with an image of each class on each side; those `kept` train."""
    val = set(val)
    for found in several:  # a class that shares the image must keep one on this side, too
        if not found & val:
            val |= _first(sorted(found - kept), [other - val for other in several])
    for found in several:
        if found <= val:
            val -= _first(sorted(found, reverse=True), [other & val for other in several])
    return val


def _first(candidates: Sequence[bytes], left: Sequence[set[bytes]]) -> set[bytes]:
    """Return the first candidate that is not the last image of a class on its side, if any."""
    lasting = (one for one in candidates if all(side != {one} for side in left))
    return {*candidates[:1]} if (first := next(lasting, None)) is None else {first}


def unvalidated(
    is_val: Sequence[bool], labels: Sequence[Label], classes: Sequence[str], val_fraction: float
) -> str | None:
    """Return a line about classes with images but no validation image; None if there are none.

    Raises:
        UserError: no image validates.
    """
    if not any(is_val):
        raise UserError(
            f"val_fraction {val_fraction}: no class has two different images to split, other than "
            "the only ones of classes; add images, or give --val-data"
        )
    seen = {place for label in labels for place in positions(label)}
    for label, val in zip(labels, is_val, strict=True):
        seen -= set(positions(label)) if val else set()
    if not seen:
        return None
    names = [classes[label] for label in sorted(seen)]
    return (
        f"{len(names)} of {len(classes)} classes have a single image, or only such images of other "
        f"classes, used for training, and no validation images: {listed(names)}"
    )
