"""The record in a part's folder: which job it is of, and whether it is finished."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from inceptcli.files.atomic_file import replacing
from inceptcli.files.regular_file import read_regular
from inceptcli.prediction.shares.share import Share
from inceptcli.prediction.shortcuts import Precision, Shortcuts
from inceptcli.recipe.section import Section
from inceptcli.text import utf8

RECORD_NAME = "_part.json"
"""Programs that read a folder of Parquet files pass over names with _ or . in front."""

MOST_BYTES = 2**20
Number = Annotated[int, Field(ge=0, lt=2**62)]


class Finished(Section):
    """What a finished part is checked by.

    Attributes:
        inputs: how many pictures all shards have together.
        inputs_sha256: of their paths in order, as `PathDigest` makes it.
    """

    inputs: Number
    inputs_sha256: str


class PartRecord(Section):
    """The job that a part is of: all that its rows depend on beside the pictures.

    Attributes:
        inceptcli_part: the version of the form.
        share: the share of the pictures.
        format: how its rows are written.
        weights: SHA-256 of each weights file, in order.
        crops: crops of each picture.
        top_k: the most classes that a row names.
        fast_decode: whether JPEGs were decoded no larger than the networks need.
        precision: what the networks computed in.
        finished: None while it is not.
    """

    inceptcli_part: Literal[2] = 2
    share: Share
    format: Literal["jsonl", "parquet"]
    weights: tuple[str, ...]
    crops: Number
    top_k: Number
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


_FLAGS = {
    "share": "--shard",
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
    return str(value)


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


def read_record(folder: Path) -> PartRecord | None:
    """The record of a part; None when there is none that can be read."""
    try:
        found = PartRecord.model_validate_json(read_regular(folder / RECORD_NAME, MOST_BYTES))
    except (OSError, ValueError):
        return None
    return found if 0 <= found.share.number < found.share.num_shards else None


def write_record(folder: Path, record: PartRecord) -> None:
    """Put it into the part's folder, whole or not at all."""
    with replacing(folder / RECORD_NAME) as temporary:
        temporary.write_text(record.model_dump_json(indent=1))


def weights_digests(files: Iterable[Path]) -> tuple[str, ...]:
    """SHA-256 of each file."""
    digests = []
    for path in files:
        with path.open("rb") as file:
            digests.append(hashlib.file_digest(file, "sha256").hexdigest())
    return tuple(digests)
