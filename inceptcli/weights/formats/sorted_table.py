"""Reader of LevelDB's sorted tables (keys and values), in which TensorFlow stores checkpoints.

Source: https://github.com/google/leveldb/blob/main/doc/table_format.md
"""

from __future__ import annotations

from collections.abc import Iterator
from mmap import mmap
from pathlib import Path
from struct import unpack_from
from typing import NamedTuple

from inceptcli.weights.formats.crc32c import crc32c, masked
from inceptcli.weights.formats.protobuf import varint

MAGIC = 0xDB4775248B80FB57.to_bytes(8, "little")
FOOTER, TRAILER = 48, 5
PLAIN, SNAPPY = 0, 1
"""Compression methods of a block."""

LONGEST_KEY = 4096
MOST_ENTRIES = 100_000
"""Limit; a training checkpoint of the largest network has about 5,000."""


class TableEntry(NamedTuple):
    """A key, and the start and end of its value in the file."""

    key: bytes
    start: int
    end: int


class Block(NamedTuple):
    """Start and end of a block, without its trailer."""

    start: int
    end: int


def is_sorted_table(path: Path) -> bool:
    """Return whether the file ends with the magic number of a sorted table."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - len(MAGIC)))
        return size >= FOOTER and file.read() == MAGIC


def entries(data: mmap) -> Iterator[TableEntry]:
    """Yield the entries of the table in a mapped file, in the order of keys.

    Raises ValueError if the table is damaged (checksums are verified) or compressed.
    """
    if len(data) < FOOTER or data[-len(MAGIC) :] != MAGIC:
        raise ValueError("it is truncated")
    _, place = _block(data, len(data) - FOOTER)  # skip the metaindex, which TensorFlow leaves empty
    index, _ = _block(data, place)
    left, count = len(data), 0
    for place_of_block in _entries(data, index):
        block, _ = _block(data, place_of_block.start)
        left -= block.end - block.start
        if left < 0:
            raise ValueError("its blocks overlap")
        for entry in _entries(data, block):
            count += 1
            if count > MOST_ENTRIES:
                raise ValueError(f"it has over {MOST_ENTRIES} entries")
            yield entry


def _block(data: mmap, place: int) -> tuple[Block, int]:
    start, place = varint(data, place, len(data))
    size, place = varint(data, place, len(data))
    return Block(start, start + size), place


def _entries(data: mmap, block: Block) -> Iterator[TableEntry]:
    start, end = block
    if end + TRAILER > len(data):
        raise ValueError(f"a block ends {end + TRAILER - len(data)} bytes after the file")
    compression, checksum = unpack_from("<BI", data, end)
    if masked(crc32c(data, start, end + 1)) != checksum:
        raise ValueError(f"the checksum of the block at byte {start} differs")
    if compression != PLAIN:
        kind = "snappy" if compression == SNAPPY else f"method {compression}"
        raise ValueError(f"it is compressed by {kind}, which is not supported")
    restarts = unpack_from("<I", data, end - 4)[0] if end - start >= 4 else 0
    if (end := end - 4 * (restarts + 1)) < start:
        raise ValueError("a block is too short")
    key, place = b"", start
    while place < end:
        shared, place = varint(data, place, end)
        added, place = varint(data, place, end)
        size, place = varint(data, place, end)
        value = place + added
        if shared > len(key) or shared + added > LONGEST_KEY or value + size > end:
            raise ValueError("a key or a value is longer than its block")
        key = key[:shared] + data[place:value]
        place = value + size
        yield TableEntry(key, value, place)
