"""Find images, and the classes that folders give them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from inceptcli.data.decode import SUFFIXES
from inceptcli.errors import UsageError, UserError
from inceptcli.text import printable


@dataclass(frozen=True)
class LabelledImages:
    """Images and their classes.

    Attributes:
        classes: Names; a label is a position in this list, 0-based.
        paths: One per image.
        labels: One per image, in the order of `paths`.
    """

    classes: tuple[str, ...]
    paths: tuple[Path, ...]
    labels: tuple[int, ...]


def find_images(folder: Path) -> list[Path]:
    """Files in a folder and below it with an image's suffix, in any case, sorted by their paths.

    Hidden files and folders are left out. Links are followed, but each folder is entered once,
    however many links lead to it; a link to nowhere is listed, so that whoever reads it names it.

    Raises:
        UserError: a folder is missing or cannot be read.
    """
    return [file for file in find_files(folder) if file.suffix.lower() in SUFFIXES]


def find_files(folder: Path) -> list[Path]:
    """As `find_images`, but whatever the suffix."""
    found: list[Path] = []
    entered: set[tuple[int, int]] = set()
    waiting = [folder]
    while waiting:
        identity, folders, files = _list(waiting.pop())
        if identity not in entered:
            entered.add(identity)
            found += files
            waiting += reversed(folders)
    return sorted(found)


def class_folder(root: Path) -> LabelledImages:
    """The images of a folder that holds one folder per class, in the order of the classes' names.

    Raises:
        UsageError: `root` is missing or not a folder.
        UserError: there are fewer than two classes, or a class has no images.
    """
    names = class_names(root)
    if len(names) == 1:
        raise UserError(
            f"{_shown(root)}: at least two class folders are needed, got only {printable(names[0])}"
        )
    images = _labelled(root, names, names)
    for name in _classes_without_images(images):
        raise UserError(
            f"{_shown(root / name)}: a class folder needs images; add some or remove it"
        )
    return images


def split_by_content(
    images: LabelledImages, val_fraction: float
) -> tuple[LabelledImages, LabelledImages]:
    """Training and validation images, told apart by a hash of their bytes, which are all read.

    About `val_fraction` become validation images. Equal files never part, and adding images moves
    none of the others.

    Raises:
        UsageError: `val_fraction` is not between 0 and 1.
        UserError: a class has no images left in one of the two.
    """
    if not 0 < val_fraction < 1:
        raise UsageError(f"val_fraction must be between 0 and 1, got {val_fraction}")
    sides = [is_val(_digest(path), val_fraction) for path in images.paths]
    train, val = (where(images, [side == wanted for side in sides]) for wanted in (False, True))
    for part, name in ((train, "training"), (val, "validation")):
        for empty in _classes_without_images(part):
            raise UserError(empty_part(empty, name, val_fraction))
    return train, val


def is_val(digest: bytes | None, val_fraction: float) -> bool:
    """Whether an image with this SHA-256 validates; one that cannot be read (None) never does."""
    return digest is not None and int.from_bytes(digest[:6]) / 2**48 < val_fraction


def empty_part(class_name: str, part: str, val_fraction: float) -> str:
    """What to say of a class without `part` (training, validation) images after a split."""
    return (
        f"class {printable(class_name)} has no {part} images with val_fraction {val_fraction};"
        " change it or add images"
    )


def training_folders(
    root: Path, val_fraction: float | None
) -> tuple[LabelledImages, LabelledImages]:
    """Training and validation images, labelled alike: `root`/train and `root`/val, else a split.

    Classes are matched by name; a class of train may be missing in val. Without train and val,
    `val_fraction` of the images in `root`'s class folders validate (`split_by_content`).

    Raises:
        UsageError: `root` is missing, or has neither form.
        UserError: val has a class that train lacks or no image, or a class has too few images.
    """
    if has_train_and_val(root):
        train = class_folder(root / "train")
        names = class_names(root / "val")
        for name in sorted(set(names) - set(train.classes)):
            raise UserError(
                f"{_shown(root / 'val' / name)}: val must not have a class that train lacks;"
                f" add train/{printable(name)} or remove it"
            )
        return train, _some(_labelled(root / "val", names, train.classes), root / "val")
    if val_fraction is None:
        raise UsageError(
            f"{_shown(root)}: no validation images; give a folder with train/ and val/, each with"
            " one folder per class, or give --val-fraction to split one folder per class"
        )
    return split_by_content(class_folder(root), val_fraction)


def training_or_all(root: Path) -> LabelledImages:
    """The images of `root`/train where train/ and val/ exist, else of `root`'s class folders."""
    return class_folder(root / "train" if has_train_and_val(root) else root)


def labelled_for(root: Path, classes: Sequence[str]) -> LabelledImages:
    """The images of `root`'s class folders, or of `root`/val's where train/ and val/ exist.

    Folders are matched by name to `classes`, which all differ; a class may lack a folder or images.

    Raises:
        UsageError: `root` is missing or not a folder.
        UserError: a folder's name is not among `classes`, or there is no image at all.
    """
    if has_train_and_val(root):
        root = root / "val"
    names = class_names(root)
    unknown = sorted(set(names) - set(classes))
    if unknown:
        raise UserError(
            f"{_shown(root / unknown[0])}: not one of the {len(classes)} classes trained"
            f" ({len(unknown)} of {len(names)} folders unknown); these are images of other classes"
        )
    return _some(_labelled(root, names, classes), root)


def has_train_and_val(root: Path) -> bool:
    """Whether `root` holds train/ and val/; UsageError when it is missing or not a folder."""
    _check_folder(root)
    return (root / "train").is_dir() and (root / "val").is_dir()


def _check_folder(root: Path) -> None:
    if not root.exists():
        raise UsageError(f"{_shown(root)}: no such folder")
    if not root.is_dir():
        raise UsageError(f"{_shown(root)}: not a folder; give one that holds one folder per class")


def class_names(root: Path) -> list[str]:
    """The folders in `root`, by name; UserError when there are none."""
    _check_folder(root)
    names = [folder.name for folder in _list(root)[1]]
    if not names:
        raise UserError(
            f"{_shown(root)}: no class folders; put each class's images into a folder of its own"
        )
    return names


def _labelled(root: Path, names: Iterable[str], classes: Sequence[str]) -> LabelledImages:
    label_of = {name: label for label, name in enumerate(classes)}
    found = [(path, label_of[name]) for name in names for path in find_images(root / name)]
    paths, labels = zip(*found, strict=True) if found else ((), ())
    return LabelledImages(tuple(classes), paths, labels)


def where(images: LabelledImages, chosen: Sequence[bool]) -> LabelledImages:
    """The images for which `chosen`, one for each, is true."""
    kept = [index for index, is_chosen in enumerate(chosen) if is_chosen]
    return LabelledImages(
        images.classes,
        tuple(images.paths[index] for index in kept),
        tuple(images.labels[index] for index in kept),
    )


def _some(images: LabelledImages, root: Path) -> LabelledImages:
    if not images.paths:
        raise UserError(f"{_shown(root)}: no images in the class folders")
    return images


def _classes_without_images(images: LabelledImages) -> list[str]:
    seen = set(images.labels)
    return [name for label, name in enumerate(images.classes) if label not in seen]


def _digest(path: Path) -> bytes | None:
    """The SHA-256 of a file's bytes."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError:
        return None  # a training image, which is skipped and named when it is read


def _list(folder: Path) -> tuple[tuple[int, int], list[Path], list[Path]]:
    """What identifies a folder, its folders and its files, by name; no hidden ones, no devices."""
    folders, files = [], []
    try:
        status = folder.stat()
        with os.scandir(folder) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                path = folder / entry.name
                if entry.name.startswith("."):
                    continue
                if entry.is_dir(follow_symlinks=False) or (entry.is_symlink() and path.is_dir()):
                    folders.append(path)
                elif entry.is_file(follow_symlinks=False) or entry.is_symlink():
                    files.append(path)
    except OSError as error:
        raise UserError(f"{_shown(folder)}: cannot be read: {error.strerror}") from error
    return (status.st_dev, status.st_ino), folders, files


def _shown(path: Path) -> str:
    return printable(str(path))
