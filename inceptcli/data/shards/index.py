"""Where the samples of a WebDataset shard lie: by its index, else by its headers. No torch."""

from __future__ import annotations

import json
import re
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from inceptcli.data.left_out import LeftOut
from inceptcli.data.pixels.image_formats import START_BYTES, SUFFIXES, format_in, has_suffix
from inceptcli.errors import UserError
from inceptcli.files.regular_file import read_regular
from inceptcli.text import composed, printable

VERSION = 1
"""Of the index that `data shard` writes beside each shard."""

MAXIMUM_LABEL_BYTES = 1024**2
MAXIMUM_INDEX_BYTES = 64 * 1024**2
"""Of 400,000 samples."""

LONGEST_HEADER = 2**17
"""Bytes of names and attributes that a tar file may have before a member."""

BLOCK = 512


@dataclass
class ShardIndex:
    """The samples of one shard.

    Attributes:
        members: Name of each sample's image in the tar file; the shard's own where it ends early.
        offsets: Where the image's bytes start.
        sizes: How many bytes it has.
        labels: Places in the list of classes.
        problems: By place, why a sample cannot be read; its other entries mean nothing.
        positions: The samples' places in the folder they came from; None where nobody noted them.
        left_out: Files of the shard that are no samples.
    """

    members: list[str] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    problems: dict[int, str] = field(default_factory=dict)
    positions: list[int] | None = None
    left_out: LeftOut = field(default_factory=LeftOut)

    def add(self, member: str, offset: int, size: int, label: int) -> None:
        """A sample more."""
        self.members.append(member)
        self.offsets.append(offset)
        self.sizes.append(size)
        self.labels.append(label)

    def add_problem(self, member: str, reason: str) -> None:
        """A sample that cannot be read, or what a shard lost with its end."""
        self.problems[len(self.members)] = reason
        self.add(member, 0, 0, 0)


class Member(NamedTuple):
    """A file in a tar file: its name is `key`.`suffix`, or `key` alone.

    `is_image` is by its name, or by its content where that has no suffix. `problem` is why it has
    no bytes of its own.
    """

    name: str
    key: str
    suffix: str
    offset: int
    size: int
    is_image: bool
    problem: str | None


class _Headers:
    """A tar file for whoever reads its headers: these are short."""

    def __init__(self, file: Any) -> None:
        self.seek, self.tell, self._file = file.seek, file.tell, file

    def read(self, size: int) -> bytes:
        """So many bytes; ReadError for more than a header has."""
        if size > LONGEST_HEADER:
            raise tarfile.ReadError(f"a header of {size} bytes")
        found: bytes = self._file.read(size)
        return found


class _Ended(Exception):  # noqa: N818 - it names what was met
    """A shard ends before its end, or goes on with what is no tar file; the message says how."""


def index_path(shard: Path) -> Path:
    """Where the index of a shard lies that `data shard` wrote."""
    return shard.with_name(f"{shard.name}.json")


def read_index(shard: Path) -> dict[str, Any] | None:
    """The index that lies beside a shard; None when there is none, or none of this shard.

    A shard shorter than its index says is its own: it was cut.
    """
    try:
        values = json.loads(read_regular(index_path(shard), MAXIMUM_INDEX_BYTES))
        if values["inceptcli_shard"] != VERSION or shard.stat().st_size > values["bytes"]:
            return None
        columns = [values[name] for name in ("members", "positions", "offsets", "sizes", "labels")]
        numbers = [number for column in columns[1:] for number in column]
        valid = (
            len({len(column) for column in columns}) == 1
            and all(isinstance(member, str) and _encodes(member) for member in columns[0])
            and all(isinstance(number, int) and 0 <= number < 2**62 for number in numbers)
            and sum(values["sizes"]) <= values["bytes"] < 2**62  # or samples share their bytes
        )
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return values if valid else None


def _encodes(name: str) -> bool:
    """Whether it may come from a file's name; other lone surrogates do not."""
    try:
        name.encode(errors="surrogateescape")
    except UnicodeEncodeError:
        return False
    return True


def index_of(shard: Path, label_of: Mapping[str, int] | None) -> ShardIndex:
    """The samples of a shard in their order; `label_of` has the classes' names and labels.

    With None nobody asks for labels, and samples need none.

    Read from the index beside it, else from the headers of the tar file, which takes a read per
    member. What is broken is among the samples as a problem, and the end of a cut shard as one.

    Raises UserError for a label that the list of classes does not have.
    """
    values = read_index(shard)
    if values is None:
        return scan(shard, label_of)
    labels = values["labels"]
    if label_of is not None and labels and max(labels) >= _number_of(label_of):
        raise UserError(_unknown_label(shard, max(labels), label_of))
    return ShardIndex(
        values["members"],
        values["offsets"],
        values["sizes"],
        labels,
        positions=values["positions"],
    )


def scan(shard: Path, label_of: Mapping[str, int] | None) -> ShardIndex:
    """As `index_of`, from the tar headers alone.

    Files next to each other with one key are a sample; a key ends at the first dot of the name, as
    the webdataset library has it. The label is in .cls, a number, or under `label` in .json, a
    number or a name. An image has the label of the same name (img.v2.jpg that of img.v2.cls), else
    the sample's, which goes to one image, the first of those with the fewest dots in their names.
    Where nobody asks for labels, every image is a sample.
    """
    index = ShardIndex()
    try:
        if shard.exists() and not shard.is_file():
            index.add_problem("", "not a regular file")
            return index
        with shard.open("rb") as file:
            sample: list[Member] = []
            try:
                for member in _members(file, index.left_out):
                    if sample and member.key != sample[0].key:
                        _add(index, shard, file, sample, label_of)
                        sample = []
                    sample.append(member)
            finally:
                if sample:
                    _add(index, shard, file, sample, label_of)
    except _Ended as error:
        index.add_problem("", str(error))
    except OSError as error:
        index.add_problem("", f"cannot be read: {error.strerror}")
    return index


def _members(file: Any, left_out: LeftOut) -> Iterator[Member]:
    """The files of a tar file; raises _Ended when it does not end as one does.

    `left_out` counts what is hidden or a storage box's own.
    """
    try:
        archive = tarfile.TarFile(fileobj=_Headers(file))  # type: ignore[arg-type]
        end = -1
        while (entry := archive.next()) is not None:
            archive.members = []  # type: ignore[attr-defined]  # or all of them are kept
            if entry.size < 0 or archive.offset <= end:
                raise _Ended("a damaged tar header; what follows is lost")
            end = archive.offset
            if entry.isdir() or entry.ischr() or entry.isblk() or entry.isfifo():
                continue
            if not left_out.passes_over(entry.name):
                yield _member(file, entry)
        end = archive.offset
    except _Ended:
        raise
    except Exception as error:  # tarfile raises ReadError, and others for what is no tar file
        raise _Ended(f"the shard ends early or is damaged: {printable(str(error))}") from error
    file.seek(end)
    block = file.read(BLOCK)
    if len(block) < BLOCK:
        raise _Ended("the shard ends early: a tar file's end mark is missing")
    if block.strip(b"\0"):
        raise _Ended(f"no tar header at byte {end}; what follows is lost")


def _member(file: Any, entry: tarfile.TarInfo) -> Member:
    parts = re.fullmatch(r"((?:.*/)?[^./]*)\.?([^/]*)", entry.name, re.DOTALL)
    assert parts
    problem = None
    if entry.islnk() or entry.issym():
        problem = f"a link to {printable(entry.linkname)} in the tar file; write it with tar -h"
        problem += " --hard-dereference"
    elif entry.issparse():
        problem = "a sparse file in the tar file"
    suffix = PurePosixPath(entry.name).suffix.lower()
    is_image = suffix in SUFFIXES
    if not is_image and not has_suffix(entry.name) and not problem:
        file.seek(entry.offset_data)
        is_image = format_in(file.read(min(START_BYTES, entry.size))) is not None
    return Member(entry.name, parts[1], parts[2], entry.offset_data, entry.size, is_image, problem)


def _add(
    index: ShardIndex,
    shard: Path,
    file: Any,
    sample: list[Member],
    label_of: Mapping[str, int] | None,
) -> None:
    labels = {
        member.suffix.lower(): member
        for member in sample
        if PurePosixPath(member.name).suffix.lower() in _LABELS and not member.is_image
    }
    images = [member for member in sample if member.is_image]
    others = [member for member in sample if not member.is_image and member not in labels.values()]
    if labels and not images:
        index.add_problem(sample[0].name, "a sample without an image")
        others = [member for member in others if member != sample[0]]
    for member in others:
        index.left_out.add_file(member.name)
    for image, label_file in _labeled(index, images, labels, wants_labels=label_of is not None):
        if image.problem:
            index.add_problem(image.name, image.problem)
            continue
        try:
            label = 0 if label_of is None else _label(file, label_file, label_of)
        except (ValueError, OSError) as error:
            index.add_problem(image.name, printable(str(error)))
            continue
        if label_of is not None and not 0 <= label < _number_of(label_of):
            raise UserError(_unknown_label(shard, label, label_of))
        index.add(image.name, image.offset, image.size, label)


_LABELS = (".cls", ".json")
"""Suffixes of labels; the first of them that a sample has counts."""


def _labeled(
    index: ShardIndex, images: list[Member], labels: Mapping[str, Member], *, wants_labels: bool
) -> Iterator[tuple[Member, Member | None]]:
    """The images of a sample that are samples of their own, and the label of each, if it has one.

    An image for which there is no label left is counted as left out.
    """
    shared = None
    if wants_labels and any(suffix in labels for suffix in ("cls", "json")):
        without = [image for image in images if _own_label(image, labels) is None]
        shared = min(without, key=lambda image: image.suffix.count("."), default=None)
    for image in images:
        own = _own_label(image, labels)
        if shared is None or own is not None or image is shared:
            yield image, own or labels.get("cls") or labels.get("json")
        else:
            index.left_out.add_file(image.name, f"beside the image of a sample ({image.suffix})")


def _own_label(image: Member, labels: Mapping[str, Member]) -> Member | None:
    """The label of `img.v2.jpg` in `img.v2.cls`."""
    stem, dot, _ = image.suffix.lower().rpartition(".")
    found = (labels.get(f"{stem}{suffix}") for suffix in _LABELS) if dot else ()
    return next(filter(None, found), None)


def _label(file: Any, member: Member | None, label_of: Mapping[str, int]) -> int:
    """The label in a file of a sample; ValueError says why there is none."""
    if member is None:
        raise ValueError("a sample without a label: neither .cls nor .json")
    file.seek(member.offset)
    text = file.read(min(member.size, MAXIMUM_LABEL_BYTES))
    if member.name.lower().endswith(".cls"):
        if not re.fullmatch(rb"\s*[0-9]{1,9}\s*", text):
            raise ValueError(f"its .cls must be a number from 0, got {text[:20]!r}")
        return int(text)
    try:
        label = json.loads(text)["label"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError("its .json must have a label") from error
    if isinstance(label, str):
        label = label_of.get(label, label_of.get(composed(label), label))
    if not isinstance(label, int) or isinstance(label, bool):
        raise ValueError(f"label of its .json must be a class, got {str(label)[:20]!r}")
    return label


def _number_of(label_of: Mapping[str, int]) -> int:
    """How many labels there are; a class may have two names."""
    return max(label_of.values(), default=-1) + 1


def _unknown_label(shard: Path, label: int, label_of: Mapping[str, int]) -> str:
    return (
        f"{printable(str(shard))}: label {label}, but the list of classes beside the shards has "
        f"{_number_of(label_of)}"
    )
