"""Read labeled images from a CSV of paths and labels, or from ILSVRC's flat folder."""

from __future__ import annotations

import csv
import logging
import os
import re
from collections.abc import Callable, Iterator, Sequence
from io import StringIO
from pathlib import Path
from typing import NamedTuple, TypeVar

from inceptcli.data.file_paths import FilePaths
from inceptcli.data.folders import Label, LabeledImages, compact
from inceptcli.data.sources import RemoteSource
from inceptcli.data.text_files import MAXIMUM_BYTES, as_it_lies, read_text
from inceptcli.errors import UsageError, UserError
from inceptcli.files.remote.address import Address, data_address, joined, redacted, scheme_of
from inceptcli.files.remote.transport import FetchError
from inceptcli.text import composed, listed, printable

logger = logging.getLogger(__name__)

ILSVRC_NAME = re.compile(r"ILSVRC2012_val_([0-9]{8})\.jpe?g", re.IGNORECASE)
"""File names of the validation images; the number is 1 to 50000."""

ILSVRC_TEST_NAME = re.compile(r"ILSVRC2012_test_([0-9]{8})\.jpe?g", re.IGNORECASE)

SYNSET = re.compile("n[0-9]{8}")
DEVKIT_LABELS = "ILSVRC2012_validation_ground_truth.txt"
PATH_COLUMNS = ("path", "file")
LABEL_COLUMNS = ("label", "class_index")
SEVERAL_LABELS = "labels"
"""Column of any number of labels per image, separated by `SEPARATOR`."""

SEPARATOR = ";"
KAGGLE_LABELS = "LOC_val_solution.csv"
"""Columns ImageId (a name without suffix) and PredictionString (synset and box, repeated)."""

KAGGLE_IMAGES = Path("ILSVRC/Data/CLS-LOC/val")
"""Image folder in Kaggle's archive, beside KAGGLE_LABELS."""

QUOTE = "quote a field that has a comma"
NOT_UTF_8 = "is not valid UTF-8; save the file as UTF-8"
LONGEST_NUMBER = 18
"""Maximum number of digits; Python refuses to parse thousands of them."""

LONGEST_SHOWN = 200
"""Maximum number of characters of a label or path shown in a message."""

Entry = TypeVar("Entry")
Found = TypeVar("Found")


class ListedImages(NamedTuple):
    """Images for `eval`.

    Attributes:
        images: The images.
        notes: Lines to log.
        read: The files that list the images.
    """

    images: LabeledImages
    notes: tuple[str, ...] = ()
    read: tuple[Path, ...] = ()


def evaluation_images(
    data: Path,
    ids: Sequence[str],
    names: Sequence[str],
    *,
    allow_outside: bool = False,
    allow_unlabeled: bool = False,
    group: str | None = None,
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
        images = images_in_csv(
            data,
            ids,
            names,
            allow_outside=allow_outside,
            allow_unlabeled=allow_unlabeled,
            group=group,
        )
        return ListedImages(images, read=(data,))
    if data.is_file():
        raise UsageError(f"{data}: must be a folder, or a .csv file of paths and labels")
    folder = _flat_folder(data)
    if folder is None:
        raise UsageError(f"{data}: neither a list of images nor ILSVRC's flat folder")
    return flat(folder, ids, names)


def lists_images(data: Path) -> bool:
    """Return whether `data` is a file or ILSVRC's flat folder, not class folders."""
    return data.is_file() or _flat_folder(data) is not None


def lacks_labels(folder: Path) -> bool:
    """Return whether ILSVRC's test images lie in a folder, or validation images without labels."""
    if any(ILSVRC_TEST_NAME.fullmatch(path.name) for path in folder.iterdir()):
        return True
    try:
        return bool(_validation_images(folder)) and not _labels_of(folder)
    except UserError:
        return True


def is_list_to_train_on(data: str) -> bool:
    """Return whether `data` is a CSV file, for `images_to_train_on`.

    Raises UsageError for one at an address.
    """
    if is_remote_list(data):
        raise UsageError(f"--data {redacted(data)}: `train` reads CSV files on local disks only")
    return scheme_of(data) is None and data.lower().endswith(".csv") and not Path(data).is_dir()


def is_remote_list(data: str) -> bool:
    """Return whether `data` is the address of a CSV file."""
    return scheme_of(data) is not None and data.partition("?")[0].lower().endswith(".csv")


def images_in_csv(
    file: Path,
    ids: Sequence[str],
    names: Sequence[str],
    *,
    allow_outside: bool,
    allow_unlabeled: bool = False,
    group: str | None = None,
) -> LabeledImages:
    """Return the images listed in a CSV file, in its order.

    The first line names the columns: `path` (or `file`), relative to the CSV's folder, and either
    `label` (or `class_index`), or `labels` of any number of labels separated by semicolons, or a
    column of 0 and 1 per class. Other columns are left out, with a notice unless it is `group`. A
    label is a class's id (synset, folder), else its name, else its position among the weights'
    classes, 0-based. Positions are not accepted if an id or a name is itself a number, and not as
    names of columns.

    Raises:
        UsageError: the columns are missing.
        UserError: a label is unknown or given twice, a path is listed twice, or a path leaves the
            CSV's folder without `allow_outside` (links inside it are followed); or, without
            `allow_unlabeled`, `labels` is empty. The message names the line.
    """
    table = LabelTable(file, Labels(ids, names, ids), allow_unlabeled=allow_unlabeled)
    table.log_left_out(group)
    paths, labels = _placed(table, _place_below(file.parent), allow_outside)
    root = None if allow_outside else Path(os.path.normpath(file.parent))
    return LabeledImages(tuple(ids), FilePaths.of(map(Path, paths)), compact(labels), root)


def images_to_train_on(
    file: Path,
    classes: Sequence[str] | None = None,
    *,
    allow_unlabeled: bool,
    quiet: bool = False,
) -> LabeledImages:
    """Return the images of a CSV file, labeled by position in `classes`, or in its own if None.

    Its own classes are the columns of 0 and 1 in their order, else the labels in alphabetical
    order. Columns are those of `images_in_csv`, but a label is always a class's name, and without
    `classes` each column besides the path is a class's. `quiet` leaves out notices.

    Raises UsageError or UserError as `images_in_csv`; also if all images have the same one label.
    """
    if not file.exists():
        raise UsageError(f"{file}: no such file")
    known = None if classes is None else Labels(classes, classes, None)
    table = LabelTable(file, known, allow_unlabeled=allow_unlabeled)
    if not quiet:
        table.log_left_out()
    if known is None:
        table = table.with_own_classes()
    paths, labels = _placed(table, _place_below(file.parent), allow_outside=False)
    assert table.known is not None
    root = Path(os.path.normpath(file.parent))
    return LabeledImages(
        tuple(table.known.ids), FilePaths.of(map(Path, paths)), compact(labels), root
    )


def _place_below(folder: Path) -> Callable[[str], tuple[str, bool]]:
    """Return a function from a listed path to its place and whether that is inside `folder`."""
    root = os.path.abspath(folder)  # noqa: PTH100 (a Path would keep ..)

    def place_of(path: str) -> tuple[str, bool]:
        place = os.path.normpath(as_it_lies(folder, path))
        is_inside = Path(os.path.abspath(place)).is_relative_to(root)  # noqa: PTH100
        if is_inside and os.path.isabs(place):  # noqa: PTH117 (as the relative path to it)
            place = os.path.normpath(os.path.join(folder, os.path.relpath(place, root)))  # noqa: PTH118
        return place, is_inside

    return place_of


def images_in_remote_csv(
    data: str,
    ids: Sequence[str],
    names: Sequence[str],
    *,
    allow_outside: bool,
    allow_unlabeled: bool = False,
    group: str | None = None,
) -> RemoteSource:
    """Return the images listed in a CSV file at an address, without fetching them.

    Paths are relative to the address's folder, or addresses themselves; with `allow_outside` they
    may leave that folder. Local paths are errors. Otherwise as `images_in_csv`.
    """
    address = data_address(data)

    def place_of(path: str) -> tuple[Address, bool]:
        place = joined(address.folder, path)
        return place, place.text.startswith(address.folder)

    table = LabelTable(
        _fetched(address), Labels(ids, names, ids), str(address), allow_unlabeled=allow_unlabeled
    )
    table.log_left_out(group)
    return RemoteSource(*_placed(table, place_of, allow_outside))


def _fetched(address: Address) -> Path:
    from inceptcli.files.remote.copies import local_copy  # imports ssl, which local files need not

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
        lines, shown = _lines(Path(data), data), data
    header = [entry.strip().lower() for entry in next(lines)[1]]
    if (name := column.strip().lower()) not in header:
        found = _cut(", ".join(header))
        raise UsageError(f"--group {_cut(column)}: {shown} has no such column, only {found}")
    if header.count(name) > 1:
        raise UsageError(f"--group {_cut(column)}: {shown} has several columns of this name")
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
    table: LabelTable, place_of: Callable[[str], tuple[Entry, bool]], allow_outside: bool
) -> tuple[tuple[Entry, ...], tuple[Label, ...]]:
    """Return the place and the label of each row.

    `place_of` returns the place of a path, and whether it is inside the list's folder.
    """
    lines: dict[Entry, int] = {}
    labels, shown = [], table.shown
    for line, path, texts in table.rows():
        try:
            place, is_inside = place_of(path)
        except UsageError as error:
            raise UserError(f"{shown} line {line}: {error}") from error
        if not allow_outside and not is_inside:
            remedy = "put the file into a folder that contains all images"
            if table.is_measured:
                remedy = "--allow-outside permits it"
            leaving = f"{shown} line {line}: path {_cut(redacted(path))} leaves the file's folder"
            raise UserError(f"{leaving}; {remedy}")
        if place in lines:
            first = f"{_cut(redacted(path))} is already listed in line {lines[place]}"
            raise UserError(f"{shown} line {line}: {first}")
        lines[place] = line
        labels.append(table.label(line, texts))
    if not lines:
        raise UserError(f"{shown}: lists no images")
    return tuple(lines), tuple(labels)


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
    order = usual_order(ids)
    if (file.parent / "synsets.txt").is_file():
        order = read_text(file.parent / "synsets.txt").split()
    labels = Labels(ids, names, order)
    label_of: dict[str, int] = {}
    for line, name, label in _labeled_names(file, labels):
        key = Path(name).stem
        if key in label_of:
            raise UserError(f"{file} line {line}: {_cut(Path(name).name)} is listed twice")
        label_of[key] = _find(labels.find, label, f"{file} line {line}: label")
    images = _validation_images(folder)
    unlabeled = [name for name in images if Path(name).stem not in label_of]
    if unlabeled:
        count = f"{len(unlabeled)} of {len(images)} images lack a label"
        raise UserError(f"{folder / unlabeled[0]}: not in {file} ({count})")
    found = LabeledImages(
        tuple(ids),
        FilePaths.of(folder / name for name in images),
        compact([label_of[Path(name).stem] for name in images]),
    )
    absent = len(label_of) - len(images)
    note = f"{absent} of the {len(label_of)} images in {file} are not in {folder}"
    read = (file, file.parent / "synsets.txt")
    return ListedImages(found, (note,) if absent else (), read)


def usual_order(ids: Sequence[str]) -> list[str]:
    """Return a thousand synsets in the order of published classifiers; [] for other classes."""
    return sorted(ids) if len(ids) == 1000 and all(map(SYNSET.fullmatch, ids)) else []


class Labels:
    """Find classes by id, else by name, else by position in `order`.

    Names that differ only in Unicode normalization are equal.
    """

    def __init__(
        self, ids: Sequence[str], names: Sequence[str], order: Sequence[str] | None
    ) -> None:
        """Index the classes; without `order` they are those of training images."""
        self.ids = ids
        self.by_id = _labels_by(ids)
        self.by_name = _labels_by(names)
        self.order = order
        self.is_numbered = any(key.isdecimal() for key in (*ids, *names))

    def find(self, text: str) -> int:
        """Return the label of a class; raise ValueError with a predicate about `text`."""
        text = composed(text)
        if (label := self.named(text)) is not None:
            return label
        if not _is_utf8(text):
            raise ValueError(NOT_UTF_8)
        if self.order is None:
            raise ValueError(f"is not one of the {len(self.ids)} classes trained on")
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

    def __contains__(self, text: str) -> bool:
        """Return whether a class has this id or name."""
        return composed(text) in self.by_id or composed(text) in self.by_name

    def named(self, text: str) -> int | None:
        """Return the label of the class with this id or name, or None.

        Raises ValueError if there are several.
        """
        text = composed(text)
        labels = self.by_id.get(text) or self.by_name.get(text, set())
        if len(labels) > 1 or (labels and labels != self.by_name.get(text, labels)):
            raise ValueError("names several classes; give the class's id")
        return next(iter(labels), None)


def _is_utf8(text: str) -> bool:
    """Return whether decoding replaced no bytes with surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _labels_by(names: Sequence[str]) -> dict[str, set[int]]:
    """Return labels by name in Unicode's composed form."""
    labels: dict[str, set[int]] = {}
    for label, name in enumerate(names):
        labels.setdefault(composed(name), set()).add(label)
    return labels


def _find(find: Callable[[str], Found], text: str, place: str) -> Found:
    """Return what `find` finds for the label or column `text` at `place`."""
    try:
        return find(text)
    except ValueError as error:
        raise UserError(f"{place} {_cut(text)} {error}") from error


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
                f"{place / DEVKIT_LABELS}: numbers the classes 1 to 1000 in the devkit's "
                "own order, not in that of the synsets; put Caffe's val.txt beside it, or "
                "labels.csv (file,label) with synset ids"
            )
    raise UserError(
        f"{folder}: no labels; put labels.csv (file,label) or val.txt into it or beside it"
    )


def _kaggle_folder(file: Path) -> Path:
    for folder in (file.parent / KAGGLE_IMAGES, file.parent / "val", file.parent):
        if folder.is_dir() and _validation_images(folder):
            return folder
    raise UsageError(
        f"{file}: its images are neither in {file.parent / KAGGLE_IMAGES} nor "
        "beside it; put the file into the images' folder, and give that folder as --data"
    )


class MultiLabelRow(NamedTuple):
    """A line of a label file: its number, a path, and the texts of its labels."""

    line: int
    path: str
    labels: tuple[str, ...]


class LabelTable:
    """A CSV file of images and labels; rows are read when `rows` is called.

    Attributes:
        known: The classes; None until `with_own_classes` for images to train on.
        shown: Name of the file in messages.
        is_multi_label: Whether an image has any number of labels.
    """

    def __init__(
        self,
        file: Path,
        known: Labels | None,
        shown: str | None = None,
        *,
        allow_unlabeled: bool = False,
    ) -> None:
        """Read the header.

        Raises UsageError if columns are missing, UserError if one is there twice.
        """
        self.known, self.shown = known, shown or str(file)
        self.allow_unlabeled = allow_unlabeled
        self._lines = _lines(file, self.shown)
        _, self._header = next(self._lines)
        lower = [name.strip().lower() for name in self._header]
        self._path = self._column(lower, PATH_COLUMNS)
        self._label = self._column(lower, LABEL_COLUMNS)
        self._several = self._column(lower, (SEVERAL_LABELS,))
        self.is_multi_label = self._label is None
        self._class_columns: dict[str, int] = {}
        if self._label is not None and self._several is not None:
            raise UsageError(f"{self.shown}: has a column label and a column labels; remove one")
        if self._path is not None and self._label is None and self._several is None:
            self._class_columns = self._by_class(self._path)
        if self._path is None or (
            self._label is None and self._several is None and not self._class_columns
        ):
            raise UsageError(_missing_columns(self.shown, self._header))
        used = {self._path, self._label, self._several, *self._class_columns.values()}
        self._left_out = {
            name.strip(): place
            for place, name in enumerate(self._header)
            if place not in used and name.strip()
        }
        self._rows: list[MultiLabelRow] | None = None

    @property
    def is_measured(self) -> bool:
        """Whether the images are those of an evaluation, not of a training run."""
        return self.known is not None and self.known.order is not None

    def _column(self, header: Sequence[str], names: Sequence[str]) -> int | None:
        """Return the place of the first of `names`, or None; raise UserError for two of it."""
        name = next((name for name in names if name in header), None)
        if name is None:
            return None
        if header.count(name) > 1:
            raise UserError(f"{self.shown} line 1: column {name} is there twice")
        return header.index(name)

    def _by_class(self, path: int) -> dict[str, int]:
        """Return the columns of 0 and 1 by class; all columns but the path if none is known."""
        found: dict[str, int] = {}
        for place, name in enumerate(self._header):
            text = composed(name.strip())
            if place == path:
                continue
            label = None
            if self.known is not None:
                label = _find(self.known.named, text, f"{self.shown} line 1: column")
            if label is None and not _is_utf8(text):
                raise UserError(f"{self.shown} line 1: column {_cut(text)} {NOT_UTF_8}")
            if self.known is not None and label is None:
                continue
            key = text if self.known is None or label is None else self.known.ids[label]
            if not key:
                raise UserError(f"{self.shown} line 1: column {place + 1} has no name")
            if key in found:
                raise UserError(f"{self.shown} line 1: column {_cut(text)} is there twice")
            found[key] = place
        lacking = [] if self.known is None else [id for id in self.known.ids if id not in found]
        if found and lacking:
            raise UserError(
                f"{self.shown} line 1: lacks the columns of {len(lacking)} classes "
                f"({listed(lacking)}); add them, with 0 for no such image"
            )
        return found

    def log_left_out(self, used: str | None = None) -> None:
        """Log the columns that are read by nobody: neither by the table nor as `used`."""
        names = [name for name in self._left_out if name.lower() != (used or "").strip().lower()]
        if names:
            ending = "s" * (len(names) > 1)
            logger.info(f"{self.shown}: left out column{ending} {listed(names)}")

    def rows(self) -> Iterator[MultiLabelRow]:
        """Yield the rows; raise UserError, naming the line, if one cannot be understood."""
        yield from self._read_rows() if self._rows is None else self._rows

    def _read_rows(self) -> Iterator[MultiLabelRow]:
        assert self._path is not None
        places = (self._label, self._several, *self._class_columns.values())
        width = 1 + max(self._path, *(place for place in places if place is not None))
        header, remedy = _width(self._header), self._remedy
        rivals, is_ambiguous = self._possible_classes(), False
        for number, (line, fields) in enumerate(self._lines):
            _check_width(f"{self.shown} line {line}", fields, header, remedy)
            if len(fields) < width or not fields[self._path]:
                raise UserError(f"{self.shown} line {line}: lacks a path or a label")
            try:
                row = MultiLabelRow(line, fields[self._path], self._texts(fields))
            except ValueError as error:
                raise UserError(f"{self.shown} line {line}: {error}") from error
            values = (
                *row.labels,
                *(fields[place].strip() for place in rivals.values() if place < len(fields)),
            )
            is_ambiguous = (is_ambiguous or not number) and {*values} <= {"0", "1"}
            yield row
        if rivals and is_ambiguous:
            place = self._several if self._label is None else self._label
            assert place is not None
            raise UserError(
                f"{self.shown}: column {_cut(self._header[place])} has only 0 and 1, as have "
                f"{listed([*rivals])}: rename it if it is a class; if it has the labels, remove "
                "the other columns"
            )

    @property
    def _remedy(self) -> str:
        if self._label is not None:
            return "separate labels by ; in a column labels, or quote the field"
        if self._several is not None:
            return "separate labels by ; or quote the field"
        return QUOTE

    def _possible_classes(self) -> dict[str, int]:
        """Return the columns left out that may be of classes, beside a column of labels."""
        if self._class_columns:
            return {}
        return {
            name: place
            for name, place in self._left_out.items()
            if name.lower() not in (*PATH_COLUMNS, *LABEL_COLUMNS)
            and (self.known is None or name in self.known)
        }

    def _texts(self, fields: Sequence[str]) -> tuple[str, ...]:
        """Return the labels of a row as they are written; raise ValueError with the reason."""
        if self._label is not None:
            if not (text := fields[self._label].strip()):
                raise ValueError("lacks a path or a label")
            return (text,)
        if self._several is None:
            return tuple(
                name
                for name, place in self._class_columns.items()
                if _is_one(name, fields[place].strip())
            )
        whole = fields[self._several].strip()
        texts = tuple(text.strip() for text in whole.split(SEPARATOR)) if whole else ()
        if not texts and not self.allow_unlabeled:
            raise ValueError(
                "has no label; data.allow_unlabeled in the recipe permits it, and so does a column "
                "of 0 and 1 per class"
            )
        if "" in texts:
            raise ValueError(f"labels {_cut(whole)} has an empty label")
        return texts

    def with_own_classes(self) -> LabelTable:
        """Read all rows and take the classes from them; see `images_to_train_on`."""
        self._rows = list(self._read_rows())
        for row in self._rows:
            for text in row.labels:
                self._check_single(row.line, text)
                if not _is_utf8(text):
                    raise UserError(f"{self.shown} line {row.line}: label {_cut(text)} {NOT_UTF_8}")
        names = list(self._class_columns)
        if not names:
            names = sorted({composed(text) for row in self._rows for text in row.labels})
        if self._rows and len(names) < 1 + (not self.is_multi_label):
            least = "one class is" if self.is_multi_label else "two classes are"
            got = f", got only {names[0]}" if names else ""
            raise UserError(f"{self.shown}: at least {least} needed{got}")
        self.known = Labels(names, names, None)
        return self

    def label(self, line: int, texts: Sequence[str]) -> Label:
        """Return the label of a row; raise UserError if it is unknown or given twice."""
        assert self.known is not None
        place = f"{self.shown} line {line}: label"
        for text in texts:
            self._check_single(line, text)
        found = [_find(self.known.find, text, place) for text in texts]
        if not self.is_multi_label:
            return found[0]
        for number, text in enumerate(texts):
            if found[number] in found[:number]:
                raise UserError(f"{place} {_cut(text)} is given twice")
        return tuple(sorted(found))

    def _check_single(self, line: int, text: str) -> None:
        """Raise UserError for a;b in a column of one label each, unless a class has this name."""
        if self.is_multi_label or SEPARATOR not in text:
            return
        if self.known is None or text not in self.known:
            raise UserError(
                f"{self.shown} line {line}: label {_cut(text)} has a {SEPARATOR}, but column "
                "label has one label each; name the column labels for several"
            )


def _width(header: Sequence[str]) -> int:
    """Return the number of columns up to the last one with a name."""
    return max((number for number, name in enumerate(header, 1) if name.strip()), default=0)


def _check_width(place: str, fields: Sequence[str], width: int, remedy: str) -> None:
    """Raise UserError if there are fields, other than empty ones, beyond the header's."""
    if any(field.strip() for field in fields[width:]):
        raise UserError(f"{place}: has {len(fields)} fields, the header {width}; {remedy}")


def _is_one(name: str, value: str) -> bool:
    if value not in ("0", "1"):
        raise ValueError(
            f"column {_cut(name)} must be 0 or 1, got {_cut(value) or 'nothing'}; name a column of "
            "labels label (one each) or labels (a;b)"
        )
    return value == "1"


def _missing_columns(
    shown: str,
    header: Sequence[str],
    wanted: str = "path,label (or file for path, class_index for label), or path,labels (a;b), or "
    "path and a column of 0 and 1 per class",
) -> str:
    found = printable(",".join(header)[:80])
    return f"{shown}: the first line must name the columns {wanted}, got {found}"


def _labeled_names(file: Path, labels: Labels) -> Iterator[tuple[int, str, str]]:
    """Yield line, name and label; all of an image's boxes in Kaggle's file have its synset."""
    if file.name == KAGGLE_LABELS:
        yield from _kaggle_rows(file)
    elif file.suffix == ".csv":
        table = LabelTable(file, labels)
        table.log_left_out()
        if table.is_multi_label:
            raise UsageError(f"{file}: ILSVRC's images have one label each, in column label")
        yield from ((line, path, texts[0]) for line, path, texts in table.rows())
    else:
        yield from _words(file)


def _kaggle_rows(file: Path) -> Iterator[tuple[int, str, str]]:
    lines = _lines(file, str(file))
    header = [name.strip().lower() for name in next(lines)[1]]
    if not {"imageid", "predictionstring"} <= set(header):
        raise UsageError(_missing_columns(str(file), header, "imageid,predictionstring"))
    name, boxes = header.index("imageid"), header.index("predictionstring")
    width = _width(header)
    for line, row in lines:
        _check_width(f"{file} line {line}", row, width, QUOTE)
        if len(row) <= max(name, boxes) or not row[name] or not row[boxes].strip():
            raise UserError(f"{file} line {line}: lacks a path or a label")
        yield line, row[name], row[boxes].split()[0]


def _lines(file: Path, shown: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the number and the fields of the first line of a CSV file, then of each nonempty one.

    Messages show `shown` instead of its path.
    """
    lines = csv.reader(StringIO(read_text(file), newline=""), strict=True)
    try:
        yield 1, next(lines, [])
        yield from ((lines.line_num, row) for row in lines if row)
    except csv.Error as error:
        raise UserError(f"{shown} line {lines.line_num}: {error}") from error


def _words(file: Path) -> Iterator[tuple[int, str, str]]:
    """Yield line, path and label of a file that separates path and label by the last space."""
    for number, line in enumerate(read_text(file).split("\n"), start=1):
        words = line.rsplit(maxsplit=1)
        if len(words) == 1:
            raise UserError(f"{file} line {number}: must be a name and a label")
        if words:
            yield number, words[0], words[1]


def _cut(text: str) -> str:
    return printable(text[:LONGEST_SHOWN])
