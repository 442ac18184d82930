"""Find images, and label them by class folders."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple

from inceptcli.data.left_out import LeftOut, is_passed_over
from inceptcli.data.pixels.image_formats import START_BYTES, SUFFIXES, format_in, has_suffix
from inceptcli.errors import UsageError, UserError
from inceptcli.text import composed, printable

logger = logging.getLogger(__name__)

Label = int | tuple[int, ...]
"""A position in the list of classes, 0-based; of multi-label data all positions, ascending."""


def positions(label: Label) -> tuple[int, ...]:
    """Return all positions of a label: one, or those of a multi-label image, possibly none."""
    return label if isinstance(label, tuple) else (label,)


@dataclass(frozen=True)
class LabeledImages:
    """Images with labels.

    Attributes:
        classes: Class names.
        paths: One per image.
        labels: One per image, in the order of `paths`.
        root: The folder that contains the class folders or the CSV file of a run; else None.
    """

    classes: tuple[str, ...]
    paths: tuple[Path, ...]
    labels: tuple[Label, ...]
    root: Path | None = None


def find_images(folder: Path, left_out: LeftOut | None = None) -> list[Path]:
    """Return the images in a folder and its subfolders, sorted by path; count others in `left_out`.

    Leaves out hidden files and folders, and the system folders of storage devices. Follows links,
    but enters each folder only once. Broken links are included, so that reading them reports them.

    Raises:
        UserError: a folder is missing or cannot be read.
    """
    files = _walk(folder, None, left_out)
    images = [file for file in files if is_image(file)]
    if left_out is not None and len(images) < len(files):
        found = set(images)
        for file in files:
            if file not in found:
                left_out.add_file(file.name)
    return images


def files_and_outputs(
    folder: Path, left_out: LeftOut | None = None
) -> tuple[list[Path], list[Path]]:
    """Return all files below a folder, and the folders written by this program, not entered.

    `left_out` counts hidden files and system folders, as in `find_images`.
    """
    outputs: list[Path] = []
    return _walk(folder, outputs, left_out), outputs


def has_only_outputs(folder: Path) -> bool:
    """Return whether a folder has outputs of this program and no image outside of them."""
    files, outputs = files_and_outputs(folder)
    return bool(outputs) and not any(map(is_image, files))


def has_images(folder: Path) -> bool:
    """Return whether the folder itself contains an image."""
    return any(map(is_image, _list(folder).files))


def is_image(file: Path) -> bool:
    """Return whether a file has an image suffix, or has no suffix and the content of an image."""
    if file.suffix.lower() in SUFFIXES or has_suffix(file.name):
        return file.suffix.lower() in SUFFIXES
    try:
        with file.open("rb", buffering=0) as opened:
            return format_in(opened.read(START_BYTES) or b"") is not None
    except OSError:
        return False


def files_by_class(
    root: Path,
    without: Collection[Path] = (),
    left_out: LeftOut | None = None,
) -> dict[str, list[Path]]:
    """Return all files in each class folder of `root`, by class name.

    Names are in Unicode's composed form (NFC), so that folders from macOS and other systems are one
    class. Folders written by this program (runs) are left out with a notice; a folder that contains
    nothing else is not a class.

    Args:
        root: The folder of class folders.
        without: Folders that are not classes.
        left_out: Counts images beside the class folders, hidden files and system folders.

    Raises:
        UsageError: `root` is missing or not a folder.
        UserError: there is no class folder, or one cannot be read.
    """
    check_folder(root)
    found: dict[str, list[Path]] = {}
    written: list[Path] = []
    listing = _list(root)
    if left_out is not None:
        left_out.update(listing.left_out)
        for file in filter(is_image, listing.files):
            left_out.add_file(file.name, "beside the class folders")
    for folder in listing.folders:
        if folder in without:
            continue
        files, outputs = files_and_outputs(folder, left_out)
        if not outputs or any(map(is_image, files)):
            found.setdefault(composed(folder.name), []).extend(files)
        written += outputs
    if written:
        others = f" and {len(written) - 1} more" * (len(written) > 1)
        logger.info(f"left out {written[0]}{others}: written by inceptcli, not a class")
    if not found:
        raise UserError(
            f"{root}: no class folders; put each class's images into a folder of its own"
        )
    return dict(sorted(found.items()))


def images_by_class(root: Path, without: Collection[Path] = ()) -> dict[str, list[Path]]:
    """Return the images of `files_by_class`; log one line about the files left out."""
    left_out = LeftOut()
    found: dict[str, list[Path]] = {}
    for name, files in files_by_class(root, without, left_out).items():
        found[name] = []
        for file in files:
            if is_image(file):
                found[name].append(file)
            else:
                left_out.add_file(file.name)
    if left_out:
        logger.info(f"{root}: {left_out}")
    return found


def class_folder(root: Path, without: Collection[Path] = ()) -> LabeledImages:
    """Return the images of a folder that contains one folder per class, sorted by class name.

    The folders `without` are not classes.

    Raises:
        UsageError: `root` is missing or not a folder.
        UserError: there are fewer than two classes, or a class has no images.
    """
    found = images_by_class(root, without)
    if len(found) == 1:
        raise UserError(
            f"{root}: at least two class folders are needed, got only "
            f"{printable(next(iter(found)))}"
        )
    images = _labeled(root, found, list(found))
    seen = set(images.labels)
    for label, name in enumerate(found):
        if label not in seen:
            raise UserError(f"{root / name}: a class folder needs images; add some or remove it")
    return images


def labeled_for(
    root: Path, classes: Sequence[str], without: Collection[Path] = ()
) -> LabeledImages:
    """Return the images in the class folders of `root`, labeled by position in `classes`.

    The folders `without` are not classes.

    Raises:
        UsageError: `root` is missing or not a folder.
        UserError: a folder's name is not in `classes`, or there are no images.
    """
    found = images_by_class(root, without)
    unknown = sorted(found.keys() - {composed(name) for name in classes})
    if unknown:
        raise UserError(
            f"{root / unknown[0]}: not one of the {len(classes)} classes"
            f" ({len(unknown)} of {len(found)} folders unknown){_suggestion(unknown[0], classes)}; "
            "rename the folder to the class's name, or remove it"
        )
    images = _labeled(root, found, classes)
    if not images.paths:
        raise UserError(f"{root}: no images in the class folders")
    return images


def _suggestion(name: str, classes: Sequence[str]) -> str:
    by_case = {known.casefold(): known for known in reversed(classes)}
    near = get_close_matches(name.casefold(), by_case, 1, 0.8)
    return f"; did you mean {by_case[near[0]]}" if near else ""


def digests(images: LabeledImages) -> list[bytes | None]:
    """Read every file and return its SHA-256, or None if it cannot be read."""
    return [_digest(path) for path in images.paths]


def check_folder(root: Path) -> None:
    """Raise UsageError if `root` is missing or not a folder."""
    if not root.exists():
        raise UsageError(f"{root}: no such folder")
    if not root.is_dir():
        raise UsageError(f"{root}: not a folder; give one that holds one folder per class")


def subfolders(root: Path) -> list[Path]:
    """Return the visible folders in `root`, sorted; raise UserError if it cannot be read."""
    return _list(root).folders


def _labeled(
    root: Path, found: Mapping[str, Iterable[Path]], classes: Sequence[str]
) -> LabeledImages:
    label_of = {composed(name): label for label, name in enumerate(classes)}
    pairs = [(path, label_of[name]) for name in found for path in found[name]]
    paths, labels = zip(*pairs, strict=True) if pairs else ((), ())
    return LabeledImages(tuple(classes), paths, labels, root)


def where(images: LabeledImages, chosen: Sequence[bool]) -> LabeledImages:
    """Return the images for which `chosen`, one value per image, is true."""
    kept = [index for index, is_chosen in enumerate(chosen) if is_chosen]
    return replace(
        images,
        paths=tuple(images.paths[index] for index in kept),
        labels=tuple(images.labels[index] for index in kept),
    )


def _digest(path: Path) -> bytes | None:
    """Return the SHA-256 of a file, or None if it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError:
        return None  # it trains, so it is skipped and reported when it is read


def _walk(folder: Path, outputs: list[Path] | None, left_out: LeftOut | None = None) -> list[Path]:
    """Return all files below a folder, sorted; add folders of this program's to `outputs`."""
    found: list[Path] = []
    entered: set[tuple[int, int]] = set()
    waiting = [folder]
    while waiting:
        place = waiting.pop()
        identity, folders, files, passed_over = _list(place)
        if identity in entered:
            continue
        entered.add(identity)
        if outputs is not None and is_own_output({path.name for path in (*folders, *files)}):
            outputs.append(place)
            continue
        if left_out is not None:
            left_out.update(passed_over)
        found += files
        waiting += reversed(folders)
    return sorted(found)


def _is_file_or_nothing(link: Path) -> bool:
    """Return whether a link leads to a regular file or is broken; opening a pipe would block."""
    return os.path.isfile(link) or not os.path.exists(link)  # noqa: PTH110, PTH113 (never raise)


class _Listing(NamedTuple):
    """A folder's device and inode, its subfolders and files by name, and those left out."""

    identity: tuple[int, int]
    folders: list[Path]
    files: list[Path]
    left_out: LeftOut


def _list(folder: Path) -> _Listing:
    """List a folder without hidden files, system folders and devices; count those left out."""
    folders, files, left_out = [], [], LeftOut()
    try:
        status = folder.stat()
        with os.scandir(folder) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                path = folder / entry.name
                if entry.is_dir(follow_symlinks=False) or (entry.is_symlink() and path.is_dir()):
                    if is_passed_over(entry.name):
                        left_out.add_folder(entry.name)
                    else:
                        folders.append(path)
                elif entry.name.startswith("."):
                    left_out.add_hidden(entry.name)
                elif entry.is_file(follow_symlinks=False) or (
                    entry.is_symlink() and _is_file_or_nothing(path)
                ):
                    files.append(path)
    except OSError as error:
        raise UserError(f"{folder}: cannot be read: {error.strerror}") from error
    return _Listing((status.st_dev, status.st_ino), folders, files, left_out)


RUN_FILES = {"lock", "model.safetensors", "recipe.yaml", "train.log"}
"""A run directory has at least two of these; a run that is starting has only a lock."""

EXPLANATIONS = "explanations.csv"
"""Written beside the images of `predict --explain`."""


def is_own_output(names: Set[str]) -> bool:
    """Return whether `train` or `predict --explain` wrote a folder with these file names."""
    return len(names & RUN_FILES) > 1 or names == {"lock"} or EXPLANATIONS in names
