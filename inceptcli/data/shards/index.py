"""Locate the samples of a WebDataset shard from its index or its tar headers. No torch."""

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
"""Format version of the index that `data shard` writes beside each shard."""

MAXIMUM_LABEL_BYTES = 1024**2
MAXIMUM_INDEX_BYTES = 64 * 1024**2
"""Enough for 400,000 samples."""

LONGEST_HEADER = 2**17
"""Maximum size of a tar member's header, names and attributes included, in bytes."""

BLOCK = 512


@dataclass
class ShardIndex:
    """The samples of one shard.

    Attributes:
        members: Name of each sample's image in the tar file; empty for an error of the shard.
        offsets: Byte offset of each image in the tar file.
        sizes: Size of each image in bytes.
        labels: Positions in the list of classes, 0-based.
        problems: Why a sample cannot be read, by its number; its offset, size and label are 0.
        positions: Positions of the samples in the original folder; None if not recorded.
        left_out: Files in the shard that are not samples.
    """

    members: list[str] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    problems: dict[int, str] = field(default_factory=dict)
    positions: list[int] | None = None
    left_out: LeftOut = field(default_factory=LeftOut)

    @property
    def is_recorded(self) -> bool:
        """Whether the samples are those of an index beside the shard."""
        return self.positions is not None

    def add(self, member: str, offset: int, size: int, label: int) -> None:
        """Append a sample."""
        self.members.append(member)
        self.offsets.append(offset)
        self.sizes.append(size)
        self.labels.append(label)

    def add_problem(self, member: str, reason: str) -> None:
        """Append a sample that cannot be read, or the missing end of a damaged shard."""
        self.problems[len(self.members)] = reason
        self.add(member, 0, 0, 0)


class Member(NamedTuple):
    """A file in a tar file, named `key`.`suffix` or just `key`.

    `is_image` depends on the suffix, or on the first bytes if there is none. `problem` explains why
    a link or a sparse file cannot be read.
    """

    name: str
    key: str
    suffix: str
    offset: int
    size: int
    is_image: bool
    problem: str | None


class _Headers:
    """A file object for tarfile that limits the size of a header."""

    def __init__(self, file: Any) -> None:
        self.seek, self.tell, self._file = file.seek, file.tell, file

    def read(self, size: int) -> bytes:
        """Read `size` bytes; raise ReadError above LONGEST_HEADER."""
        if size > LONGEST_HEADER:
            raise tarfile.ReadError(f"a header of {size} bytes")
        found: bytes = self._file.read(size)
        return found


class _DamagedShard(Exception):  # noqa: N818 - it names a condition of the shard
    """The shard is truncated or damaged; the message is the reason."""


def index_path(shard: Path) -> Path:
    """Return the path of the index that `data shard` writes beside a shard."""
    return shard.with_name(f"{shard.name}.json")


def read_index(shard: Path) -> dict[str, Any] | None:
    """Return the index beside a shard; None if it is missing, invalid or of another shard.

    A shard shorter than recorded still matches its index: it was truncated. Samples that are not as
    in the index are noticed when they are read.
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
            and sum(values["sizes"]) <= values["bytes"] < 2**62  # else samples overlap
            and _is_last(shard, *max(zip(*columns[2:4], strict=True), default=(0, 0)))
        )
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return values if valid else None


def _is_last(shard: Path, offset: int, size: int) -> bool:
    """Return whether nothing follows an image and its label file, which takes two blocks."""
    with shard.open("rb", buffering=0) as file:
        file.seek(offset + size + -size % BLOCK + 2 * BLOCK if offset else 0)
        return not file.read(BLOCK).strip(b"\0")


def _encodes(name: str) -> bool:
    """Return whether a name has no lone surrogates except those of undecodable bytes."""
    try:
        name.encode(errors="surrogateescape")
    except UnicodeEncodeError:
        return False
    return True


def index_of(shard: Path, label_of: Mapping[str, int] | None) -> ShardIndex:
    """Return the samples of a shard in order.

    Reads the index beside the shard; without one, reads the tar headers, which takes one read per
    member. Broken samples and the missing end of a truncated shard are listed as problems.

    Args:
        shard: The tar file.
        label_of: Labels by class name; None if labels are not needed.

    Raises:
        UserError: a label is not in the list of classes.
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
    """Read the samples of a shard from its tar headers alone; see `index_of`.

    Consecutive files with the same key form a sample. As in the webdataset library, a key ends at
    the first dot of the name. The label is a number in .cls, or a number or class name under
    `label` in .json. An image takes the label of the same name (img.v2.jpg that of img.v2.cls).
    The sample's own label goes to one of the other images: the first with the fewest dots in its
    name. Without `label_of`, every image is a sample.
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
    except _DamagedShard as error:
        index.add_problem("", str(error))
    except OSError as error:
        index.add_problem("", f"cannot be read: {error.strerror}")
    return index


def _members(file: Any, left_out: LeftOut) -> Iterator[Member]:
    """Yield the files of a tar file; raise _DamagedShard if it is truncated or damaged.

    Hidden files and those in storage folders are counted in `left_out`.
    """
    try:
        archive = tarfile.TarFile(fileobj=_Headers(file))  # type: ignore[arg-type]
        end = -1
        while (entry := archive.next()) is not None:
            archive.members = []  # type: ignore[attr-defined]  # else all are kept in memory
            if entry.size < 0 or archive.offset <= end:
                raise _DamagedShard("a damaged tar header; what follows is lost")
            end = archive.offset
            if entry.isdir() or entry.ischr() or entry.isblk() or entry.isfifo():
                continue
            if not left_out.passes_over(entry.name):
                yield _member(file, entry)
        end = archive.offset
    except _DamagedShard:
        raise
    except Exception as error:  # tarfile raises more than ReadError
        raise _DamagedShard(f"the shard ends early or is damaged: {error}") from error
    file.seek(end)
    block = file.read(BLOCK)
    if len(block) < BLOCK:
        raise _DamagedShard("the shard ends early: a tar file's end mark is missing")
    if block.strip(b"\0"):
        raise _DamagedShard(f"no tar header at byte {end}; what follows is lost")


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
            index.add_problem(image.name, printable(error))
            continue
        if label_of is not None and not 0 <= label < _number_of(label_of):
            raise UserError(_unknown_label(shard, label, label_of))
        index.add(image.name, image.offset, image.size, label)


_LABELS = (".cls", ".json")
"""Suffixes of label files, in order of precedence."""


def _labeled(
    index: ShardIndex, images: list[Member], labels: Mapping[str, Member], *, wants_labels: bool
) -> Iterator[tuple[Member, Member | None]]:
    """Yield the images to index from a sample, each with its label file if any.

    An image that no label remains for is counted as left out.
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
    """Return the label file of the image's own name, such as `img.v2.cls` for `img.v2.jpg`."""
    stem, dot, _ = image.suffix.lower().rpartition(".")
    found = (labels.get(f"{stem}{suffix}") for suffix in _LABELS) if dot else ()
    return next(filter(None, found), None)


def _label(file: Any, member: Member | None, label_of: Mapping[str, int]) -> int:
    """Return the label in a label file; raise ValueError with the reason if there is none."""
    if member is None:
        raise ValueError("a sample without a label: neither .cls nor .json")
    file.seek(member.offset)
    text = file.read(min(member.size, MAXIMUM_LABEL_BYTES))
    if member.name.lower().endswith(".cls"):
        if not re.fullmatch(rb"\s*[0-9]{1,9}\s*", text):
            raise ValueError(f"its .cls must be a number of at least 0, got {text[:20]!r}")
        return int(text)
    try:
        label = json.loads(text)["label"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError("its .json must have a label") from error
    if isinstance(label, str):
        label = label_of.get(label, label_of.get(composed(label), label))
    if not isinstance(label, int) or isinstance(label, bool):
        raise ValueError(f"label in its .json must be a class, got {str(label)[:20]!r}")
    return label


def _number_of(label_of: Mapping[str, int]) -> int:
    """Return the number of labels; a class may have two names."""
    return max(label_of.values(), default=-1) + 1


def _unknown_label(shard: Path, label: int, label_of: Mapping[str, int]) -> str:
    return (
        f"{shard}: label {label}, but the list of classes beside the shards has "
        f"{_number_of(label_of)}"
    )
