"""A share of the answers on disk, which goes on after any stop and loses and doubles no row.

Rows are appended to a file of JSON lines, each with one write. Whatever kills the process leaves
whole rows and at most one torn one behind, which the next start cuts off; it then goes on with the
picture that comes after the last whole row. Beside the part lies its record (part_record.py), which
says what the rows depend on and, at the end, that it is finished. A Parquet file cannot be appended
to: it is made of the rows when all are there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from glob import escape
from pathlib import Path
from typing import IO

from inceptcli.errors import UsageError
from inceptcli.files.atomic_file import replacing, sync
from inceptcli.files.file_lock import lock
from inceptcli.files.no_follow import open_no_follow
from inceptcli.prediction.inputs import Source
from inceptcli.prediction.outputs.json_lines import LONGEST_ROW, as_line, from_line
from inceptcli.prediction.outputs.parquet import write_parquet
from inceptcli.prediction.predict import Answer
from inceptcli.prediction.shares.part_record import (
    Finished,
    PartRecord,
    PathDigest,
    read_record,
    record_path,
    rows_path,
    write_record,
)
from inceptcli.text import printable


class Part:
    """One part, locked; see open_part.

    Attributes:
        rows: how many are there.
        unreadable: how many of them say why there is no answer.
        is_finished: whether nothing is left to be done.
    """

    def __init__(self, path: Path, record: PartRecord, file: IO[bytes]) -> None:
        """`file` has the rows so far, whole ones and perhaps a torn one, which is cut off."""
        self.path, self.record = path, record
        self._file = file
        self._inputs: tuple[int, str] | None = None
        finished = record.finished
        self.is_finished = finished is not None
        if finished:
            self.rows, self.unreadable = finished.rows, finished.unreadable
            return
        self.rows = self.unreadable = end = 0
        file.seek(0)
        for answer, length in _whole_rows(file):
            self.rows += 1
            self.unreadable += answer.error is not None
            end += length
        file.truncate(end)
        file.seek(end)

    def missing(self, sources: Iterable[Source]) -> Iterator[Source]:
        """Those of all `sources` that are this shard's and have no row yet.

        Raises UsageError where the rows that are there are of other pictures.
        """
        digest, inputs, number = PathDigest(), 0, 0
        done, paths_done = self.rows, self._paths_done()  # rows are added while this goes on
        for source in sources:
            digest.add(source.path)
            inputs += 1
            if (inputs - 1) % self.record.shard.num_shards != self.record.shard.number:
                continue
            number += 1
            if number > done:
                yield source
            elif not self.is_finished and (was := next(paths_done)) != source.path:
                raise self._refusal(
                    f"its row {number} is of {printable(was)}, which is now "
                    f"{printable(source.path)}"
                )
        finished = self.record.finished
        self._inputs = inputs, digest.hexdigest()
        if number < done or (
            finished and self._inputs != (finished.inputs, finished.inputs_sha256)
        ):
            raise self._refusal("its rows are of other pictures than these")

    def write(self, answers: Iterable[Answer]) -> None:
        """Append rows as they come; those of `missing` in order."""
        for answer in answers:
            self._file.write(f"{as_line(answer, self.record.shortcuts)}\n".encode())
            self._file.flush()
            self.rows += 1
            self.unreadable += answer.error is not None

    def finish(self) -> None:
        """All that `missing` gave is written: make the part whole and say so beside it."""
        assert self._inputs is not None
        assert self.rows == self.record.shard.rows(self._inputs[0])
        sync(self._file.fileno())
        if self.record.format == "parquet":
            self._file.seek(0)
            with replacing(self.path) as temporary, temporary.open("wb") as file:
                answers = (answer for answer, _ in _whole_rows(self._file))
                write_parquet(answers, file, self.record.shortcuts)
        finished = Finished(self.rows, self.unreadable, *self._inputs)
        write_record(self.path, replace(self.record, finished=finished))
        self.is_finished = True

    def _paths_done(self) -> Iterator[str]:
        with rows_path(self.path, self.record.format).open("rb") as file:
            for answer, _ in _whole_rows(file):
                yield answer.path

    def _refusal(self, reason: str) -> UsageError:
        return UsageError(
            f"--output {printable(str(self.path))}: {reason}; give another --output, or remove "
            "this file"
        )


@contextmanager
def open_part(path: Path, record: PartRecord) -> Iterator[Part]:
    """The part of the job that `record` says, as it is or new.

    Raises UsageError when it is another job's or no part, when another process is writing it or
    when it cannot be written.
    """
    place = f"--output {printable(str(path))}"
    rows = rows_path(path, record.format)
    was_there = path.exists()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open_no_follow(rows, "a+b")
    except OSError as error:
        reason = "is a link" if rows.is_symlink() else error.strerror
        raise UsageError(f"{place}: cannot be written: {reason}") from error
    with file:
        try:
            lock(file)
        except BlockingIOError as error:
            raise UsageError(f"{place}: another process is writing it") from error
        part = None
        try:
            agreed = _agreed(path, rows, record, place)
            if agreed.finished and not was_there:  # removed, to be made again
                agreed = replace(agreed, finished=None)
                write_record(path, agreed)
            part = Part(path, agreed, file)
            yield part
        finally:
            if rows != path and ((part and part.is_finished) or not rows.stat().st_size):
                rows.unlink()


def _agreed(path: Path, rows: Path, record: PartRecord, place: str) -> PartRecord:
    """The record beside the part, `record` if there is none yet; UsageError when they differ."""
    for name in (path.name, record_path(path).name):
        for abandoned in path.parent.glob(f".{escape(name)}.????????.partial"):
            abandoned.unlink()  # of a process that was killed
    there = read_record(path)
    if there is not None:
        if difference := there.difference(record):
            raise UsageError(
                f"{place}: was begun with {difference}; give another --output, or remove this "
                "file and its .json"
            )
        return there
    if any(other.exists() and other.stat().st_size for other in (path, rows, record_path(path))):
        raise UsageError(f"{place}: exists and is no part of ours; give another --output")
    write_record(path, record)
    return record


def _whole_rows(file: IO[bytes]) -> Iterator[tuple[Answer, int]]:
    """Each row up to the first that is torn, with its length in bytes."""
    while line := file.readline(LONGEST_ROW):
        if not line.endswith(b"\n"):
            return
        try:
            answer = from_line(line)
        except ValueError:
            return
        yield answer, len(line)
