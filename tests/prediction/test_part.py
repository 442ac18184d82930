"""A part is resumable wherever it was cut; no row is lost or repeated. Answers are made up."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import pytest
from pyarrow.parquet import read_table

from inceptcli.errors import UsageError, UserError
from inceptcli.files.atomic_file import replacing
from inceptcli.prediction.inputs import Source
from inceptcli.prediction.predict import Answer, Prediction
from inceptcli.prediction.recorded_options import RecordedOptions
from inceptcli.prediction.shares import part as part_module
from inceptcli.prediction.shares.part import Part, open_part, read_rows, rows_files
from inceptcli.prediction.shares.part_record import (
    RECORD_NAME,
    Finished,
    PartRecord,
    read_record,
    write_record,
)
from inceptcli.prediction.shares.share import Share
from inceptcli.text import utf8

SOURCES = [
    Source(f"{number}\n\udcff.png", "broken" if number == 4 else None) for number in range(7)
]
FORMATS: list[Literal["jsonl", "parquet"]] = ["jsonl", "parquet"]


def record(
    rows_format: Literal["jsonl", "parquet"] = "jsonl", share: tuple[int, int] = (0, 2)
) -> PartRecord:
    return PartRecord(
        share=Share(*share), format=rows_format, weights=("a" * 64,), crops=1, top_k=2
    )


def answer(source: Source) -> Answer:
    if source.problem:
        return Answer(source.path, error=source.problem)
    return Answer(source.path, (Prediction("käse", 0, len(source.path) / 7),))


def work(folder: Path, job: PartRecord, sources: Sequence[Source] = SOURCES) -> list[str]:
    """All that a start does; the paths of the pictures that it answered."""
    answered: list[str] = []

    def answers(part: Part) -> Iterator[Answer]:
        for source in part.missing(sources):
            answered.append(source.path)
            yield answer(source)

    with open_part(folder, job) as part:
        part.write(answers(part))
        part.finish()
    return answered


def rows(folder: Path) -> list[Answer]:
    return list(read_rows(rows_files(folder)))


def expected(sources: Sequence[Source], rows_format: str) -> list[Answer]:
    """Parquet holds no bytes that are not UTF-8."""
    found = map(answer, sources)
    if rows_format == "jsonl":
        return list(found)
    return [row._replace(path=utf8(row.path)) for row in found]


def files(folder: Path) -> dict[str, bytes]:
    return {entry.name: entry.read_bytes() for entry in folder.iterdir()}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of two rows."""
    monkeypatch.setattr(part_module, "ROWS", 2)


@pytest.mark.parametrize("rows_format", FORMATS)
def test_a_part_has_the_rows_of_its_share(
    rows_format: Literal["jsonl", "parquet"], small: None, tmp_path: Path
) -> None:
    parts = [tmp_path / str(number) for number in range(3)]
    for number, folder in enumerate(parts):
        work(folder, record(rows_format, (number, 3)))
        assert rows(folder) == expected(SOURCES[number::3], rows_format)
    found = [entry.finished for folder in parts if (entry := read_record(folder))]
    assert [end and end.inputs for end in found] == [7, 7, 7]
    assert len({end and end.inputs_sha256 for end in found}) == 1
    names = ["rows-000000000-000000001", "rows-000000002-000000002"]
    assert set(files(parts[0])) == {
        ".lock", RECORD_NAME, *(f"{name}.{rows_format}" for name in names)
    }  # fmt: skip


@pytest.mark.parametrize("rows_format", FORMATS)
def test_a_file_holds_200_rows_of_1000_classes_and_is_read_in_pieces(
    rows_format: Literal["jsonl", "parquet"], tmp_path: Path
) -> None:
    top = tuple(Prediction(f"a class with number {n}", n, 1 / (n + 1)) for n in range(1000))
    sources = [Source(f"{number}.png") for number in range(201)]
    with open_part(tmp_path / "0", record(rows_format, (0, 1))) as part:
        part.write(Answer(source.path, top) for source in part.missing(sources))
    found = rows_files(tmp_path / "0")
    assert [file.rows for file in found] == [200, 1]
    next(read_rows(found[1:]))  # imports
    tracemalloc.start()
    try:
        assert next(read_rows(found)) == Answer("0.png", top)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 * 2**20  # 15 MB of text in one piece, with its lines 30


@pytest.mark.parametrize("chunk_bytes", [1, 7, 100_000])
def test_rows_may_lie_in_several_chunks(
    chunk_bytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work(tmp_path / "0", record("jsonl", (0, 1)))
    monkeypatch.setattr(part_module, "CHUNK_BYTES", chunk_bytes)
    assert rows(tmp_path / "0") == expected(SOURCES, "jsonl")


def test_a_row_without_an_end_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work(tmp_path / "0", record("jsonl", (0, 1)))
    monkeypatch.setattr(part_module, "CHUNK_BYTES", 16)
    monkeypatch.setattr(part_module, "LONGEST_ROW", 32)
    with pytest.raises(UserError, match=r"0 of 7 rows can be read"):
        rows(tmp_path / "0")


def test_a_folder_of_parquet_parts_is_a_data_set_of_other_programs(
    small: None, tmp_path: Path
) -> None:
    for number in range(2):
        work(tmp_path / f"part-{number}", record("parquet", (number, 2)))
    paths = read_table(tmp_path).column("path").to_pylist()
    assert paths == [utf8(source.path) for source in SOURCES[::2] + SOURCES[1::2]]


@pytest.mark.parametrize("rows_format", FORMATS)
def test_a_finished_part_is_left_as_it_is(
    rows_format: Literal["jsonl", "parquet"], tmp_path: Path
) -> None:
    work(tmp_path, record(rows_format))
    before = {entry.name: entry.stat().st_mtime_ns for entry in tmp_path.iterdir()}
    assert work(tmp_path, record(rows_format)) == []
    assert {entry.name: entry.stat().st_mtime_ns for entry in tmp_path.iterdir()} == before


@pytest.mark.parametrize("rows_format", FORMATS)
def test_a_part_goes_on_after_the_files_that_a_kill_left(
    rows_format: Literal["jsonl", "parquet"], small: None, tmp_path: Path
) -> None:
    job = record(rows_format, (0, 1))
    work(tmp_path / "whole", job)
    whole = files(tmp_path / "whole")
    for kept in range(5):
        folder = tmp_path / str(kept)
        folder.mkdir()
        if kept:
            write_record(folder, job)
        for name in sorted(whole)[2 : 2 + kept]:
            (folder / name).write_bytes(whole[name])
        for name in ("rows-000000009-000000010.jsonl", RECORD_NAME):
            (folder / f".{name}.12345678.partial").write_text("half")
        assert work(folder, job) == [source.path for source in SOURCES[2 * kept :]]
        assert files(folder) == whole


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_rows_before_an_interruption_are_written(
    error: type[BaseException], small: None, tmp_path: Path
) -> None:
    def interrupted(part: Part) -> Iterator[Answer]:
        sources = part.missing(SOURCES)
        for _ in range(3):
            yield answer(next(sources))
        raise error

    with pytest.raises(error), open_part(tmp_path, record()) as part:
        part.write(interrupted(part))
    assert rows(tmp_path) == expected(SOURCES[:6:2], "jsonl")
    assert work(tmp_path, record()) == [SOURCES[6].path]


def test_an_interruption_of_a_rename_that_is_done_doubles_no_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_part(tmp_path, record()) as part:
        monkeypatch.setattr(part_module, "replacing", interrupted_after(replacing))
        with pytest.raises(KeyboardInterrupt):
            part.write(map(answer, part.missing(SOURCES)))
    assert rows(tmp_path) == expected(SOURCES[::2], "jsonl")


def interrupted_after(write: Callable[..., Any]) -> Callable[..., Any]:
    calls: list[Path] = []

    @contextmanager
    def then_interrupted(path: Path) -> Iterator[Path]:
        with write(path) as temporary:
            yield temporary
        calls.append(path)
        if len(calls) == 1:
            raise KeyboardInterrupt

    return then_interrupted


def test_a_file_has_the_rows_of_so_many_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = itertools.count(step=10)
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    work(tmp_path, record(share=(0, 1)))
    assert [count for _, count in rows_files(tmp_path)] == [3, 3, 1]


CHANGES: dict[str, dict[str, object]] = {
    "--shard 0/2, not 1/2": {"share": Share(1, 2)},
    "other weights": {"weights": ("b" * 64,)},
    "--crops 1, not 12": {"crops": 12},
    "--top-k 2, not 5": {"top_k": 5},
    "--fast-decode off, not on": {"recorded": RecordedOptions(fast_decode=True)},
    "--precision 32-true, not bf16-mixed": {"recorded": RecordedOptions(precision="bf16-mixed")},
    "--format jsonl, not parquet": {"format": "parquet"},
}


@pytest.mark.parametrize("said", CHANGES)
def test_another_job_does_not_touch_the_part(said: str, tmp_path: Path) -> None:
    work(tmp_path / "part", record())
    before = files(tmp_path / "part")
    with pytest.raises(UsageError, match=f"part: was started with {said}; give another --output"):
        work(tmp_path / "part", record().model_copy(update=CHANGES[said]))
    assert files(tmp_path / "part") == before


@pytest.mark.parametrize("finished", [True, False])
@pytest.mark.parametrize("rows_format", FORMATS)
@pytest.mark.parametrize(
    "others",
    [
        [Source("new.png"), *SOURCES],
        SOURCES[:2],
        [*SOURCES[:2], Source("new.png"), *SOURCES[3:]],
    ],
)
def test_other_pictures_are_refused(
    others: list[Source],
    rows_format: Literal["jsonl", "parquet"],
    finished: bool,
    tmp_path: Path,
) -> None:
    with open_part(tmp_path, record(rows_format)) as part:
        part.write(map(answer, part.missing(SOURCES)))
        if finished:
            part.finish()
    before = files(tmp_path)
    with pytest.raises(UsageError, match=r"(?s)--output .*(was|pictures).*; give another --output"):
        work(tmp_path, record(rows_format), others)
    assert files(tmp_path) == before


@pytest.mark.parametrize("new", [1, 2])
def test_pictures_that_came_after_a_part_was_finished_are_noticed(new: int, tmp_path: Path) -> None:
    work(tmp_path, record())
    before = files(tmp_path)
    with pytest.raises(UsageError, match="; give another --output"):
        work(tmp_path, record(), [*SOURCES, *[Source("new.png")] * new])
    assert files(tmp_path) == before


def test_a_folder_that_is_no_part_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / RECORD_NAME).write_text("mine")
    with pytest.raises(UsageError, match="contains files but no record of a part"):
        work(tmp_path, record())
    assert files(tmp_path) == {".lock": b"", "notes.txt": b"mine", RECORD_NAME: b"mine"}


@pytest.mark.parametrize("rows_format", FORMATS)
def test_a_damaged_or_missing_file_is_named(
    rows_format: Literal["jsonl", "parquet"], small: None, tmp_path: Path
) -> None:
    first, second = (
        tmp_path / f"rows-{name}.{rows_format}"
        for name in ("000000000-000000001", "000000002-000000003")
    )
    job = record(rows_format)
    work(tmp_path, job)
    content = first.read_bytes()
    first.write_bytes(content[:-9])
    with pytest.raises(UserError, match=rf"{first}: [01] of 2 rows can be read; remove the folder"):
        work(tmp_path, job)
    first.unlink()
    with pytest.raises(UserError, match=f"{second}: must start at row 0; remove the folder"):
        work(tmp_path, job)


def test_a_file_that_was_taken_from_the_end_of_a_finished_part_is_missed(
    small: None, tmp_path: Path
) -> None:
    work(tmp_path, record())
    (tmp_path / "rows-000000002-000000003.jsonl").unlink()
    with pytest.raises(UsageError, match=r"(?s)image 5 was none, is now 4.*remove this folder"):
        work(tmp_path, record())


def test_two_processes_do_not_write_one_part(tmp_path: Path) -> None:
    with open_part(tmp_path, record()) as part:
        part.write(map(answer, SOURCES[:1]))
        code = (
            "import sys; from pathlib import Path; from tests.prediction.test_part import *\n"
            "work(Path(sys.argv[1]), record())"
        )
        other = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path)],
            capture_output=True, text=True, check=False, timeout=600, env=os.environ,
        )  # fmt: skip
        assert "another process is writing it" in other.stderr
    assert work(tmp_path, record()) == [source.path for source in SOURCES[2::2]]


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    finished = Finished(inputs=7, inputs_sha256="0")
    job = record("parquet", (3, 9)).model_copy(update={"finished": finished})
    write_record(tmp_path, job)
    assert read_record(tmp_path) == job
    write_record(tmp_path, record("parquet", (9, 9)))
    assert read_record(tmp_path) is None
