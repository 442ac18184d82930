"""Parts of sharded answers joined in the order of the pictures, with flat memory; no torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import zip_longest
from pathlib import Path

from inceptcli.errors import UsageError, UserError
from inceptcli.prediction.outputs.json_lines import LONGEST_ROW, from_line
from inceptcli.prediction.outputs.parquet import check_pyarrow, read_parquet
from inceptcli.prediction.predict import Answer
from inceptcli.prediction.shares.part_record import PartRecord, PathDigest, read_record, record_path
from inceptcli.prediction.shares.share import Share
from inceptcli.text import printable

PIECE_BYTES = 2**14
"""Of a part of JSON lines that are read at once."""

SHOWN = 10
"""How many shards a message names one by one."""


class Parts:
    """All parts of one job.

    Attributes:
        inputs: how many pictures, and rows.
        unreadable: how many of them say why there is no answer.
        shortcuts: how all were computed, which rows say too.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        """Parts, or folders of them.

        Raises:
            UsageError: one is missing or no part, or two are of one shard or of different jobs.
            UserError: a shard is missing or not finished.
        """
        records = {path: _record(path) for path in _parts(paths)}
        _check_one_job(records)
        by_number = {record.shard.number: (path, record) for path, record in records.items()}
        count = next(iter(records.values())).shard.num_shards
        _check_complete(count, {number: record for number, (_, record) in by_number.items()})
        self._parts = [by_number[number] for number in range(count)]
        ends = [record.finished for _, record in self._parts if record.finished]
        for (path, _), end in zip(self._parts, ends, strict=True):
            if (end.inputs, end.inputs_sha256) != (ends[0].inputs, ends[0].inputs_sha256):
                raise UsageError(
                    f"{_shown(self._parts[0][0])} and {_shown(path)} are of different pictures "
                    f"({ends[0].inputs} and {end.inputs}); predict one of them again"
                )
        self.inputs, self._inputs_sha256 = ends[0].inputs, ends[0].inputs_sha256
        self.unreadable = sum(end.unreadable for end in ends)
        self.shortcuts = self._parts[0][1].shortcuts
        if any(record.format == "parquet" for _, record in self._parts):
            check_pyarrow("a Parquet part")

    @property
    def files(self) -> list[Path]:
        """The parts and their records."""
        return [file for part, _ in self._parts for file in (part, record_path(part))]

    def answers(self) -> Iterator[Answer]:
        """Each picture's, in their order.

        Raises UserError, at the end at the latest, when a part has not the rows that it had when it
        was finished.
        """
        digest = PathDigest()
        for turn in zip_longest(*(_rows(path, record) for path, record in self._parts)):
            for answer in turn:
                if answer is not None:
                    digest.add(answer.path)
                    yield answer
        if digest.hexdigest() != self._inputs_sha256:
            raise UserError(
                f"{_shown(self._parts[0][0])} or another part: rows were changed after they were "
                "written; remove the part and predict it again"
            )


def _rows(path: Path, record: PartRecord) -> Iterator[Answer]:
    assert record.finished is not None
    rows = 0
    with suppress(ValueError):
        for answer in _read(path, record):
            rows += 1
            yield answer
    if rows != record.finished.rows:
        raise UserError(
            f"{_shown(path)}: {rows} rows can be read, of {record.finished.rows}; remove it and "
            f"predict shard {_of(record.shard)} again"
        )


def _read(path: Path, record: PartRecord) -> Iterator[Answer]:
    if record.format == "parquet":
        yield from read_parquet(path)
        return
    if not path.is_file():  # a pipe would be waited for
        raise ValueError("not a regular file")
    yield from map(from_line, _lines(path))


def _lines(path: Path) -> Iterator[bytes]:
    """A file's lines; it is open only while a piece is read, for a job may have thousands.

    ValueError where one is longer than any of ours.
    """
    rest, start = b"", 0
    while True:
        with path.open("rb") as file:
            file.seek(start)
            piece = file.read(PIECE_BYTES)
        start += len(piece)
        *lines, rest = (rest + piece).split(b"\n")
        yield from lines
        if not piece:
            break
        if len(rest) > LONGEST_ROW:
            raise ValueError("a line without an end")
    if rest:
        yield rest


def _parts(paths: Sequence[Path]) -> list[Path]:
    """The parts that are named, or that lie in a folder; records stand for their parts."""
    found: dict[Path, None] = {}
    for path in paths:
        if path.is_dir():
            inside = [p.with_suffix("") for p in sorted(path.glob("*.json"))]
            parts = [part for part in inside if read_record(part) is not None]
            if not parts:
                raise UsageError(f"{_shown(path)}: no parts of predict --shard in this folder")
            found |= dict.fromkeys(parts)
        elif path.suffix == ".json" and read_record(path.with_suffix("")) is not None:
            found[path.with_suffix("")] = None
        else:
            found[path] = None
    return list(found)


def _record(part: Path) -> PartRecord:
    record = read_record(part)
    if not part.exists() and (record is None or record.finished):
        raise UsageError(f"{_shown(part)}: no such file")
    if record is None:
        raise UsageError(
            f"{_shown(part)}: no part of predict --shard; {printable(record_path(part).name)} is "
            "missing beside it or damaged"
        )
    return record


def _check_one_job(records: Mapping[Path, PartRecord]) -> None:
    (first, one), *others = records.items()
    numbers = {one.shard.number: first}
    for path, record in others:
        difference = one.difference(record, "shard", "format")
        if one.shard.num_shards != record.shard.num_shards:
            difference = f"{one.shard.num_shards} shards, not {record.shard.num_shards}"
        if difference:
            raise UsageError(
                f"{_shown(first)} and {_shown(path)} are of different jobs: {difference}"
            )
        same = numbers.setdefault(record.shard.number, path)
        if same != path:
            raise UsageError(
                f"{_shown(same)} and {_shown(path)} are both shard {_of(record.shard)}"
            )


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
        f"{len(missing) + len(unfinished)} of {count} shards are not there ({'; '.join(parts)}); "
        "the same predict --shard commands go on"
    )


def _of(shard: Share) -> str:
    return f"{shard.number}/{shard.num_shards}"


def _shown(path: Path) -> str:
    return printable(str(path))
