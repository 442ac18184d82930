"""WebDataset shards as labeled images by number: each is read where it lies in its tar file."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from inceptcli.data.left_out import LeftOut
from inceptcli.data.pixels.decode import MAXIMUM_FILE_BYTES, UnreadableImage, decode
from inceptcli.data.shards.index import ShardIndex, index_of
from inceptcli.errors import UserError
from inceptcli.text import composed, printable

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class ShardSource:
    """Images in tar files; nothing is extracted, and no name in them is ever a path.

    Samples of shards that `data shard` wrote have the order of the folder that they were made
    from, others that of the tar files.

    Attributes:
        classes: Names; a label is a position in this list, 0-based.
        shards: The tar files.
        members: For each, the names of its samples with a NUL between, as bytes: a million strings
            would take several times the room.
        problems: By shard and place in it, why a sample cannot be read.
        shard_of: The number of each sample's shard (N,); so are the following.
        place_of: Its place among the samples of its shard.
        offsets: Where its image starts in the tar file.
        sizes: Bytes of its image.
        labels: Positions in `classes`.
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

    def __len__(self) -> int:
        """How many."""
        return len(self.labels)

    def image(self, index: int, shorter_side: int | None = None) -> NDArray[np.uint8]:
        """Decoded pixels; UnreadableImage when there are none, or the shard ends before them."""
        return decode(self.content(index), shorter_side)

    def content(self, index: int) -> bytes:
        """The image file's bytes; raises as `image`."""
        shard = int(self.shard_of[index])
        problem = self.problems.get((shard, int(self.place_of[index])))
        if problem is not None:
            raise UnreadableImage(problem)
        return read_image(self.shards[shard], int(self.offsets[index]), int(self.sizes[index]))

    def label(self, index: int) -> int:
        """Its class's place among the classes."""
        return int(self.labels[index])

    def name(self, index: int) -> str:
        """Its shard's path and its name there."""
        shard = int(self.shard_of[index])
        member = self.members[shard].split(b"\0")[int(self.place_of[index])]
        return f"{self.shards[shard]}/{member.decode(errors='surrogateescape')}".rstrip("/")

    def files(self) -> list[tuple[str, int]]:
        """Names in the tar files, whatever these are called, and sizes; -1 of what is a problem."""
        members = [names.split(b"\0") for names in self.members]
        columns = (self.shard_of.tolist(), self.place_of.tolist(), self.sizes.tolist())
        return [
            (
                members[shard][place].decode(errors="surrogateescape"),
                -1 if (shard, place) in self.problems else size,
            )
            for shard, place, size in zip(*columns, strict=True)
        ]

    def start(self, index: int, maximum: int) -> bytes:
        """How its image file starts, at most so many bytes; nothing where that cannot be read."""
        shard, size = int(self.shard_of[index]), int(self.sizes[index])
        if (shard, int(self.place_of[index])) in self.problems:
            return b""
        try:
            return read_image(self.shards[shard], int(self.offsets[index]), min(size, maximum))
        except UnreadableImage:
            return b""

    def labeled_for(self, classes: Sequence[str]) -> ShardSource:
        """The same with positions in `classes` as labels, matched by name.

        Raises UserError when a class is not among them.
        """
        label_of = {composed(name): label for label, name in enumerate(classes)}
        unknown = [name for name in self.classes if name not in label_of]
        if unknown:
            raise UserError(
                f"{printable(str(self.shards[0]))}: its class {printable(unknown[0])} is not one "
                f"of the {len(classes)} classes trained ({len(unknown)} of {len(self.classes)} "
                "unknown); these are shards of other classes"
            )
        table = np.array([label_of[name] for name in self.classes], np.int32)
        return replace(self, classes=tuple(classes), labels=table[self.labels])

    def where(self, chosen: NDArray[np.bool_] | NDArray[np.intp]) -> ShardSource:
        """The samples that an index (M,) or a mask (N,) chooses, in its order."""
        columns = ("shard_of", "place_of", "offsets", "sizes", "labels")
        return replace(self, **{name: getattr(self, name)[chosen] for name in columns})

    def digests(self) -> list[bytes | None]:
        """The SHA-256 of each image file's bytes, which are all read; None where that fails."""
        found: list[bytes | None] = []
        for index in range(len(self)):
            try:
                found.append(hashlib.sha256(self.content(index)).digest())
            except UnreadableImage:
                found.append(None)
        return found


class TarImage(NamedTuple):
    """An image in a tar file, by its place there, or why it cannot be read."""

    name: str
    shard: Path
    offset: int
    size: int
    problem: str | None


def images_in(shard: Path, left_out: LeftOut) -> Iterator[TarImage]:
    """All images of one shard in their order, labels or not; `left_out` counts other files."""
    index = index_of(shard, None)
    left_out.update(index.left_out)
    for place, (member, offset, size) in enumerate(
        zip(index.members, index.offsets, index.sizes, strict=True)
    ):
        name = f"{shard}/{member}".rstrip("/")
        yield TarImage(name, shard, offset, size, index.problems.get(place))


def read_image(shard: Path, offset: int, size: int) -> bytes:
    """An image file's bytes; UnreadableImage when the shard ends before them or is not there."""
    if size > MAXIMUM_FILE_BYTES:
        raise UnreadableImage(f"{size} bytes, over the limit of {MAXIMUM_FILE_BYTES}")
    try:
        with shard.open("rb", buffering=0) as file:
            file.seek(offset)
            content = file.read(size)
    except OSError as error:
        raise UnreadableImage(f"its shard cannot be read: {error.strerror}") from error
    if len(content) < size:
        raise UnreadableImage(f"the shard ends after {len(content)} of its {size} bytes")
    return content


def labels_by_name(classes: Sequence[str]) -> dict[str, int]:
    """Places in `classes`, by names as they stand there and in Unicode's form NFC."""
    composed_names = reversed([*enumerate(map(composed, classes))])
    label_of = {name: label for label, name in composed_names}
    return label_of | {name: label for label, name in enumerate(classes)}


def open_shards(shards: Sequence[Path], classes: tuple[str, ...]) -> ShardSource:
    """The samples of all `shards`, whose labels are positions in `classes`.

    Names that differ in Unicode's form only (NFC, NFD) are one class, which has the first's place.

    One notice says which files of the shards are no samples.

    Raises UserError when a label is not, or when none of them can be read.
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
    shard_of, place_of, offsets, sizes, labels, positions = map(
        np.concatenate, zip(*columns, strict=True)
    )
    if len(labels) == len(problems):
        reason = next(iter(problems.values()), "it has no samples")
        raise UserError(f"{printable(str(shards[0]))}: no image in the shards: {reason}")
    if left_out:
        logger.info(f"{printable(str(shards[0].parent))}: {left_out}")
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
    )
    return source.where(np.argsort(positions, kind="stable")) if placed else source


def _columns(number: int, index: ShardIndex) -> tuple[NDArray[np.int64], ...]:
    count = len(index.members)
    places = np.arange(count)
    positions = places if index.positions is None else np.array(index.positions, np.int64)
    return (
        np.full(count, number),
        places,
        np.array(index.offsets, np.int64),
        np.array(index.sizes, np.int64),
        np.array(index.labels, np.int64),
        positions,
    )


def _joined(members: list[str]) -> bytes:
    return b"\0".join(name.replace("\0", "?").encode(errors="surrogateescape") for name in members)
