"""A share of the answers on disk, which goes on after any stop and loses and doubles no row.

A part is a folder. Its record (part_record.py) is written first and says what the rows depend on;
rows follow in small files, each of which is there whole or not at all. The same command goes on
after the last of them: what was not yet in a file is computed again. At the end the record says
that the part is finished.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from inceptcli.errors import UsageError, UserError
from inceptcli.files.atomic_file import replacing
from inceptcli.files.file_lock import lock
from inceptcli.files.no_follow import open_no_follow
from inceptcli.files.regular_file import read_regular
from inceptcli.prediction.inputs import Source
from inceptcli.prediction.outputs.json_lines import LONGEST_ROW, from_line
from inceptcli.prediction.outputs.parquet import PREDICTIONS, ROWS, read_parquet
from inceptcli.prediction.outputs.writers import WRITERS
from inceptcli.prediction.predict import Answer
from inceptcli.prediction.shares.part_record import (
    Finished,
    PartRecord,
    PathDigest,
    read_record,
    write_record,
)
from inceptcli.text import printable, utf8

SECONDS = 30.0
"""A file has at most the rows of so long, which is what a kill costs, nor more than a row group."""

LOCK_NAME = ".lock"

_ROWS_NAME = re.compile(r"rows-([0-9]{9,18})-([0-9]{9,18})\.(?:jsonl|parquet)")


class RowsFile(NamedTuple):
    """A file and the number of its rows."""

    path: Path
    rows: int


def rows_files(folder: Path) -> list[RowsFile]:
    """The files of a part in the order of their rows; UserError where one between is missing."""
    names = filter(None, (_ROWS_NAME.fullmatch(entry.name) for entry in folder.iterdir()))
    files, end = [], 0
    for first, last, name in sorted((int(name[1]), int(name[2]), name[0]) for name in names):
        if first != end or last < first:
            raise UserError(_broken(folder / name, f"row {end} should be its first"))
        end = last + 1
        files.append(RowsFile(folder / name, end - first))
    return files


def read_rows(files: Iterable[RowsFile]) -> Iterator[Answer]:
    """The answers in the files; UserError at the end of a file that has not its number of rows."""
    for path, expected in files:
        rows = 0
        with suppress(ValueError):
            for answer in _answers(path):
                rows += 1
                yield answer
        if rows != expected:
            raise UserError(_broken(path, f"{rows} rows can be read, of {expected}"))


def _answers(path: Path) -> Iterator[Answer]:
    if path.suffix == ".parquet" and path.is_file():  # a pipe would be waited for
        return read_parquet(path)
    return map(from_line, read_regular(path, 2 * LONGEST_ROW).splitlines())


def _broken(path: Path, reason: str) -> str:
    return f"{printable(str(path))}: {reason}; remove the folder and predict this shard again"


class Part:
    """One part, locked; see open_part.

    Attributes:
        rows: how many are in its files.
        unreadable: how many of the rows that were compared or written say why there is no answer.
    """

    def __init__(self, folder: Path, record: PartRecord) -> None:
        """The part in `folder`; UserError where one of its files is missing."""
        self.folder, self.record = folder, record
        self._files = rows_files(folder)
        self.rows = sum(rows for _, rows in self._files)
        self.unreadable = 0
        self._waiting: list[Answer] = []
        self._end: Finished | None = None

    def missing(self, sources: Iterable[Source]) -> Iterator[Source]:
        """Those of all `sources` that are this shard's and have no row yet.

        Raises UsageError where the rows that are there are of other pictures, UserError where they
        cannot be read.
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
                was = "none" if row is None else printable(row.path)
                raise self._refusal(f"image {inputs} was {was}, is {printable(source.path)}")
            else:
                self.unreadable += row.error is not None
        self._end = Finished(inputs=inputs, inputs_sha256=digest.hexdigest())
        if next(rows, None) is not None or finished not in (None, self._end):
            raise self._refusal("its rows are of other pictures than these")

    def write(self, answers: Iterable[Answer]) -> None:
        """Write the answers to those of `missing`, in order, a file as soon as one is full.

        Also what came before an interruption or an error.
        """
        begun, predictions = time.monotonic(), 0
        try:
            for answer in answers:
                self._waiting.append(answer)
                self.unreadable += answer.error is not None
                predictions += len(answer.top)
                full = len(self._waiting) >= ROWS or predictions >= PREDICTIONS
                if full or time.monotonic() - begun >= SECONDS:
                    self._write_file()
                    begun, predictions = time.monotonic(), 0
        finally:
            self._write_file()

    def finish(self) -> None:
        """All that `missing` gave is written: say so in the record."""
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
            WRITERS[self.record.format](self._waiting, file, self.record.shortcuts)
        self.rows = end
        self._waiting.clear()

    def _refusal(self, reason: str) -> UsageError:
        return UsageError(
            f"--output {printable(str(self.folder))}: {reason}; give another --output, or remove "
            "this folder"
        )


@contextmanager
def open_part(folder: Path, record: PartRecord) -> Iterator[Part]:
    """The part of the job that `record` says, as it is or new.

    Raises UsageError when it is another job's or no part, when another process is writing it or
    when it cannot be written.
    """
    place = f"--output {printable(str(folder))}"
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
        for abandoned in folder.glob(".*.????????.partial"):
            abandoned.unlink()  # of a process that was killed
        there = read_record(folder)
        if there is None:
            if any(entry.name != LOCK_NAME for entry in folder.iterdir()):
                raise UsageError(f"{place}: holds files and no record of ours; give another")
            write_record(folder, record)
        elif difference := there.difference(record):
            raise UsageError(
                f"{place}: was begun with {difference}; give another --output, or remove this "
                "folder"
            )
        yield Part(folder, there or record)
