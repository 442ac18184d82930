"""Which tar files `--data` means: a brace range, a pattern or a folder of shards. No torch."""

from __future__ import annotations

import glob
import json
import re
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path

from inceptcli.data.folders import has_only_outputs, subfolders
from inceptcli.data.splits import Split, split_named
from inceptcli.data.text_files import text_of
from inceptcli.errors import UsageError, UserError
from inceptcli.files.remote.address import data_address, scheme_of
from inceptcli.text import composed, printable

MAXIMUM_SHARDS = 100_000

MAXIMUM_BYTES = 16 * 1024**2
"""Of a list of class names; ImageNet's 21,841 take half a megabyte."""


def means_shards(data: str) -> bool:
    """Whether `data` means tar shards; a folder with class folders never does."""
    if not scheme_of(data) and Path(data).is_dir():
        return bool(_in_folder(Path(data)))
    return bool(scheme_of(data)) or re.search(r"\.(tar|tgz|tar\.\w+)\W*$", data) is not None


def find_shards(data: str) -> list[Path]:
    """The shards that `data` means: a range such as train-{000..006}.tar in its order, else sorted.

    In a folder those are its own and those of its train/, val/ and test/. A name that exists is
    taken as it is. Shards at https, s3, gs and hf addresses are fetched.

    Raises:
        UsageError: there is none, one is missing, or `data` is neither a path nor such an address.
        UserError: one cannot be fetched.
    """
    if scheme_of(data):
        from inceptcli.data.shards.fetching import fetch_shards

        data_address(data)  # before its braces are expanded
        return fetch_shards(_expanded(data))
    if Path(data).is_dir():
        return _in_folder(Path(data))
    found: dict[Path, None] = {}
    for text in [data] if Path(data).exists() else _expanded(data):
        if Path(text).exists() or not glob.has_magic(text):
            matches = [text]
        else:
            matches = sorted(glob.glob(text))  # noqa: PTH207 (a pattern may be absolute)
        if not matches or not Path(matches[0]).exists():
            raise UsageError(f"--data {printable(text)}: no such file")
        found |= dict.fromkeys(map(Path, matches))
    for path in found:
        if path.suffix != ".tar" or path.is_dir():
            raise UsageError(f"{_shown(path)}: a shard is an uncompressed .tar file")
    return list(found)


def of_split(shards: Sequence[Path], *splits: Split | None) -> list[Path]:
    """Those of the splits that their name or folder says; None is a shard that says nothing.

    Such as train-000.tar, imagenet-validation-00.tar or test/0.tar.
    """
    return [path for path in shards if _split(path) in splits]


def class_list(shards: Iterable[Path]) -> tuple[str, ...]:
    """The class names in the order of the labels, from classes.json or classes.txt beside shards.

    The one (a list) is what `data shard` writes, the other has one name a line; either may lie in
    the folder above. Names are as they stand there: two that differ in Unicode's form only are two
    labels of one class. Raises UserError when there is none, or one that is not a list of names, or
    two that differ.
    """
    lists: dict[tuple[str, ...], tuple[tuple[str, ...], Path]] = {}
    for folder in dict.fromkeys(path.parent for path in shards):
        names, path = _names_near(folder)
        lists.setdefault(tuple(map(composed, names)), (names, path))
    if len(lists) > 1:
        one, other, *_ = (_shown(path) for _, path in lists.values())
        raise UserError(f"{one} and {other} list different classes; give shards of one data set")
    return next(iter(lists.values()))[0]


def _names_near(folder: Path) -> tuple[tuple[str, ...], Path]:
    above = folder.absolute().parent
    for path in (place / name for place in (folder, above) for name in CLASS_FILES):
        if path.is_file():
            return _names_in(path), path
    raise UserError(
        f"{_shown(folder)}: no classes.txt beside the shards; write the class names there, one a "
        "line, in the order of the labels"
    )


CLASS_FILES = ("classes.json", "classes.txt")


def _names_in(path: Path) -> tuple[str, ...]:
    try:
        with path.open("rb") as file:
            content = file.read(MAXIMUM_BYTES + 1)
        if len(content) > MAXIMUM_BYTES:
            raise ValueError(f"more than {MAXIMUM_BYTES} bytes")
        text = text_of(content)
        text.encode()  # classes have names in UTF-8
        names = json.loads(text) if path.suffix == ".json" else text.rstrip().splitlines()
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no list of names"
        raise UserError(f"{_shown(path)}: cannot be read: {reason}") from error
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        raise UserError(f"{_shown(path)}: must list class names, none of them empty")
    if len(set(names)) < len(names) or len(set(map(composed, names))) < 2:
        raise UserError(f"{_shown(path)}: must list at least two names that all differ")
    return tuple(names)


def _in_folder(folder: Path) -> list[Path]:
    """No class folders, or an archive left beside them would be taken for the data."""
    try:
        splits = [path for path in subfolders(folder) if split_named(path.name)]
    except UserError:  # named by whoever looks for class folders in it
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
            f"--data {printable(data)}: braces need braceexpand; pip install 'inceptcli[shards]', "
            "or give a pattern such as 'train-*.tar'"
        ) from error
    ranges = re.findall(r"\{(-?\d{1,18})\.\.(-?\d{1,18})", data)
    too_many = any(abs(int(last) - int(first)) > MAXIMUM_SHARDS for first, last in ranges)
    try:
        texts = [] if too_many else list(islice(braceexpand(data), MAXIMUM_SHARDS + 1))
    except ValueError as error:
        raise UsageError(f"--data {printable(data)}: unbalanced braces") from error
    if too_many or len(texts) > MAXIMUM_SHARDS:
        raise UsageError(f"--data {printable(data)}: more than {MAXIMUM_SHARDS} shards")
    return texts


def _split(path: Path) -> Split | None:
    words = (*re.split("[^a-z]+", path.stem.lower()), path.absolute().parent.name)
    said = set(map(split_named, words))
    order: tuple[Split, ...] = ("val", "train", "test")
    return next((split for split in order if split in said), None)


def _shown(path: Path) -> str:
    return printable(str(path))
