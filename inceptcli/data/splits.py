"""What the parts of a dataset are called, and the folders that are such parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from inceptcli.data.folders import check_folder, files_and_outputs, is_image, subfolders
from inceptcli.errors import UsageError
from inceptcli.text import printable

Split = Literal["train", "val", "test"]

NAMES: Mapping[Split, tuple[str, ...]] = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}
"""What each is called, in any case."""


def split_named(word: str) -> Split | None:
    """The split that a word means, if it means one."""
    return next((split for split, words in NAMES.items() if word.lower() in words), None)


def split_folders(root: Path) -> dict[Split, Path]:
    """The folders of `root` that are splits, by split; none where they are classes.

    They are splits where train and val are there, where there is no other folder with images, or
    where two of them hold folders of one name: train/cat and test/cat.

    Raises UsageError when `root` is missing or no folder, or when two folders are one split.
    """
    check_folder(root)
    named: dict[Split, list[Path]] = {}
    others = []
    for folder in subfolders(root):
        split = split_named(folder.name)
        if split is None:
            others.append(folder)
        else:
            named.setdefault(split, []).append(folder)
    folders = [folder for found in named.values() for folder in found]
    if not folders or not (
        {"train", "val"} <= named.keys() or _share_classes(folders) or not any(map(_images, others))
    ):
        return {}
    for split, found in named.items():
        if len(found) > 1:
            names = " and ".join(f"{folder.name}/" for folder in found)
            raise UsageError(
                f"{printable(str(root))}: {names} are both the {split} images; keep one of them"
            )
    return {split: named[split][0] for split in NAMES if split in named}


def in_words(folders: Sequence[Path]) -> str:
    """Such as train/ and test/."""
    names = [f"{printable(folder.name)}/" for folder in folders]
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def _share_classes(folders: Sequence[Path]) -> bool:
    seen: set[str] = set()
    for folder in folders:
        names = {inside.name for inside in subfolders(folder)}
        if seen & names:
            return True
        seen |= names
    return False


def _images(folder: Path) -> bool:
    return any(map(is_image, files_and_outputs(folder)[0]))
