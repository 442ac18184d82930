"""The record in a part's folder: the job that it belongs to, and whether it is finished."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from inceptcli.data.pixels.preprocessing import Interpolation, ResizeRule
from inceptcli.files.atomic_file import replacing
from inceptcli.files.regular_file import read_regular
from inceptcli.prediction.recorded_options import Precision, RecordedOptions
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
        fast_decode: Whether JPEGs were decoded at reduced size.
        precision: Precision of the networks.
        image_size: This and the following are the preprocessing that replaced the weights' own;
            see RecordedOptions.
        crop_fraction: See above, as for the following.
        interpolation: bilinear or bicubic.
        resize: short-side or squash.
        antialias: Whether downscaling was antialiased.
        coverage_level: Coverage of the prediction sets; None without sets.
        threshold: Threshold of all classes, if it replaced the weights' own.
        finished: None until the part is finished.
    """

    inceptcli_part: Literal[2] = 2
    share: Share
    format: Literal["jsonl", "parquet"]
    weights: tuple[str, ...]
    crops: Number
    top_k: Number
    fast_decode: bool = False
    precision: Precision = "32-true"
    image_size: tuple[int, int] | None = None
    crop_fraction: float | None = None
    interpolation: Interpolation | None = None
    resize: ResizeRule | None = None
    antialias: bool | None = None
    coverage_level: float | None = None
    threshold: float | None = None
    finished: Finished | None = None

    @property
    def recorded(self) -> RecordedOptions:
        """How the rows were computed."""
        values = dict(self)
        return RecordedOptions(
            **{name: values[name] for name in RecordedOptions._fields if name in values}
        )

    def difference(self, other: PartRecord, *ignored: str) -> str | None:
        """Describe the first difference from `other`, as a message ends; None if there is none."""
        for name, flag in _FLAGS.items():
            ours, theirs = getattr(self, name), getattr(other, name)
            if name not in ignored and ours != theirs:
                if name == "weights":
                    return "other weights"
                unset = "off" if name == "coverage_level" else "of the weights"
                if name == "antialias":
                    ours, theirs = (None if v is None else str(v).lower() for v in (ours, theirs))
                return f"{flag} {_shown(ours, unset)}, not {_shown(theirs, unset)}"
        return None


_FLAGS = {
    "share": "--shard",
    "weights": "--weights",
    "crops": "--crops",
    "top_k": "--top-k",
    "fast_decode": "--fast-decode",
    "precision": "--precision",
    "image_size": "--image-size",
    "crop_fraction": "--crop-fraction",
    "interpolation": "--interpolation",
    "resize": "--resize",
    "antialias": "--antialias",
    "coverage_level": "--coverage",
    "threshold": "--threshold",
    "format": "--format",
}


def _shown(value: object, unset: str) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if type(value) is tuple:  # not a Share
        return "x".join(map(str, value))
    return unset if value is None else str(value)


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


def weights_digests(files: Iterable[Path]) -> tuple[str, ...]:
    """Return the SHA-256 of each file."""
    digests = []
    for path in files:
        with path.open("rb") as file:
            digests.append(hashlib.file_digest(file, "sha256").hexdigest())
    return tuple(digests)
