"""The answers of one shard on disk; resumable after any stop, without lost or repeated rows.

A part is a folder. Its record (part_record.py) is written first and lists everything that the rows
depend on. Rows follow in small files, each written atomically. The same command continues after the
last file and computes the rest again. At the end the record marks the part as finished.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from inceptcli.errors import UsageError, UserError
from inceptcli.files.atomic_file import remove_abandoned, replacing
from inceptcli.files.file_lock import lock
from inceptcli.files.no_follow import open_no_follow
from inceptcli.files.regular_file import open_regular
from inceptcli.prediction.inputs import Source
from inceptcli.prediction.outputs.json_lines import LONGEST_ROW, from_line
from inceptcli.prediction.outputs.parquet import read_parquet
from inceptcli.prediction.outputs.writers import WRITERS
from inceptcli.prediction.predict import Answer
from inceptcli.prediction.shares.part_record import (
    RECORD_NAME,
    Finished,
    PartRecord,
    PathDigest,
    read_record,
    write_record,
)
from inceptcli.text import utf8

SECONDS = 30.0
"""A file holds at most the rows of this time: the work that a kill loses."""

ROWS, PREDICTIONS = 10_000, 200_000
"""Limits of one file; the first one reached ends it: 200 rows of 1000 classes.

200,000 predictions take 20 MB while they wait to be written. A file is read in pieces (chunks of
JSON Lines, row groups of Parquet), so large files do not increase the memory of `merge`.
"""

CHUNK_BYTES = 2**18

LOCK_NAME = ".lock"

_ROWS_NAME = re.compile(r"rows-([0-9]{9,18})-([0-9]{9,18})\.(?:jsonl|parquet)")


class RowsFile(NamedTuple):
    """A file of rows and its number of rows."""

    path: Path
    rows: int


def rows_files(folder: Path) -> list[RowsFile]:
    """Return the files of a part in row order; raise UserError if one in between is missing."""
    names = filter(None, (_ROWS_NAME.fullmatch(entry.name) for entry in folder.iterdir()))
    files, end = [], 0
    for first, last, name in sorted((int(name[1]), int(name[2]), name[0]) for name in names):
        if first != end or last < first:
            raise UserError(_broken(folder / name, f"must start at row {end}"))
        end = last + 1
        files.append(RowsFile(folder / name, end - first))
    return files


def read_rows(files: Iterable[RowsFile]) -> Iterator[Answer]:
    """Yield the answers in the files; raise UserError if a file has not its number of rows."""
    for path, expected in files:
        rows = 0
        try:
            for answer in _answers(path):
                rows += 1
                yield answer
        except ValueError:
            pass
        except OSError as error:
            if error.filename is not None:  # else pyarrow's, of a damaged file
                raise
        if rows != expected:
            raise UserError(_broken(path, f"{rows} of {expected} rows can be read"))


def _answers(path: Path) -> Iterator[Answer]:
    if path.suffix == ".parquet" and path.is_file():  # reading a pipe would block
        return read_parquet(path)
    return map(from_line, _lines(path))


def _lines(path: Path) -> Iterator[bytes]:
    """Yield lines; open the file only while reading a chunk, because a job may have thousands."""
    start, rest = 0, bytearray()
    while True:
        with open_regular(path) as file:
            file.seek(start)
            chunk = file.read(CHUNK_BYTES)
        start += len(chunk)
        rest += chunk
        if b"\n" in chunk:
            *lines, rest = rest.split(b"\n")
            yield from map(bytes, lines)
        if len(rest) > LONGEST_ROW:
            raise ValueError("row over the length limit")
        if not chunk:
            break
    if rest:
        yield bytes(rest)


def _broken(path: Path, reason: str) -> str:
    return f"{path}: {reason}; remove the folder and predict this shard again"


class Part:
    """One locked part; see open_part.

    Attributes:
        rows: Number of rows in its files.
        unreadable: Number of errors among the rows compared or written so far.
    """

    def __init__(self, folder: Path, record: PartRecord) -> None:
        """Open the part in `folder`; raise UserError if one of its files is missing."""
        self.folder, self.record = folder, record
        self._files = rows_files(folder)
        self.rows = sum(rows for _, rows in self._files)
        self.unreadable = 0
        self._waiting: list[Answer] = []
        self._end: Finished | None = None

    def missing(self, sources: Iterable[Source]) -> Iterator[Source]:
        """Yield the sources of this shard that have no row yet; `sources` are those of all shards.

        Raises UsageError if existing rows are of other images, UserError if they cannot be read.
        """
        share, finished = self.record.share, self.record.finished
        digest, inputs, rows = PathDigest(), 0, read_rows(self._files)
        for inputs, source in enumerate(sources, start=1):
            digest.add(source.path)
            if (inputs - 1) % share.num_shards != share.number:
                continue
            row = next(rows, None)
            if row is None and finished is None:
                yield source
            elif row is None or utf8(row.path) != utf8(source.path):
                was = "none" if row is None else row.path
                raise self._refusal(f"image {inputs} was {was}, is now {source.path}")
            else:
                self.unreadable += row.error is not None
        self._end = Finished(inputs=inputs, inputs_sha256=digest.hexdigest())
        if next(rows, None) is not None or finished not in (None, self._end):
            raise self._refusal("its rows are of other images")

    def write(self, answers: Iterable[Answer]) -> None:
        """Write answers to the sources from `missing`, in order; start a new file when one is full.

        Answers before an interruption or an error are written too.
        """
        begun, predictions = time.monotonic(), 0
        try:
            for answer in answers:
                self._waiting.append(answer)
                self.unreadable += answer.error is not None
                predictions += len(answer.top) + len(answer.set or ())
                full = len(self._waiting) >= ROWS or predictions >= PREDICTIONS
                if full or time.monotonic() - begun >= SECONDS:
                    self._write_file()
                    begun, predictions = time.monotonic(), 0
        finally:
            self._write_file()

    def finish(self) -> None:
        """Mark the part as finished; call it after all sources from `missing` are written."""
        assert self._end is not None
        assert self.rows == self.record.share.rows(self._end.inputs)
        if self.record.finished is None:
            self.record = self.record.model_copy(update={"finished": self._end})
            write_record(self.folder, self.record)

    def _write_file(self) -> None:
        if not self._waiting:
            return
        end = self.rows + len(self._waiting)
        name = f"rows-{self.rows:09}-{end - 1:09}.{self.record.format}"
        with replacing(self.folder / name) as temporary, temporary.open("w") as file:
            WRITERS[self.record.format](self._waiting, file, self.record.recorded)
        self.rows = end
        self._waiting.clear()

    def _refusal(self, reason: str) -> UsageError:
        return UsageError(
            f"--output {self.folder}: {reason}; give another --output, or remove this folder"
        )


@contextmanager
def open_part(folder: Path, record: PartRecord) -> Iterator[Part]:
    """Open or create the part of the job in `record`, locked.

    Raises UsageError if the folder is the part of another job or not a part, if another process is
    writing it, or if it cannot be written.
    """
    place = f"--output {folder}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = open_no_follow(folder / LOCK_NAME, "ab")
    except OSError as error:
        raise UsageError(f"{place}: cannot be written: {error.strerror}") from error
    with file:
        try:
            lock(file)
        except BlockingIOError as error:
            raise UsageError(f"{place}: another process is writing it") from error
        for name in (RECORD_NAME, "rows-*"):
            remove_abandoned(folder, name)
        there = read_record(folder)
        if there is None:
            if any(entry.name != LOCK_NAME for entry in folder.iterdir()):
                raise UsageError(
                    f"{place}: contains files but no record of a part; give another folder"
                )
            write_record(folder, record)
        elif difference := there.difference(record):
            raise UsageError(
                f"{place}: was started with {difference}; give another --output, or remove this "
                "folder"
            )
        yield Part(folder, there or record)
