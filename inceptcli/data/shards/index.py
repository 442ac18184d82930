"""Where the samples of a WebDataset shard lie: by its index, else by its headers. No torch."""

from __future__ import annotations

import json
import re
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from inceptcli.data.decode import SUFFIXES
from inceptcli.errors import UserError
from inceptcli.text import printable

VERSION = 1
"""Of the index that `data shard` writes beside each shard."""

MAXIMUM_LABEL_BYTES = 1024**2
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
    """

    members: list[str] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    problems: dict[int, str] = field(default_factory=dict)
    positions: list[int] | None = None

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
    """A file in a tar file: its name is `key`.`suffix`."""

    name: str
    key: str
    suffix: str
    offset: int
    size: int


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
        if not index_path(shard).is_file():  # a pipe would be waited for
            return None
        with index_path(shard).open("rb") as file:
            values = json.load(file)
        if values["inceptcli_shard"] != VERSION or shard.stat().st_size > values["bytes"]:
            return None
        columns = [values[name] for name in ("members", "positions", "offsets", "sizes", "labels")]
        numbers = [number for column in columns[1:] for number in column]
        valid = (
            len({len(column) for column in columns}) == 1
            and all(isinstance(member, str) and _encodes(member) for member in columns[0])
            and all(isinstance(number, int) and 0 <= number < 2**62 for number in numbers)
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
    if label_of is not None and labels and max(labels) >= len(label_of):
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
    the webdataset library has it. The image is the first file with an image's suffix. The label is
    in .cls, a number, or under `label` in .json, a number or a name.
    """
    index = ShardIndex()
    if shard.exists() and not shard.is_file():
        index.add_problem("", "not a regular file")
        return index
    try:
        with shard.open("rb") as file:
            sample: list[Member] = []
            try:
                for member in _members(file):
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


def _members(file: Any) -> Iterator[Member]:
    """The regular files of a tar file; raises _Ended when it does not end as one does."""
    try:
        archive = tarfile.TarFile(fileobj=file)
        end = -1
        while (entry := archive.next()) is not None:
            archive.members = []  # type: ignore[attr-defined]  # or all of them are kept
            if entry.size < 0 or archive.offset <= end:
                raise _Ended("a damaged tar header; what follows is lost")
            end = archive.offset
            parts = re.fullmatch(r"((?:.*/)?[^./]+)\.([^/]*)", entry.name, re.DOTALL)
            if parts and entry.isreg() and not entry.issparse():
                yield Member(entry.name, parts[1], parts[2], entry.offset_data, entry.size)
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


def _add(
    index: ShardIndex,
    shard: Path,
    file: Any,
    sample: list[Member],
    label_of: Mapping[str, int] | None,
) -> None:
    images = [member for member in sample if f".{member.suffix.lower()}" in SUFFIXES]
    if not images:
        index.add_problem(sample[0].name, "a sample without an image")
        return
    image = images[0]
    if label_of is None:
        index.add(image.name, image.offset, image.size, 0)
        return
    try:
        label = _label(file, sample, label_of)
    except (ValueError, OSError) as error:
        index.add_problem(image.name, printable(str(error)))
        return
    if not 0 <= label < len(label_of):
        raise UserError(_unknown_label(shard, label, label_of))
    index.add(image.name, image.offset, image.size, label)


def _label(file: Any, sample: list[Member], label_of: Mapping[str, int]) -> int:
    """The sample's label; ValueError says why there is none."""
    texts = {member.suffix.lower(): member for member in sample}
    member = texts.get("cls") or texts.get("json")
    if member is None:
        raise ValueError("a sample without a label: neither .cls nor .json")
    file.seek(member.offset)
    text = file.read(min(member.size, MAXIMUM_LABEL_BYTES))
    if member.suffix.lower() == "cls":
        if not re.fullmatch(rb"\s*[0-9]{1,9}\s*", text):
            raise ValueError(f"its .cls must be a number from 0, got {text[:20]!r}")
        return int(text)
    try:
        label = json.loads(text)["label"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError("its .json must have a label") from error
    label = label_of.get(label, label) if isinstance(label, str) else label
    if not isinstance(label, int) or isinstance(label, bool):
        raise ValueError(f"label of its .json must be a class, got {str(label)[:20]!r}")
    return label


def _unknown_label(shard: Path, label: int, label_of: Mapping[str, int]) -> str:
    return (
        f"{printable(str(shard))}: label {label}, but the list of classes beside the shards has "
        f"{len(label_of)}"
    )
