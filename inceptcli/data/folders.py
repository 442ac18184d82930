"""Find images, and the classes that folders give them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from inceptcli.data.decode import SUFFIXES
from inceptcli.data.own_outputs import is_own_output
from inceptcli.errors import UsageError, UserError
from inceptcli.text import printable

Say = Callable[[str], None]
"""Is told what a person should know, a line at a time."""


def unheard(line: str) -> None:
    """Tells nobody."""


@dataclass(frozen=True)
class LabelledImages:
    """Images and their classes.

    Attributes:
        classes: Names; a label is a position in this list, 0-based.
        paths: One per image.
        labels: One per image, in the order of `paths`.
        root: The folder that has the class folders; None where images were listed.
    """

    classes: tuple[str, ...]
    paths: tuple[Path, ...]
    labels: tuple[int, ...]
    root: Path | None = None


def find_images(folder: Path) -> list[Path]:
    """Files in a folder and below it with an image's suffix, in any case, sorted by their paths.

    Hidden files and folders are left out. Links are followed, but each folder is entered once,
    however many links lead to it; a link to nowhere is listed, so that whoever reads it names it.

    Raises:
        UserError: a folder is missing or cannot be read.
    """
    return [file for file in find_files(folder) if is_image(file)]


def find_files(folder: Path) -> list[Path]:
    """As `find_images`, but whatever the suffix."""
    return _walk(folder, None)


def files_and_outputs(folder: Path) -> tuple[list[Path], list[Path]]:
    """As `find_files`, but folders that this program wrote are not entered: they come second."""
    outputs: list[Path] = []
    return _walk(folder, outputs), outputs


def has_only_outputs(folder: Path) -> bool:
    """Whether there are folders that this program wrote, and no image beside them."""
    files, outputs = files_and_outputs(folder)
    return bool(outputs) and not any(map(is_image, files))


def has_images(folder: Path) -> bool:
    """Whether an image lies in the folder itself."""
    return any(map(is_image, _list(folder)[2]))


def is_image(file: Path) -> bool:
    """Whether a file has an image's suffix."""
    return file.suffix.lower() in SUFFIXES


def files_by_class(
    root: Path, say: Say = unheard, without: Collection[Path] = ()
) -> dict[str, list[Path]]:
    """The files in each class folder of `root`, whatever their suffix, by the classes' names.

    The folders `without` are no classes.

    Folders that this program wrote (runs) are left out, of which `say` is told: a folder that has
    nothing else is no class.

    Raises:
        UsageError: `root` is missing or not a folder.
        UserError: there is no class folder, or one cannot be read.
    """
    check_folder(root)
    found: dict[str, list[Path]] = {}
    left_out: list[Path] = []
    for folder in subfolders(root):
        if folder in without:
            continue
        files, outputs = files_and_outputs(folder)
        if not outputs or any(map(is_image, files)):
            found[folder.name] = files
        left_out += outputs
    if left_out:
        others = f" and {len(left_out) - 1} more" * (len(left_out) > 1)
        say(f"left out {_shown(left_out[0])}{others}: inceptcli wrote that; it is no class")
    if not found:
        raise UserError(
            f"{_shown(root)}: no class folders; put each class's images into a folder of its own"
        )
    return found


def class_folder(root: Path, say: Say = unheard, without: Collection[Path] = ()) -> LabelledImages:
    """The images of a folder that holds one folder per class, in the order of the classes' names.

    The folders `without` are no classes.

    Raises:
        UsageError: `root` is missing or not a folder.
        UserError: there are fewer than two classes, or a class has no images.
    """
    found = files_by_class(root, say, without)
    if len(found) == 1:
        raise UserError(
            f"{_shown(root)}: at least two class folders are needed, got only "
            f"{printable(next(iter(found)))}"
        )
    images = _labelled(root, found, list(found))
    seen = set(images.labels)
    for label, name in enumerate(found):
        if label not in seen:
            raise UserError(
                f"{_shown(root / name)}: a class folder needs images; add some or remove it"
            )
    return images


def labelled_for(
    root: Path, classes: Sequence[str], say: Say = unheard, without: Collection[Path] = ()
) -> LabelledImages:
    """The images of `root`'s class folders, labelled by the place of their name in `classes`.

    The folders `without` are no classes.

    Raises:
        UsageError: `root` is missing or not a folder.
        UserError: a folder's name is not among `classes`, or there is no image at all.
    """
    found = files_by_class(root, say, without)
    unknown = sorted(found.keys() - set(classes))
    if unknown:
        raise UserError(
            f"{_shown(root / unknown[0])}: not one of the {len(classes)} classes trained"
            f" ({len(unknown)} of {len(found)} folders unknown); these are images of other classes"
        )
    images = _labelled(root, found, classes)
    if not images.paths:
        raise UserError(f"{_shown(root)}: no images in the class folders")
    return images


def digests(images: LabelledImages) -> list[bytes | None]:
    """The SHA-256 of each file's bytes, which are all read; None where that fails."""
    return [_digest(path) for path in images.paths]


def check_folder(root: Path) -> None:
    """UsageError when `root` is missing or not a folder."""
    if not root.exists():
        raise UsageError(f"{_shown(root)}: no such folder")
    if not root.is_dir():
        raise UsageError(f"{_shown(root)}: not a folder; give one that holds one folder per class")


def subfolders(root: Path) -> list[Path]:
    """The folders in `root`, by name, without hidden ones; UserError when it cannot be read."""
    return _list(root)[1]


def _labelled(
    root: Path, found: Mapping[str, Iterable[Path]], classes: Sequence[str]
) -> LabelledImages:
    label_of = {name: label for label, name in enumerate(classes)}
    pairs = [(path, label_of[name]) for name in found for path in found[name] if is_image(path)]
    paths, labels = zip(*pairs, strict=True) if pairs else ((), ())
    return LabelledImages(tuple(classes), paths, labels, root)


def where(images: LabelledImages, chosen: Sequence[bool]) -> LabelledImages:
    """The images for which `chosen`, one for each, is true."""
    kept = [index for index, is_chosen in enumerate(chosen) if is_chosen]
    return replace(
        images,
        paths=tuple(images.paths[index] for index in kept),
        labels=tuple(images.labels[index] for index in kept),
    )


def _digest(path: Path) -> bytes | None:
    """The SHA-256 of a file's bytes."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError:
        return None  # a training image, which is skipped and named when it is read


def _walk(folder: Path, outputs: list[Path] | None) -> list[Path]:
    """Every file below, sorted; what this program wrote is not entered but added to `outputs`."""
    found: list[Path] = []
    entered: set[tuple[int, int]] = set()
    waiting = [folder]
    while waiting:
        place = waiting.pop()
        identity, folders, files = _list(place)
        if identity in entered:
            continue
        entered.add(identity)
        if outputs is not None and is_own_output({path.name for path in (*folders, *files)}):
            outputs.append(place)
            continue
        found += files
        waiting += reversed(folders)
    return sorted(found)


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
