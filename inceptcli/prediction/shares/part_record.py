"""What lies beside a part of sharded answers: which job it is of, and whether it is finished."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from inceptcli.files.atomic_file import replacing
from inceptcli.files.regular_file import read_regular
from inceptcli.prediction.shares.share import Share
from inceptcli.prediction.shortcuts import Precision, Shortcuts
from inceptcli.recipe.section import Section
from inceptcli.text import utf8

VERSION = 1
MOST_SHARDS = 10**6
MOST_BYTES = 2**20
Number = Annotated[int, Field(ge=0, lt=2**62)]


@dataclass(frozen=True)
class Finished:
    """What a finished part is checked by.

    Attributes:
        rows: how many it has.
        unreadable: how many of them say why there is no answer.
        inputs: how many pictures all shards have together.
        inputs_sha256: of their paths in order, as `PathDigest` makes it.
    """

    rows: int
    unreadable: int
    inputs: int
    inputs_sha256: str


@dataclass(frozen=True)
class PartRecord:
    """The job that a part is of: all that its rows depend on beside the pictures.

    Attributes:
        shard: the share of the pictures.
        format: how its rows are written.
        weights: SHA-256 of each weights file, in order.
        crops: crops of each picture.
        top_k: the most classes that a row names.
        fast_decode: whether JPEGs were decoded no larger than the networks need.
        precision: what the networks computed in.
        finished: None while it is not.
    """

    shard: Share
    format: Literal["jsonl", "parquet"]
    weights: tuple[str, ...]
    crops: int
    top_k: int
    fast_decode: bool = False
    precision: Precision = "32-true"
    finished: Finished | None = None

    @property
    def shortcuts(self) -> Shortcuts:
        """How its rows were computed."""
        return Shortcuts(self.fast_decode, self.precision)

    def difference(self, other: PartRecord, *ignored: str) -> str | None:
        """The first thing that `other` has another value of, in words; None when there is none."""
        for name, flag in _FLAGS.items():
            ours, theirs = getattr(self, name), getattr(other, name)
            if name not in ignored and ours != theirs:
                if name == "weights":
                    return "other weights"
                return f"{flag} {_shown(ours)}, not {_shown(theirs)}"
        return None


class _Finished(Section):
    rows: Number
    unreadable: Number
    inputs: Number
    inputs_sha256: str


class _Record(Section):
    """A record as it stands in a file."""

    inceptcli_part: Literal[1]
    shard: Annotated[
        list[Annotated[int, Field(ge=0, le=MOST_SHARDS)]], Field(min_length=2, max_length=2)
    ]
    format: Literal["jsonl", "parquet"]
    weights: list[str]
    crops: Number
    top_k: Number
    fast_decode: bool
    precision: Precision
    finished: _Finished | None


_FLAGS = {
    "shard": "--shard",
    "weights": "--weights",
    "crops": "--crops",
    "top_k": "--top-k",
    "fast_decode": "--fast-decode",
    "precision": "--precision",
    "format": "--format",
}


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value.number}/{value.num_shards}" if isinstance(value, Share) else str(value)


class PathDigest:
    """SHA-256 of paths in order; bytes that are not UTF-8 count as they are shown."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()

    def add(self, path: str) -> None:
        """A path more."""
        self._digest.update(f"{utf8(path)}\0".encode())

    def hexdigest(self) -> str:
        """Of all so far."""
        return self._digest.hexdigest()


def record_path(part: Path) -> Path:
    """Where the record of a part lies: answers.jsonl.json beside answers.jsonl."""
    return part.with_name(f"{part.name}.json")


def rows_path(part: Path, part_format: str) -> Path:
    """Where the rows of an unfinished part lie: in the part itself, if that is JSON lines."""
    return part if part_format == "jsonl" else part.with_name(f".{part.name}.rows")


def read_record(part: Path) -> PartRecord | None:
    """The record of a part; None when there is none that can be read."""
    try:
        found = _Record.model_validate(json.loads(read_regular(record_path(part), MOST_BYTES)))
        shard = Share(*found.shard)
        if shard.number >= shard.num_shards:
            return None
        values = found.model_dump(exclude={"inceptcli_part", "shard", "weights", "finished"})
        end = found.finished
        finished = None if end is None else Finished(**end.model_dump())
        record = PartRecord(shard=shard, weights=tuple(found.weights), finished=finished, **values)
    except (OSError, ValueError, RecursionError):
        return None
    return record


def write_record(part: Path, record: PartRecord) -> None:
    """Put it beside the part, whole or not at all."""
    with replacing(record_path(part)) as temporary:
        temporary.write_text(json.dumps({"inceptcli_part": VERSION, **asdict(record)}, indent=1))


def weights_digests(files: Iterable[Path]) -> tuple[str, ...]:
    """SHA-256 of each file."""
    digests = []
    for path in files:
        with path.open("rb") as file:
            digests.append(hashlib.file_digest(file, "sha256").hexdigest())
    return tuple(digests)
