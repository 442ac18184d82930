"""Merge the parts of a sharded prediction in input order, with bounded memory; no torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path

from inceptcli.errors import UsageError, UserError
from inceptcli.prediction.outputs.parquet import check_pyarrow
from inceptcli.prediction.predict import Answer
from inceptcli.prediction.shares.part import read_rows, rows_files
from inceptcli.prediction.shares.part_record import (
    RECORD_NAME,
    PartRecord,
    PathDigest,
    read_record,
)

SHOWN = 10
"""Number of shards that a message lists."""


class Parts:
    """All parts of one job.

    Attributes:
        inputs: Number of images, and of rows.
        unreadable: Number of errors among the answers yielded so far.
        recorded: How all rows were computed; rows record it too.
        files: Files of all parts.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        """Open parts, or folders that contain parts.

        Raises:
            UsageError: A path is missing or not a part, two parts are of the same shard, or parts
                belong to different jobs.
            UserError: A shard is missing or unfinished, or one of its row files is missing.
        """
        records = {path: _record(path) for path in _parts(paths)}
        _check_one_job(records)
        by_number = {record.share.number: path for path, record in records.items()}
        first = next(iter(records.values()))
        _check_complete(first.share.num_shards, {n: records[p] for n, p in by_number.items()})
        folders = [by_number[number] for number in sorted(by_number)]
        ends = [record.finished for path in folders if (record := records[path]).finished]
        for path, end in zip(folders, ends, strict=True):
            if end != ends[0]:
                raise UsageError(
                    f"{folders[0]} and {path} are of different images "
                    f"({ends[0].inputs} and {end.inputs}); predict one of them again"
                )
        self.inputs, self._inputs_sha256 = ends[0].inputs, ends[0].inputs_sha256
        self.unreadable = 0
        self.recorded = first.recorded
        self._rows = [rows_files(path) for path in folders]
        for path, files in zip(folders, self._rows, strict=True):
            there, expected = sum(rows for _, rows in files), records[path].share.rows(self.inputs)
            if there != expected:
                raise UserError(
                    f"{path}: has {there} of {expected} rows; remove the folder and "
                    "predict this shard again"
                )
        self.files = [path / RECORD_NAME for path in folders]
        self.files += [path for files in self._rows for path, _ in files]
        if any(record.format == "parquet" for record in records.values()):
            check_pyarrow("a Parquet part")

    def answers(self) -> Iterator[Answer]:
        """Yield the answers in input order.

        Raises UserError, at the end at the latest, if the rows of a part changed after it was
        finished.
        """
        digest = PathDigest()
        for turn in zip_longest(*map(read_rows, self._rows)):
            for answer in turn:
                if answer is not None:
                    digest.add(answer.path)
                    self.unreadable += answer.error is not None
                    yield answer
        if digest.hexdigest() != self._inputs_sha256:
            raise UserError(
                f"{self.files[0].parent} or another part: rows were changed after they "
                "were written; remove the part and predict it again"
            )


def _parts(paths: Sequence[Path]) -> list[Path]:
    """Return the parts given, and the parts inside the folders given."""
    found: dict[Path, None] = {}
    for path in paths:
        if not path.is_dir():
            raise UsageError(f"{path}: no such folder; give parts of predict --shard")
        inside = [record.parent for record in sorted(path.glob(f"*/{RECORD_NAME}"))]
        found |= dict.fromkeys(inside or [path])
    return list(found)


def _record(part: Path) -> PartRecord:
    record = read_record(part)
    if record is None:
        raise UsageError(
            f"{part}: neither a part of predict --shard nor a folder of parts; "
            f"{RECORD_NAME} is missing or damaged"
        )
    return record


def _check_one_job(records: Mapping[Path, PartRecord]) -> None:
    (first, one), *others = records.items()
    numbers = {one.share.number: first}
    for path, record in others:
        difference = one.difference(record, "--shard", "--format")
        if one.share.num_shards != record.share.num_shards:
            difference = f"{one.share.num_shards} shards, not {record.share.num_shards}"
        if difference:
            raise UsageError(f"{first} and {path} are of different jobs: {difference}")
        same = numbers.setdefault(record.share.number, path)
        if same != path:
            raise UsageError(f"{same} and {path} are both shard {record.share}")


def _check_complete(count: int, records: dict[int, PartRecord]) -> None:
    missing = [number for number in range(count) if number not in records]
    unfinished = [number for number in sorted(records) if records[number].finished is None]
    if not missing and not unfinished:
        return
    parts = [
        f"{what}: {', '.join(map(str, numbers[:SHOWN]))}{', ...' * (len(numbers) > SHOWN)}"
        for what, numbers in (("missing", missing), ("not finished", unfinished))
        if numbers
    ]
    raise UserError(
        f"{len(missing) + len(unfinished)} of {count} shards are incomplete ({'; '.join(parts)}); "
        "run the same predict --shard commands again to continue"
    )
