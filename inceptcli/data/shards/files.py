"""Find the tar shards of `--data`: a brace range, a pattern or a folder. No torch."""

from __future__ import annotations

import glob
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

from inceptcli.data.folders import has_only_outputs, subfolders
from inceptcli.data.left_out import LeftOut
from inceptcli.data.splits import Split, split_named
from inceptcli.data.text_files import read_text
from inceptcli.errors import UsageError, UserError
from inceptcli.files.remote.address import data_address, scheme_of
from inceptcli.text import composed

MAXIMUM_SHARDS = 100_000


def means_shards(data: str) -> bool:
    """Return whether `data` names tar shards; a folder with class folders never does."""
    if not scheme_of(data) and Path(data).is_dir():
        return bool(_in_folder(Path(data)))
    return bool(scheme_of(data)) or re.search(r"\.(tar|tgz|tar\.\w+)\W*$", data) is not None


def find_shards(data: str) -> list[Path]:
    """Return the shards that `data` names, fetching those at https, s3, gs and hf addresses.

    A range such as train-{000..006}.tar keeps its order; otherwise shards are sorted. A folder
    means its own shards and those in its train/, val/ and test/. A name that exists is never
    expanded.

    Raises:
        UsageError: no shard is found, one is missing, or `data` is neither a path nor an address.
        UserError: a shard cannot be fetched.
    """
    if scheme_of(data):
        from inceptcli.data.shards.fetching import fetch_shards

        data_address(data)  # before its braces are expanded
        return fetch_shards(_expanded(data), labeled=True)
    if Path(data).is_dir():
        return _in_folder(Path(data))
    found: dict[Path, None] = {}
    for text in [data] if Path(data).exists() else _expanded(data):
        if Path(text).exists() or not glob.has_magic(text):
            matches = [text]
        else:
            matches = sorted(glob.glob(text))  # noqa: PTH207 (a pattern may be absolute)
        if not matches or not Path(matches[0]).exists():
            raise UsageError(f"--data {text}: no such file")
        found |= dict.fromkeys(map(Path, matches))
    for path in found:
        if path.suffix != ".tar" or path.is_dir():
            raise UsageError(f"{path}: a shard is an uncompressed .tar file")
    return list(found)


def of_split(shards: Sequence[Path], *splits: Split | None) -> list[Path]:
    """Return the shards of `splits`; the split None selects shards that name no split.

    The split is read from the name of the shard or its folder, such as train-000.tar,
    imagenet-validation-00.tar or test/0.tar.
    """
    return [path for path in shards if _split(path) in splits]


def class_list(shards: Iterable[Path]) -> tuple[str, ...]:
    """Return the class names in label order, from classes.json or classes.txt beside the shards.

    `data shard` writes classes.json, a JSON list; classes.txt has one name per line. Either may be
    in the parent folder. Names are returned as written: two that differ only in Unicode
    normalization are two labels of one class.

    Raises:
        UserError: there is no such file, it is not a list of names, or two files differ.
    """
    lists: dict[tuple[str, ...], tuple[tuple[str, ...], Path]] = {}
    for folder in dict.fromkeys(path.parent for path in shards):
        names, path = _names_near(folder)
        lists.setdefault(tuple(map(composed, names)), (names, path))
    if len(lists) > 1:
        one, other, *_ = (path for _, path in lists.values())
        raise UserError(f"{one} and {other} list different classes; give shards of one dataset")
    return next(iter(lists.values()))[0]


def has_class_list(folder: Path) -> bool:
    """Return whether a folder or its parent has a class list."""
    return any(_class_lists_near(folder))


def _class_lists_near(folder: Path) -> Iterator[Path]:
    places = (folder, folder.absolute().parent)
    return filter(Path.is_file, (place / name for place in places for name in CLASS_FILES))


def _names_near(folder: Path) -> tuple[tuple[str, ...], Path]:
    if (path := next(_class_lists_near(folder), None)) is not None:
        return _names_in(path), path
    raise UserError(
        f"{folder}: no classes.txt beside the shards; write the class names there, one "
        "per line, in label order"
    )


CLASS_FILES = ("classes.json", "classes.txt")


class BesideShards(LeftOut):
    """Counts what a folder of tar shards has beside these, their indices and list of classes."""

    def add_file(self, name: str, kind: str | None = None) -> None:
        """Count a file as LeftOut does, unless it is one of these."""
        if kind or not (name.endswith((".tar", ".tar.json")) or name in CLASS_FILES):
            super().add_file(name, kind)


def _names_in(path: Path) -> tuple[str, ...]:
    text = read_text(path)
    try:
        text.encode()  # class names must be valid UTF-8
        names = json.loads(text) if path.suffix == ".json" else text.rstrip().splitlines()
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: cannot be read: it is not a list of names") from error
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        raise UserError(f"{path}: must list class names, none of them empty")
    if len(set(names)) < len(names) or len(set(map(composed, names))) < 2:
        raise UserError(f"{path}: must list at least two names that all differ")
    return tuple(names)


def _in_folder(folder: Path) -> list[Path]:
    """Return none if there are class folders, or a stray archive would be taken for the data."""
    try:
        splits = [path for path in subfolders(folder) if split_named(path.name)]
    except UserError:  # the search for class folders reports it
        return []
    found = []
    for place in (folder, *splits):
        try:
            folders = [path for path in subfolders(place) if path not in splits]
            if not all(map(has_only_outputs, folders)):
                return []
            found += [path for path in sorted(place.glob("[!.]*.tar")) if not path.is_dir()]
        except UserError:
            return []
    return found


def _expanded(data: str) -> list[str]:
    if "{" not in data:
        return [data]
    try:
        from braceexpand import braceexpand
    except ImportError as error:
        raise UsageError(
            f"--data {data}: braces need braceexpand; pip install 'inceptcli[shards]', "
            "or give a pattern such as 'train-*.tar'"
        ) from error
    ranges = re.findall(r"\{(-?\d{1,18})\.\.(-?\d{1,18})", data)
    too_many = any(abs(int(last) - int(first)) > MAXIMUM_SHARDS for first, last in ranges)
    try:
        texts = [] if too_many else list(islice(braceexpand(data), MAXIMUM_SHARDS + 1))
    except ValueError as error:
        raise UsageError(f"--data {data}: unbalanced braces") from error
    if too_many or len(texts) > MAXIMUM_SHARDS:
        raise UsageError(f"--data {data}: more than {MAXIMUM_SHARDS} shards")
    return texts


def _split(path: Path) -> Split | None:
    words = (*re.split("[^a-z]+", path.stem.lower()), path.absolute().parent.name)
    said = set(map(split_named, words))
    order: tuple[Split, ...] = ("val", "train", "test")
    return next((split for split in order if split in said), None)
