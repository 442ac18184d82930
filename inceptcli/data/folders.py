"""Find images, and label them by class folders."""

from __future__ import annotations

import hashlib
import logging
import os
from array import array
from bisect import bisect_left
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from inceptcli.data.file_paths import PART, FilePaths, FolderFiles
from inceptcli.data.left_out import LeftOut, is_passed_over
from inceptcli.data.pixels.image_formats import START_BYTES, SUFFIXES, format_in, has_suffix
from inceptcli.errors import UsageError, UserError
from inceptcli.text import composed, printable

logger = logging.getLogger(__name__)

THREADS = 16
"""Number of files to read at once; network file systems have a high latency."""

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
    paths: FilePaths
    labels: Sequence[Label]
    root: Path | None = None


def find_images(folder: Path, left_out: LeftOut | None = None) -> FilePaths:
    """Return the images in a folder and its subfolders, sorted by path; count others in `left_out`.

    Leaves out hidden files and folders, and the system folders of storage devices. Follows links,
    but enters each folder only once. Broken links are included, so that reading them reports them.

    Raises:
        UserError: a folder is missing or cannot be read.
    """
    return FilePaths.in_folders(_images_of(_walk(folder, None, left_out), left_out))


def has_only_outputs(folder: Path) -> bool:
    """Return whether a folder has outputs of this program and no image outside of them."""
    outputs: list[Path] = []
    return not any(names for _, names in _images_of(_walk(folder, outputs))) and bool(outputs)


def has_images_below(folder: Path) -> bool:
    """Return whether a folder or a subfolder contains an image that is not of an output."""
    return any(names for _, names in _images_of(_walk(folder, [])))


def has_images(folder: Path) -> bool:
    """Return whether the folder itself contains an image."""
    return any(map(is_image, map(folder.joinpath, _list(_text(folder)).files)))


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
    *,
    only_images: bool = False,
) -> dict[str, FilePaths]:
    """Return all files in each class folder of `root`, by class name.

    Names are in Unicode's composed form (NFC), so that folders from macOS and other systems are one
    class. Folders written by this program (runs) are left out with a notice; a folder that contains
    nothing else is not a class.

    Args:
        root: The folder of class folders.
        without: Folders that are not classes.
        left_out: Counts images beside the class folders, hidden files and system folders.
        only_images: Return images only, and count other files in `left_out`.

    Raises:
        UsageError: `root` is missing or not a folder.
        UserError: there is no class folder, or one cannot be read.
    """
    check_folder(root)
    found: dict[str, list[FilePaths]] = {}
    written: list[Path] = []
    listing = _list(_text(root))
    if left_out is not None:
        left_out.update(listing.left_out)
        for name in listing.files:
            if is_image(root / name):
                left_out.add_file(name, "beside the class folders")
    for folder in map(root.joinpath, listing.folders):
        if folder in without:
            continue
        outputs: list[Path] = []
        groups = _walk(folder, outputs, left_out)
        files = FilePaths.in_folders(_images_of(groups, left_out) if only_images else groups)
        if not outputs or any(map(is_image, files)):
            found.setdefault(composed(folder.name), []).append(files)
        written += outputs
    if written:
        others = f" and {len(written) - 1} more" * (len(written) > 1)
        logger.info(f"left out {written[0]}{others}: written by inceptcli, not a class")
    inside = (file for parts in found.values() for part in parts for file in part)
    if not found or (beside_tars(root) and not any(map(is_image, inside))):
        raise UserError(
            f"{root}: no class folders; put each class's images into a folder of its own"
            f"{beside_tars(root)}"
        )
    return {name: FilePaths.joined(parts) for name, parts in sorted(found.items())}


def beside_tars(root: Path) -> str:
    """Return the end of an error for a folder with tar files beside folders; empty without any."""
    if not any(root.glob("[!.]*.tar")):
        return ""
    return (
        "; its tar files are not taken as shards beside other folders: move these away, or give "
        f"'{root}/*.tar'"
    )


def images_by_class(root: Path, without: Collection[Path] = ()) -> dict[str, FilePaths]:
    """Return the images of `files_by_class`; log one line about the files left out."""
    left_out = LeftOut()
    found = files_by_class(root, without, left_out, only_images=True)
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
            f"{printable(next(iter(found)))}{beside_tars(root)}"
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
    paths, found = images.paths, list[bytes | None]()
    with ThreadPoolExecutor(THREADS) as pool:
        for start in range(0, len(paths), PART):  # a pool keeps every task given to it
            found += pool.map(_digest, paths[start : start + PART])
    return found


def check_folder(root: Path) -> None:
    """Raise UsageError if `root` is missing or not a folder."""
    if not root.exists():
        raise UsageError(f"{root}: no such folder")
    if not root.is_dir():
        raise UsageError(f"{root}: not a folder; give one that holds one folder per class")


def subfolders(root: Path) -> list[Path]:
    """Return the visible folders in `root`, sorted; raise UserError if it cannot be read."""
    return list(map(root.joinpath, _list(_text(root)).folders))


def _labeled(root: Path, found: Mapping[str, FilePaths], classes: Sequence[str]) -> LabeledImages:
    label_of = {composed(name): label for label, name in enumerate(classes)}
    labels = array("i")
    for name, paths in found.items():
        labels.extend(array("i", [label_of[name]]) * len(paths))
    return LabeledImages(tuple(classes), FilePaths.joined([*found.values()]), labels, root)


def compact(labels: Sequence[Label]) -> Sequence[Label]:
    """Return the labels at 4 bytes each, if each image has one."""
    single = [label for label in labels if isinstance(label, int)]
    return array("i", single) if len(single) == len(labels) else labels


def where(images: LabeledImages, chosen: NDArray[np.bool_]) -> LabeledImages:
    """Return the images for which `chosen` (N,) is true."""
    labels = [images.labels[int(index)] for index in np.flatnonzero(chosen)]
    return replace(images, paths=images.paths.where(chosen), labels=compact(labels))


def _digest(path: Path) -> bytes | None:
    """Return the SHA-256 of a file, or None if it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError:
        return None  # it trains, so it is skipped and reported when it is read


def _text(folder: Path) -> str:
    """Return a folder's path as FilePaths has it."""
    return "" if folder == Path() else os.fspath(folder)


def _walk(
    folder: Path, outputs: list[Path] | None, left_out: LeftOut | None = None
) -> Iterator[FolderFiles]:
    """Yield all files below a folder, sorted by path; add folders of this program's to `outputs`.

    With `outputs`, these folders are not entered.
    """
    entered: set[tuple[int, int]] = set()
    waiting: list[str | FolderFiles] = [_text(folder)]
    while waiting:
        place = waiting.pop()
        if isinstance(place, tuple):
            yield place
            continue
        identity, folders, files, passed_over = _list(place)
        if identity in entered:
            continue
        entered.add(identity)
        if outputs is not None and is_own_output(folders, files):
            outputs.append(Path(place))
            continue
        if left_out is not None:
            left_out.update(passed_over)
        waiting += reversed(_in_order(place, folders, files))


def _in_order(place: str, folders: list[str], files: list[str]) -> list[str | FolderFiles]:
    """Return a folder's files and subfolders in the order of their names."""
    found: list[str | FolderFiles] = []
    start = 0
    for name in folders:
        end = bisect_left(files, name, start)
        found += [(place, files[start:end]), os.path.join(place, name)]  # noqa: PTH118
        start = end
    return [*found, (place, files[start:])]


def _images_of(
    groups: Iterator[FolderFiles], left_out: LeftOut | None = None
) -> Iterator[FolderFiles]:
    """Yield the files that are images; count others in `left_out`."""
    for folder, names in groups:
        images = []
        for name in names:
            # The usual suffixes first: opening a path for each of a million files takes seconds.
            if name[name.rfind(".") :].lower() in SUFFIXES or is_image(Path(folder, name)):
                images.append(name)
            elif left_out is not None:
                left_out.add_file(name)
        yield folder, images


def _is_file_or_nothing(link: str) -> bool:
    """Return whether a link leads to a regular file or is broken; opening a pipe would block."""
    return os.path.isfile(link) or not os.path.exists(link)  # noqa: PTH110, PTH113 (never raise)


class _Listing(NamedTuple):
    """A folder's device and inode, names of its subfolders and files, and those left out."""

    identity: tuple[int, int]
    folders: list[str]
    files: list[str]
    left_out: LeftOut


def _list(folder: str) -> _Listing:
    """List a folder without hidden files, system folders and devices; count those left out."""
    folders, files, hidden, left_out = list[str](), list[str](), list[str](), LeftOut()
    try:
        status = os.stat(folder or ".")  # noqa: PTH116 (as text, like all paths here)
        with os.scandir(folder or ".") as entries:
            for entry in entries:
                name = entry.name
                if entry.is_file(follow_symlinks=False):
                    (hidden if name.startswith(".") else files).append(name)
                elif entry.is_dir(follow_symlinks=False) or _is_link_to_folder(entry):
                    folders.append(name)
                elif name.startswith("."):
                    hidden.append(name)
                elif entry.is_symlink() and _is_file_or_nothing(entry.path):
                    files.append(name)
    except OSError as error:
        raise UserError(f"{Path(folder)}: cannot be read: {error.strerror}") from error
    for name in sorted(hidden):
        left_out.add_hidden(name)
    for name in filter(is_passed_over, sorted(folders)):
        left_out.add_folder(name)
    entered = sorted(name for name in folders if not is_passed_over(name))
    return _Listing((status.st_dev, status.st_ino), entered, sorted(files), left_out)


def _is_link_to_folder(entry: os.DirEntry[str]) -> bool:
    return entry.is_symlink() and os.path.isdir(entry.path)  # noqa: PTH112 (never raises)


RUN_FILES = {"lock", "model.safetensors", "recipe.yaml", "train.log"}
"""A run directory has at least two of these; a run that is starting has only a lock."""

STUDY_FIGURE = "study.png"
"""The only file beside the runs of a study."""

EXPLANATIONS = "explanations.csv"
"""Written beside the images of `predict --explain`."""


def is_own_output(folders: Sequence[str], files: Sequence[str]) -> bool:
    """Return whether `train`, `study` or `predict --explain` wrote a folder that contains these."""
    is_run = len(RUN_FILES.intersection(files)) > 1 or (files == ["lock"] and not folders)
    is_study = bool(folders) and files == [STUDY_FIGURE]
    return is_run or is_study or EXPLANATIONS in files
