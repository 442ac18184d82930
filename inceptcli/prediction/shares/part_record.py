"""The record in a part's folder: the job that it belongs to, and whether it is finished."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from inceptcli.files.atomic_file import replacing
from inceptcli.files.regular_file import read_regular
from inceptcli.prediction.recorded_options import DEFAULT_OPTIONS, RecordedOptions
from inceptcli.prediction.shares.share import Share
from inceptcli.recipe.section import Section
from inceptcli.text import utf8

RECORD_NAME = "_part.json"
"""Programs that read a folder of Parquet files ignore names that start with _ or a dot."""

MOST_BYTES = 2**20
Number = Annotated[int, Field(ge=0, lt=2**62)]


class Finished(Section):
    """Values that a finished part is checked against.

    Attributes:
        inputs: Number of images of all shards together.
        inputs_sha256: Digest of their paths in order; see `PathDigest`.
    """

    inputs: Number
    inputs_sha256: str


class PartRecord(Section):
    """The job of a part: all settings that its rows depend on, apart from the images.

    Attributes:
        inceptcli_part: Version of the format.
        share: The shard, I of N.
        format: File format of the rows.
        weights: SHA-256 of each weights file, in order.
        crops: Crops per image.
        top_k: Most classes per row.
        recorded: Other options that change rows; rows record them too.
        finished: None until the part is finished.
    """

    inceptcli_part: Literal[3] = 3
    share: Share
    format: Literal["jsonl", "parquet"]
    weights: tuple[str, ...]
    crops: Number
    top_k: Number
    recorded: RecordedOptions = DEFAULT_OPTIONS
    finished: Finished | None = None

    @property
    def _by_flag(self) -> dict[str, object]:
        fields = {"share": self.share, "weights": self.weights, "crops": self.crops}
        fields |= {"top_k": self.top_k, **vars(self.recorded), "format": self.format}
        return {_FLAGS.get(n) or f"--{n.replace('_', '-')}": v for n, v in fields.items()}

    def difference(self, other: PartRecord, *ignored: str) -> str | None:
        """Describe the first difference from `other`, as a message ends; None if there is none.

        Flags in `ignored` may differ.
        """
        theirs = other._by_flag
        for flag, value in self._by_flag.items():
            if flag not in ignored and value != theirs[flag]:
                if flag == "--weights":
                    return "other weights"
                return f"{flag} {_shown(flag, value)}, not {_shown(flag, theirs[flag])}"
        return None


_FLAGS = {"share": "--shard", "coverage_level": "--coverage"}


def _shown(flag: str, value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower() if flag == "--antialias" else "on" if value else "off"
    if type(value) is tuple:  # not a Share
        return "x".join(map(str, value))
    return "none" if value is None else str(value)


class PathDigest:
    """SHA-256 of paths in order; bytes that are not UTF-8 count as they are displayed."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()

    def add(self, path: str) -> None:
        """Add a path."""
        self._digest.update(f"{utf8(path)}\0".encode())

    def hexdigest(self) -> str:
        """Return the digest of all paths so far."""
        return self._digest.hexdigest()


def read_record(folder: Path) -> PartRecord | None:
    """Return the record of a part; None if it is missing or unreadable."""
    try:
        found = PartRecord.model_validate_json(read_regular(folder / RECORD_NAME, MOST_BYTES))
    except (OSError, ValueError):
        return None
    return found if 0 <= found.share.number < found.share.num_shards else None


def write_record(folder: Path, record: PartRecord) -> None:
    """Write the record into the part's folder atomically."""
    with replacing(folder / RECORD_NAME) as temporary:
        temporary.write_text(record.model_dump_json(indent=1))
