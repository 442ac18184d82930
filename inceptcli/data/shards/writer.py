"""Write one WebDataset shard and its index atomically, and verify it. No torch."""

from __future__ import annotations

import glob
import hashlib
import json
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

from inceptcli.data.pixels.decode import UnreadableImage, decode
from inceptcli.data.pixels.image_formats import START_BYTES, SUFFIXES, SUFFIXES_OF, format_in
from inceptcli.data.shards.index import (
    MAXIMUM_INDEX_BYTES,
    VERSION,
    ShardIndex,
    index_path,
    read_index,
    scan,
)
from inceptcli.errors import UserError
from inceptcli.files.atomic_file import remove_abandoned, replacing
from inceptcli.files.regular_file import sha256_of


class ImageToWrite(NamedTuple):
    """An image to write: its position in the folder's order, its relative path and its label."""

    position: int
    path: str
    label: int


class ShardToWrite(NamedTuple):
    """A shard to write from files below `root`; labels are positions in `classes`."""

    shard: Path
    root: Path
    entries: tuple[ImageToWrite, ...]
    classes: tuple[str, ...]


class UnreadableFile(NamedTuple):
    """An image that cannot be read, and the reason."""

    path: str
    reason: str


class Written(NamedTuple):
    """A finished shard; `images` is the number of images in it."""

    path: Path
    images: int
    bytes: int
    sha256: str
    left_out: tuple[UnreadableFile, ...]


def write_shard(task: ShardToWrite) -> Written:
    """Write a shard and its index, unless both exist and were made from the same files.

    Image files are copied unchanged. A shard is written again if it was changed, or if an image
    that it lacks can be read now: an extra was installed, or a permission given.

    Raises:
        UserError: a file cannot be written or does not read back as written.
    """
    made_from = _made_from(task)
    there = read_index(task.shard)
    if (
        there is None
        or there.get("made_from") != made_from
        or _size(task.shard) != there["bytes"]
        or _is_changed(task.shard, there["sha256"])
        or any(_is_readable(task.root / path) for path, _ in there["left_out"])
    ):
        there = {**_write(task), "made_from": made_from}
        path = index_path(task.shard)
        with _explained(path), replacing(path) as temporary:
            text = json.dumps(there)
            if len(text) > MAXIMUM_INDEX_BYTES:
                raise UserError(
                    f"{path}: an index of {len(text)} bytes, over the limit of "
                    f"{MAXIMUM_INDEX_BYTES}; give a smaller --size or --count"
                )
            temporary.write_text(text)
    left_out = tuple(
        UnreadableFile(str(task.root / path), reason) for path, reason in there["left_out"]
    )
    return Written(task.shard, len(there["labels"]), there["bytes"], there["sha256"], left_out)


def _is_changed(shard: Path, sha256: str) -> bool:
    """Return whether a shard has another hash; one older than its index is not read for it."""
    written = index_path(shard).stat().st_mtime_ns
    return shard.stat().st_mtime_ns >= written and sha256_of(shard) != sha256


def _is_readable(file: Path) -> bool:
    try:
        decode(file)
    except (UnreadableImage, OSError):
        return False
    return True


def _made_from(task: ShardToWrite) -> str:
    """Hash the names, sizes and modification times of the files that go into a shard."""
    lines = [json.dumps([VERSION, *task.classes])]
    for entry in task.entries:
        try:
            status = (task.root / entry.path).stat()
            lines.append(json.dumps([*entry, status.st_size, status.st_mtime_ns]))
        except OSError:
            lines.append(json.dumps([*entry, None]))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _write(task: ShardToWrite) -> dict[str, Any]:
    """Write the tar file and return its index, without `made_from`."""
    with _explained(task.shard):
        for path in (task.shard, index_path(task.shard)):
            remove_abandoned(path.parent, glob.escape(path.name))
        index_path(task.shard).unlink(missing_ok=True)  # never leave it beside another shard
        with replacing(task.shard) as temporary:
            files, digests, left_out = _fill(temporary, task)
            index = _read_back(temporary, task, digests)
            sha256 = sha256_of(temporary)
        size = task.shard.stat().st_size
    return {
        "inceptcli_shard": VERSION,
        "bytes": size,
        "sha256": sha256,
        "left_out": left_out,
        "members": index.members,
        "offsets": index.offsets,
        "sizes": index.sizes,
        "labels": index.labels,
        "positions": [int(member.partition(".")[0]) for member in index.members],
        "files": files,
    }


def _fill(path: Path, task: ShardToWrite) -> tuple[list[str], list[str], list[UnreadableFile]]:
    """Write the samples; return their paths and hashes, and the unreadable files."""
    files, digests, left_out = [], [], []
    with tarfile.TarFile(path, "w", format=tarfile.USTAR_FORMAT) as archive:
        for entry in task.entries:
            file = task.root / entry.path
            try:
                decode(file)
                content = file.read_bytes()
            except (UnreadableImage, OSError) as error:
                left_out.append(UnreadableFile(entry.path, str(error)))
                continue
            key = f"{entry.position:08}"
            for suffix, data in (
                (_suffix(file, content), content),
                (".cls", str(entry.label).encode()),
            ):
                member = tarfile.TarInfo(key + suffix)
                member.size = len(data)
                archive.addfile(member, BytesIO(data))
            files.append(entry.path)
            digests.append(hashlib.sha256(content).hexdigest())
    return files, digests, left_out


def _suffix(file: Path, content: bytes) -> str:
    """Return the suffix of an image; its format's if there is none or it is any text after a dot.

    Such a text may be too long for a tar file's header.
    """
    if (suffix := file.suffix.lower()) in SUFFIXES:
        return suffix
    return max(SUFFIXES_OF.get(format_in(content[:START_BYTES]) or "", {""}))  # .jpg of JPEG's


def _read_back(path: Path, task: ShardToWrite, digests: list[str]) -> ShardIndex:
    index = scan(path, {name: label for label, name in enumerate(task.classes)})
    with path.open("rb") as file:
        found = []
        for offset, size in zip(index.offsets, index.sizes, strict=True):
            file.seek(offset)
            found.append(hashlib.sha256(file.read(size)).hexdigest())
    label_at = {entry.position: entry.label for entry in task.entries}
    labels = [label_at[int(member.partition(".")[0])] for member in index.members]
    if found != digests or index.labels != labels:
        raise UserError(f"{task.shard}: does not read back as it was written")
    return index


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror}") from error
