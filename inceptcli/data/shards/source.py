"""Labeled images in WebDataset shards, read by number from their place in the tar file."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from inceptcli.data.left_out import LeftOut
from inceptcli.data.pixels.decode import MAXIMUM_FILE_BYTES, UnreadableImage, decode
from inceptcli.data.shards.index import BLOCK, ShardIndex, index_of, index_path
from inceptcli.errors import UserError
from inceptcli.text import composed

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class ShardSource:
    """Labeled images in tar files. Nothing is extracted; member names are never used as paths.

    Samples of shards written by `data shard` are in the order of the original folder, other samples
    in the order of the tar files.

    Attributes:
        classes: Class names; a label is a position in this list, 0-based.
        shards: The tar files.
        members: Names of the samples of each shard, separated by NUL. One bytes object per shard
            takes a fraction of the memory of a million strings.
        problems: Why a sample cannot be read, by shard number and place in the shard.
        shard_of: Shard number of each sample, (N,).
        place_of: Place of each sample in its shard, (N,).
        offsets: Byte offset of each image in its tar file, (N,).
        sizes: Size of each image in bytes, (N,).
        labels: Positions in `classes`, (N,).
        recorded: Labels in the shards' indices, -1 without an index, (N,).
    """

    classes: tuple[str, ...]
    shards: tuple[Path, ...]
    members: tuple[bytes, ...]
    problems: dict[tuple[int, int], str]
    shard_of: NDArray[np.int32]
    place_of: NDArray[np.int32]
    offsets: NDArray[np.int64]
    sizes: NDArray[np.int64]
    labels: NDArray[np.int32]
    recorded: NDArray[np.int32]

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.labels)

    def image(self, index: int, shorter_side: int | None = None) -> NDArray[np.uint8]:
        """Return RGB pixels (H, W, 3); raise UnreadableImage for a damaged image or shard."""
        return decode(self.content(index), shorter_side)

    def content(self, index: int) -> bytes:
        """Return the image file's bytes; raise UnreadableImage if they cannot be read."""
        shard = int(self.shard_of[index])
        problem = self.problems.get((shard, int(self.place_of[index])))
        if problem is not None:
            raise UnreadableImage(problem)
        recorded = None
        if (label := int(self.recorded[index])) >= 0:
            recorded = Recorded(self._member(index), label)
        place = int(self.offsets[index]), int(self.sizes[index])
        return read_image(self.shards[shard], *place, recorded)

    def label(self, index: int) -> int:
        """Return the image's label, a position in `classes`."""
        return int(self.labels[index])

    def name(self, index: int) -> str:
        """Return the shard's path followed by the image's name in the shard."""
        member = self._member(index).decode(errors="surrogateescape")
        return f"{self.shards[int(self.shard_of[index])]}/{member}".rstrip("/")

    def _member(self, index: int) -> bytes:
        shard = int(self.shard_of[index])
        place, ends = int(self.place_of[index]), self._name_ends[shard]
        return self.members[shard][ends[place] + 1 : ends[place + 1]]

    @cached_property
    def _name_ends(self) -> tuple[NDArray[np.int64], ...]:
        """Positions of the NULs around each name in `members`, found once per shard."""
        return tuple(map(_nuls_around, self.members))

    def names(self) -> Iterator[str]:
        """Yield each image's name in its shard."""
        return (name for name, _ in self.files())

    def files(self) -> Iterator[tuple[str, int]]:
        """Yield each image's name in its shard and its size in bytes, -1 if unreadable."""
        members = [names.split(b"\0") for names in self.members]
        columns = (self.shard_of.tolist(), self.place_of.tolist(), self.sizes.tolist())
        for shard, place, size in zip(*columns, strict=True):
            name = members[shard][place].decode(errors="surrogateescape")
            yield name, -1 if (shard, place) in self.problems else size

    def start(self, index: int, maximum: int) -> bytes:
        """Return up to `maximum` first bytes of the image file; empty if unreadable."""
        shard, size = int(self.shard_of[index]), int(self.sizes[index])
        if (shard, int(self.place_of[index])) in self.problems:
            return b""
        try:
            return read_image(self.shards[shard], int(self.offsets[index]), min(size, maximum))
        except UnreadableImage:
            return b""

    def labeled_for(self, classes: Sequence[str]) -> ShardSource:
        """Return the same images labeled by position in `classes`, matched by name.

        Raises:
            UserError: a class of the shards is not in `classes`.
        """
        label_of = {composed(name): label for label, name in enumerate(classes)}
        unknown = [name for name in self.classes if name not in label_of]
        if unknown:
            raise UserError(
                f"{self.shards[0]}: its class {unknown[0]} is not one "
                f"of the {len(classes)} trained classes ({len(unknown)} of {len(self.classes)} "
                "unknown); give shards of the same classes"
            )
        table = np.array([label_of[name] for name in self.classes], np.int32)
        return replace(self, classes=tuple(classes), labels=table[self.labels])

    def where(self, chosen: NDArray[np.bool_] | NDArray[np.intp]) -> ShardSource:
        """Return the samples selected by an index array (M,) or a mask (N,), in its order."""
        columns = ("shard_of", "place_of", "offsets", "sizes", "labels", "recorded")
        return replace(self, **{name: getattr(self, name)[chosen] for name in columns})

    def digests(self) -> list[bytes | None]:
        """Read every image file and return its SHA-256, or None if it cannot be read."""
        found: list[bytes | None] = []
        for index in range(len(self)):
            try:
                found.append(hashlib.sha256(self.content(index)).digest())
            except UnreadableImage:
                found.append(None)
        return found


class Recorded(NamedTuple):
    """What the index of a shard says of a sample: the image's name, and the label if it matters."""

    member: bytes
    label: int | None


class TarImage(NamedTuple):
    """Location of an image in a tar file, or `problem`: why it cannot be read."""

    name: str
    shard: Path
    offset: int
    size: int
    problem: str | None
    recorded: Recorded | None

    def content(self) -> bytes:
        """Return the image file's bytes; raise UnreadableImage if they cannot be read."""
        if self.problem is not None:
            raise UnreadableImage(self.problem)
        return read_image(self.shard, self.offset, self.size, self.recorded)


def tar_image(shard: Path, index: ShardIndex, place: int, *, labeled: bool) -> TarImage:
    """Return the image at a place in a shard; `labeled` if its label matters."""
    member, recorded = index.members[place], None
    if index.is_recorded:
        label = index.labels[place] if labeled else None
        recorded = Recorded(member.encode(errors="surrogateescape"), label)
    return TarImage(
        f"{shard}/{member}".rstrip("/"),
        shard,
        index.offsets[place],
        index.sizes[place],
        index.problems.get(place),
        recorded,
    )


def images_in(shard: Path, left_out: LeftOut) -> Iterator[TarImage]:
    """Yield all images of a shard in order, with or without labels; count others in `left_out`."""
    index = index_of(shard, None)
    left_out.update(index.left_out)
    for place in range(len(index.members)):
        yield tar_image(shard, index, place, labeled=False)


def read_image(shard: Path, offset: int, size: int, recorded: Recorded | None = None) -> bytes:
    """Return an image file's bytes.

    Raises UnreadableImage if the shard is missing, too short, or not as `recorded` in its index.
    """
    if size > MAXIMUM_FILE_BYTES:
        raise UnreadableImage(f"{size} bytes, over the limit of {MAXIMUM_FILE_BYTES}")
    before = BLOCK if recorded else 0  # the header
    after = -size % BLOCK + 2 * BLOCK if recorded else 0  # the label file
    try:
        with shard.open("rb", buffering=0) as file:
            file.seek(max(0, offset - before))
            content = file.read(before + size + after)
    except OSError as error:
        raise UnreadableImage(f"its shard cannot be read: {error.strerror}") from error
    if recorded and not _is_as_recorded(content, size, recorded):
        index = index_path(shard).name
        raise UnreadableImage(f"not as in {index}; delete that file if the tar file was changed")
    content = content[before : before + size]
    if len(content) < size:
        raise UnreadableImage(f"the shard ends after {len(content)} of its {size} bytes")
    return content


def _is_as_recorded(content: bytes, size: int, recorded: Recorded) -> bool:
    """Return whether an image's header and its label file are those that `data shard` wrote.

    `content` begins with the header; what a truncated shard lacks counts as equal.
    """
    name, digits = recorded.member.ljust(100, b"\0"), b"%011o\0" % size
    label = content[BLOCK + size + -size % BLOCK + BLOCK :]
    written = label if recorded.label is None else b"%d" % recorded.label
    return (
        name.startswith(content[:100])
        and digits.startswith(content[124:136])
        and written.ljust(BLOCK, b"\0").startswith(label)
    )


def labels_by_name(classes: Sequence[str]) -> dict[str, int]:
    """Map class names to labels; a name is accepted as given and in its NFC form."""
    composed_names = reversed([*enumerate(map(composed, classes))])
    label_of = {name: label for label, name in composed_names}
    return label_of | {name: label for label, name in enumerate(classes)}


def open_shards(shards: Sequence[Path], classes: tuple[str, ...]) -> ShardSource:
    """Open `shards`, whose labels are positions in `classes`.

    Names that differ only in Unicode normalization (NFC, NFD) are one class, at the first name's
    position. Logs one line about files in the shards that are not samples.

    Raises:
        UserError: a label is not a position in `classes`, or no image can be read.
    """
    names, label_of = [*map(composed, classes)], labels_by_name(classes)
    members: list[bytes] = []
    problems: dict[tuple[int, int], str] = {}
    columns: list[tuple[NDArray[np.int64], ...]] = []
    placed, left_out = True, LeftOut()
    for number, shard in enumerate(shards):
        index = index_of(shard, label_of)
        members.append(_joined(index.members))
        left_out.update(index.left_out)
        problems |= {(number, place): reason for place, reason in index.problems.items()}
        placed = placed and index.positions is not None
        columns.append(_columns(number, index))
    shard_of, place_of, offsets, sizes, labels, recorded, positions = map(
        np.concatenate, zip(*columns, strict=True)
    )
    if len(labels) == len(problems):
        reason = next(iter(problems.values()), "it has no samples")
        raise UserError(f"{shards[0]}: no image in the shards: {reason}")
    if left_out:
        logger.info(f"{shards[0].parent}: {left_out}")
    place_of_name = {name: place for place, name in enumerate(dict.fromkeys(names))}
    labels = np.array([place_of_name[name] for name in names])[labels]
    source = ShardSource(
        tuple(place_of_name),
        tuple(shards),
        tuple(members),
        problems,
        shard_of.astype(np.int32),
        place_of.astype(np.int32),
        offsets,
        sizes,
        labels.astype(np.int32),
        recorded.astype(np.int32),
    )
    return source.where(np.argsort(positions, kind="stable")) if placed else source


def _columns(number: int, index: ShardIndex) -> tuple[NDArray[np.int64], ...]:
    count = len(index.members)
    places = np.arange(count)
    positions = places if index.positions is None else np.array(index.positions, np.int64)
    labels = np.array(index.labels, np.int64)
    return (
        np.full(count, number),
        places,
        np.array(index.offsets, np.int64),
        np.array(index.sizes, np.int64),
        labels,
        labels if index.is_recorded else np.full(count, -1),
        positions,
    )


def _nuls_around(names: bytes) -> NDArray[np.int64]:
    inside = np.flatnonzero(np.frombuffer(names, np.uint8) == 0)
    return np.concatenate([[-1], inside, [len(names)]])


def _joined(members: list[str]) -> bytes:
    return b"\0".join(name.replace("\0", "?").encode(errors="surrogateescape") for name in members)
