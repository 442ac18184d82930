"""Read labeled images from a CSV of paths and labels, or from ILSVRC's flat folder."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from io import StringIO
from pathlib import Path
from typing import NamedTuple, TypeVar

from inceptcli.data.folders import LabeledImages
from inceptcli.data.sources import RemoteSource
from inceptcli.data.text_files import as_it_lies, text_of
from inceptcli.errors import UsageError, UserError
from inceptcli.files.regular_file import read_regular
from inceptcli.files.remote.address import Address, data_address, joined, redacted, scheme_of
from inceptcli.files.remote.copies import local_copy
from inceptcli.files.remote.transport import FetchError
from inceptcli.text import composed, printable

ILSVRC_NAME = re.compile(r"ILSVRC2012_val_([0-9]{8})\.jpe?g", re.IGNORECASE)
"""File names of the validation images; the number is 1 to 50000."""

SYNSET = re.compile("n[0-9]{8}")
DEVKIT_LABELS = "ILSVRC2012_validation_ground_truth.txt"
PATH_COLUMNS = ("path", "file")
LABEL_COLUMNS = ("label", "class_index")
KAGGLE_LABELS = "LOC_val_solution.csv"
"""Columns ImageId (a name without suffix) and PredictionString (synset and box, repeated)."""

KAGGLE_IMAGES = Path("ILSVRC/Data/CLS-LOC/val")
"""Image folder in Kaggle's archive, beside KAGGLE_LABELS."""

LONGEST_NUMBER = 18
"""Maximum number of digits; Python refuses to parse thousands of them."""

LONGEST_SHOWN = 200
"""Maximum number of characters of a label or path shown in a message."""

MAXIMUM_BYTES = 256 * 1024**2


Entry = TypeVar("Entry")


class ListedImages(NamedTuple):
    """Images for `eval`.

    Attributes:
        images: The images.
        root: The folder that their paths start from.
        notes: Lines to log.
        read: The files that list the images.
    """

    images: LabeledImages
    root: Path
    notes: tuple[str, ...] = ()
    read: tuple[Path, ...] = ()


def evaluation_images(
    data: Path, ids: Sequence[str], names: Sequence[str], *, allow_outside: bool = False
) -> ListedImages:
    """Return the images of a CSV file (`images_in_csv`) or of ILSVRC's flat folder (`flat`).

    Labels are positions in `ids` and `names`, the classes of the weights.

    Raises:
        UsageError: there is no such file or folder, or its columns are unknown.
        UserError: an entry does not fit the classes; the message names the line.
    """
    if data.is_file() and data.name == KAGGLE_LABELS:
        return flat(_kaggle_folder(data), ids, names, data)
    if data.is_file() and data.suffix.lower() == ".csv":
        images = images_in_csv(data, ids, names, allow_outside=allow_outside)
        return ListedImages(images, data.parent, read=(data,))
    if data.is_file():
        raise UsageError(f"{_shown(data)}: must be a folder, or a .csv file of paths and labels")
    folder = _flat_folder(data)
    if folder is None:
        raise UsageError(f"{_shown(data)}: neither a list of images nor ILSVRC's flat folder")
    return flat(folder, ids, names)


def lists_images(data: Path) -> bool:
    """Return whether `data` is a file or ILSVRC's flat folder, not class folders."""
    return data.is_file() or _flat_folder(data) is not None


def is_remote_list(data: str) -> bool:
    """Return whether `data` is the address of a CSV file."""
    return scheme_of(data) is not None and data.partition("?")[0].lower().endswith(".csv")


def images_in_csv(
    file: Path, ids: Sequence[str], names: Sequence[str], *, allow_outside: bool
) -> LabeledImages:
    """Return the images listed in a CSV file, in its order.

    The first line names the columns: `path` (or `file`), relative to the CSV's folder, and `label`
    (or `class_index`). Other columns are ignored. A label is a class's id (synset, folder), else
    its name, else its position among the weights' classes, 0-based. Positions are not accepted if
    an id or a name is itself a number.

    Raises:
        UsageError: the columns are missing.
        UserError: a label is unknown, a path is listed twice, or a path leaves the CSV's folder,
            directly or by a link, without `allow_outside`; the message names the line.
    """
    root, real_folders = os.path.realpath(file.parent), dict[str, str]()

    def place_of(path: str) -> tuple[str, bool]:
        place = os.path.normpath(as_it_lies(file.parent, path))
        return place, Path(_real(place, real_folders)).is_relative_to(root)

    rows, labels = _rows(file), Labels(ids, names, ids)
    paths, numbers = _placed(rows, place_of, labels, _shown(file), allow_outside)
    return LabeledImages(tuple(ids), tuple(map(Path, paths)), numbers)


def images_in_remote_csv(
    data: str, ids: Sequence[str], names: Sequence[str], *, allow_outside: bool
) -> RemoteSource:
    """Return the images listed in a CSV file at an address, without fetching them.

    Paths are relative to the address's folder, or addresses themselves; with `allow_outside` they
    may leave that folder. Local paths are errors. Otherwise as `images_in_csv`.
    """
    address = data_address(data)

    def place_of(path: str) -> tuple[Address, bool]:
        place = joined(address.folder, path)
        return place, place.text.startswith(address.folder)

    rows, labels = _rows(_fetched(address), shown=str(address)), Labels(ids, names, ids)
    places, numbers = _placed(rows, place_of, labels, str(address), allow_outside)
    return RemoteSource(places, numbers)


def _fetched(address: Address) -> Path:
    try:
        return local_copy(address, MAXIMUM_BYTES)
    except FetchError as error:
        raise UserError(f"--data {address}: cannot be fetched: {error}") from error


def groups_in_csv(data: str, column: str) -> list[str]:
    """Return the values of a column of a CSV file or address, one per image, in its order.

    Raises:
        UsageError: there is no such column.
        UserError: a row lacks a value, or all have the same one.
    """
    if is_remote_list(data):
        address = data_address(data)
        lines, shown = _lines(_fetched(address), str(address)), str(address)
    else:
        lines, shown = _lines(Path(data), printable(data)), printable(data)
    header = next(lines)[1]
    if (name := column.strip().lower()) not in header:
        found = printable(", ".join(header)[:LONGEST_SHOWN])
        raise UsageError(f"--group {_cut(column)}: {shown} has no such column, only {found}")
    place = header.index(name)
    values = []
    for line, row in lines:
        if len(row) <= place or not row[place].strip():
            raise UserError(f"{shown} line {line}: lacks a value in column {_cut(column)}")
        values.append(row[place].strip())
    if len({*values}) < 2:
        raise UserError(
            f"{shown}: all images have the same {_cut(column)}; --group needs at least two groups"
        )
    return values


def _placed(
    rows: Iterable[tuple[int, str, str]],
    place_of: Callable[[str], tuple[Entry, bool]],
    labels: Labels,
    shown: str,
    allow_outside: bool,
) -> tuple[tuple[Entry, ...], tuple[int, ...]]:
    """Return the place and the label of each row.

    `place_of` returns the place of a path, and whether it is inside the list's folder.
    """
    lines: dict[Entry, int] = {}
    numbers = []
    for line, path, label in rows:
        try:
            place, is_inside = place_of(path)
        except UsageError as error:
            raise UserError(f"{shown} line {line}: {error}") from error
        if not allow_outside and not is_inside:
            raise UserError(
                f"{shown} line {line}: path {_cut(redacted(path))} leaves the file's folder; "
                "--allow-outside permits it"
            )
        if place in lines:
            first = f"{_cut(redacted(path))} is already listed in line {lines[place]}"
            raise UserError(f"{shown} line {line}: {first}")
        lines[place] = line
        numbers.append(_find(labels, label, shown, line))
    if not lines:
        raise UserError(f"{shown}: lists no images")
    return tuple(lines), tuple(numbers)


def flat(
    folder: Path, ids: Sequence[str], names: Sequence[str], file: Path | None = None
) -> ListedImages:
    """Return the ILSVRC validation images in `folder`, labeled by a file.

    The label file is `file`, or one of the following in `folder` or beside it: `labels.csv` (as in
    `images_in_csv`, with image names), Caffe's `val.txt` (name and label per line), or Kaggle's
    `LOC_val_solution.csv`, also up to four folders above, as in its archive.

    A numeric label is a 0-based position in `synsets.txt` beside the label file. Without that file,
    if the weights have a thousand synsets, it is a position in the sorted ids, as in published
    classifiers.

    Raises:
        UserError: there is no label file, it lacks an image or has an unknown label, or there is
            only the devkit's file, which numbers the synsets in a different order.
    """
    file = file or _labels_of(folder)
    order = sorted(ids) if len(ids) == 1000 and all(map(SYNSET.fullmatch, ids)) else []
    if (file.parent / "synsets.txt").is_file():
        order = _read(file.parent / "synsets.txt").split()
    labels = Labels(ids, names, order)
    label_of = {}
    for line, name, label in _labeled_names(file):
        key = Path(name).stem
        if key in label_of:
            raise UserError(f"{_shown(file)} line {line}: {_cut(Path(name).name)} is listed twice")
        label_of[key] = _find(labels, label, _shown(file), line)
    images = _validation_images(folder)
    unlabeled = [name for name in images if Path(name).stem not in label_of]
    if unlabeled:
        count = f"{len(unlabeled)} of {len(images)} images lack a label"
        raise UserError(f"{_shown(folder / unlabeled[0])}: not in {_shown(file)} ({count})")
    found = LabeledImages(
        tuple(ids),
        tuple(folder / name for name in images),
        tuple(label_of[Path(name).stem] for name in images),
    )
    absent = len(label_of) - len(images)
    note = f"{absent} of the {len(label_of)} images in {_shown(file)} are not in {_shown(folder)}"
    read = (file, file.parent / "synsets.txt")
    return ListedImages(found, folder, (note,) if absent else (), read)


def _real(place: str, folders: dict[str, str]) -> str:
    """Return the absolute path with links resolved; `folders` caches those of folders."""
    folder, name = os.path.split(place)
    if folder not in folders:
        folders[folder] = os.path.realpath(folder)
    path = f"{folders[folder]}/{name}"
    return os.path.realpath(path) if os.path.islink(path) else path  # noqa: PTH114 (see above)


class Labels:
    """Find classes by id, else by name, else by position in `order`.

    Names that differ only in Unicode normalization are equal.
    """

    def __init__(self, ids: Sequence[str], names: Sequence[str], order: Sequence[str]) -> None:
        self.by_id = _labels_by(ids)
        self.by_name = _labels_by(names)
        self.order = order
        self.is_numbered = any(key.isdecimal() for key in (*ids, *names))

    def find(self, text: str) -> int:
        """Return the label of a class; raise ValueError with a predicate about `text`."""
        text = composed(text)
        labels = self.by_id.get(text) or self.by_name.get(text, set())
        if len(labels) > 1 or (labels and labels != self.by_name.get(text, labels)):
            raise ValueError("names several classes; give the class's id")
        if labels:
            return next(iter(labels))
        if not text.isascii() or not text.isdecimal() or self.is_numbered:
            raise ValueError("is not a class of the weights; give its id, name or number")
        if not self.order:
            raise ValueError(
                "is a number, which needs synsets.txt beside the list, unless the weights have "
                "ImageNet's 1000 classes; or give synset ids"
            )
        if len(text) > LONGEST_NUMBER or int(text) >= len(self.order):
            last = len(self.order) - 1
            raise ValueError(f"is not a class of the weights; they are numbered 0 to {last}")
        meant = self.by_id.get(composed(self.order[int(text)]), set())
        if len(meant) != 1:
            shown = _cut(self.order[int(text)])
            raise ValueError(f"means {shown}, which is not a class of the weights")
        return next(iter(meant))


def _labels_by(names: Sequence[str]) -> dict[str, set[int]]:
    """Return labels by name in Unicode's composed form."""
    labels: dict[str, set[int]] = {}
    for label, name in enumerate(names):
        labels.setdefault(composed(name), set()).add(label)
    return labels


def _find(labels: Labels, text: str, shown: str, line: int) -> int:
    try:
        return labels.find(text)
    except ValueError as error:
        place = f"{shown} line {line}: label {_cut(text)}"
        raise UserError(f"{place} {error}") from error


def _flat_folder(data: Path) -> Path | None:
    for folder in (data, data / "images", data / "val"):
        if folder.is_dir() and _validation_images(folder):
            return folder
    return None


def _validation_images(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if ILSVRC_NAME.fullmatch(path.name))


def _labels_of(folder: Path) -> Path:
    for place in (folder, folder.parent):
        for name in ("labels.csv", "val.txt"):
            if (place / name).is_file():
                return place / name
    for place in (folder, *folder.absolute().parents[:4]):
        if (place / KAGGLE_LABELS).is_file():
            return place / KAGGLE_LABELS
    for place in (folder, folder.parent):
        if (place / DEVKIT_LABELS).is_file():
            raise UserError(
                f"{_shown(place / DEVKIT_LABELS)}: numbers the classes 1 to 1000 in the devkit's "
                "own order, not in that of the synsets; put Caffe's val.txt beside it, or "
                "labels.csv (file,label) with synset ids"
            )
    raise UserError(
        f"{_shown(folder)}: no labels; put labels.csv (file,label) or val.txt into it or beside it"
    )


def _kaggle_folder(file: Path) -> Path:
    for folder in (file.parent / KAGGLE_IMAGES, file.parent / "val", file.parent):
        if folder.is_dir() and _validation_images(folder):
            return folder
    raise UsageError(
        f"{_shown(file)}: its images are neither in {_shown(file.parent / KAGGLE_IMAGES)} nor "
        "beside it; put the file into the images' folder, and give that folder as --data"
    )


def _labeled_names(file: Path) -> Iterator[tuple[int, str, str]]:
    """Yield line, name and label; all of an image's boxes in Kaggle's file have its synset."""
    if file.name == KAGGLE_LABELS:
        for line, name, boxes in _rows(file, ("imageid",), ("predictionstring",)):
            yield line, name, boxes.split()[0]
    else:
        yield from _rows(file) if file.suffix == ".csv" else _words(file)


def _read(file: Path) -> str:
    try:
        return text_of(read_regular(file, MAXIMUM_BYTES))
    except OSError as error:
        raise UserError(f"{_shown(file)}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise UserError(f"{_shown(file)}: {error}") from error


def _rows(
    file: Path,
    path_columns: Sequence[str] = PATH_COLUMNS,
    label_columns: Sequence[str] = LABEL_COLUMNS,
    shown: str | None = None,
) -> Iterator[tuple[int, str, str]]:
    """Yield line, path and label of a CSV file; messages show `shown` instead of its path."""
    shown = shown or _shown(file)
    lines = _lines(file, shown)
    header = next(lines)[1]
    columns = [
        next((header.index(name) for name in known if name in header), None)
        for known in (path_columns, label_columns)
    ]
    path, label = columns
    if path is None or label is None:
        found = printable(",".join(header)[:80])
        wanted = f"{path_columns[0]},{label_columns[0]}"
        if path_columns == PATH_COLUMNS:
            wanted += " (or file for path, class_index for label)"
        raise UsageError(f"{shown}: the first line must name the columns {wanted}, got {found}")
    for line, row in lines:
        if len(row) <= max(path, label) or not row[path] or not row[label].strip():
            raise UserError(f"{shown} line {line}: lacks a path or a label")
        yield line, row[path], row[label].strip()


def _lines(file: Path, shown: str) -> Iterator[tuple[int, list[str]]]:
    """Yield line and fields of a CSV file: its columns in lower case, then rows, if not empty."""
    lines = csv.reader(StringIO(_read(file), newline=""), strict=True)
    try:
        yield 1, [name.strip().lower() for name in next(lines, [])]
        for row in lines:
            if row:
                yield lines.line_num, row
    except csv.Error as error:
        raise UserError(f"{shown} line {lines.line_num}: {error}") from error


def _words(file: Path) -> Iterator[tuple[int, str, str]]:
    """Yield line, path and label of a file that separates path and label by the last space."""
    for number, line in enumerate(_read(file).split("\n"), start=1):
        words = line.rsplit(maxsplit=1)
        if len(words) == 1:
            raise UserError(f"{_shown(file)} line {number}: must be a name and a label")
        if words:
            yield number, words[0], words[1]


def _cut(text: str) -> str:
    return printable(text[:LONGEST_SHOWN])


def _shown(path: Path) -> str:
    return printable(str(path))
