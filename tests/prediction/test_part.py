"""A part goes on wherever it was cut, and no row is lost or doubled. Answers are made up."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from inceptcli.errors import UsageError
from inceptcli.prediction.inputs import Source
from inceptcli.prediction.outputs.parquet import read_parquet
from inceptcli.prediction.predict import Answer, Prediction
from inceptcli.prediction.shares.part import Part, open_part
from inceptcli.prediction.shares.part_record import PartRecord, read_record, record_path, rows_path
from inceptcli.prediction.shares.share import Share

SOURCES = [Source(f"{number}\n.png", "broken" if number == 4 else None) for number in range(7)]
FORMATS = ["jsonl", "parquet"]


def record(output_format: str = "jsonl", shard: tuple[int, int] = (0, 2)) -> PartRecord:
    assert output_format in ("jsonl", "parquet")
    return PartRecord(Share(*shard), output_format, ("a" * 64,), 1, 2)  # type: ignore[arg-type]


def answer(source: Source) -> Answer:
    if source.problem:
        return Answer(source.path, error=source.problem)
    return Answer(source.path, (Prediction("käse", 0, len(source.path) / 7),))


def work(path: Path, job: PartRecord, sources: Sequence[Source] = SOURCES) -> list[str]:
    """All that a start does; the paths of the pictures that it answered."""
    answered: list[str] = []

    def answers(part: Part) -> Iterator[Answer]:
        for source in part.missing(sources):
            answered.append(source.path)
            yield answer(source)

    with open_part(path, job) as part:
        part.write(answers(part))
        if not part.is_finished:
            part.finish()
    return answered


def rows(path: Path, output_format: str) -> list[Answer]:
    if output_format == "parquet":
        return list(read_parquet(path))
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [
        Answer(
            line["path"],
            tuple(Prediction(*prediction.values()) for prediction in line["predictions"]),
            line["error"],
        )
        for line in lines
    ]


@pytest.mark.parametrize("output_format", FORMATS)
def test_a_part_has_the_rows_of_its_share(output_format: str, tmp_path: Path) -> None:
    parts = [tmp_path / f"{number}.{output_format}" for number in range(3)]
    for number, path in enumerate(parts):
        work(path, record(output_format, (number, 3)))
        assert rows(path, output_format) == [answer(source) for source in SOURCES[number::3]]
    found = [read_record(path) for path in parts]
    finished = [entry.finished for entry in found if entry and entry.finished]
    assert [(end.rows, end.unreadable) for end in finished] == [(3, 0), (2, 1), (2, 0)]
    assert {(end.inputs, end.inputs_sha256) for end in finished} == {(7, finished[0].inputs_sha256)}
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {name for path in parts for name in (path.name, f"{path.name}.json")}


@pytest.mark.parametrize("output_format", FORMATS)
def test_a_finished_part_is_left_as_it_is(output_format: str, tmp_path: Path) -> None:
    path = tmp_path / "part"
    work(path, record(output_format))
    before = {entry.name: entry.stat().st_mtime_ns for entry in tmp_path.iterdir()}
    assert work(path, record(output_format)) == []
    assert {entry.name: entry.stat().st_mtime_ns for entry in tmp_path.iterdir()} == before


@pytest.mark.parametrize("output_format", FORMATS)
def test_a_finished_part_that_was_removed_is_made_again(output_format: str, tmp_path: Path) -> None:
    path = tmp_path / "part"
    work(path, record(output_format))
    path.unlink()
    assert work(path, record(output_format)) == [source.path for source in SOURCES[::2]]
    assert rows(path, output_format) == [answer(source) for source in SOURCES[::2]]


@pytest.mark.parametrize("output_format", FORMATS)
def test_rows_cut_at_any_byte_go_on_to_the_same_part(
    output_format: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", lambda file: None)  # hundreds of them take half a minute
    job, whole = record(output_format), tmp_path / "whole"
    work(whole, job, SOURCES[:5])
    content = b"".join(
        json.dumps(
            {
                "path": row.path,
                "predictions": [
                    {"class": p.name, "index": p.index, "probability": p.probability}
                    for p in row.top
                ],
                "error": row.error,
            }
        ).encode()
        + b"\n"
        for row in rows(whole, output_format)
    )
    share = [source.path for source in SOURCES[:5:2]]
    for length in range(len(content) + 1):
        path = tmp_path / f"cut-{length}"
        with open_part(path, job) as part:
            part.write(())
        rows_path(path, job.format).write_bytes(content[:length])
        assert work(path, job, SOURCES[:5]) == share[content[:length].count(b"\n") :]
        assert rows(path, output_format) == rows(whole, output_format)
        for entry in (path, record_path(path)):
            entry.unlink()


@pytest.mark.parametrize("tail", [b"\0" * 100, b"{}\n", b'{"path": 1}\n', b"\xff\n", b"[[[\n"])
def test_what_a_power_cut_left_is_cut_off(tail: bytes, tmp_path: Path) -> None:
    path = tmp_path / "part.jsonl"
    with open_part(path, record()) as part:
        part.write(answer(source) for source in SOURCES[:3:2])
    with path.open("ab") as file:
        file.write(tail)
    assert work(path, record()) == [source.path for source in SOURCES[4::2]]
    assert rows(path, "jsonl") == [answer(source) for source in SOURCES[::2]]


def test_a_stop_between_the_parquet_file_and_its_record_is_made_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, job = tmp_path / "part.parquet", record("parquet")
    with monkeypatch.context() as patch:

        def interrupt(*_: object) -> None:
            raise KeyboardInterrupt

        with open_part(path, job) as part:  # begun, so that only the last record is missing
            part.write(())
        patch.setattr("inceptcli.prediction.shares.part.write_record", interrupt)
        with pytest.raises(KeyboardInterrupt):
            work(path, job)
    assert path.exists()
    assert rows_path(path, job.format).exists()
    assert work(path, job) == []
    assert rows(path, "parquet") == [answer(source) for source in SOURCES[::2]]
    assert not rows_path(path, job.format).exists()


CHANGES = {
    "--shard 0/2, not 1/2": PartRecord(Share(1, 2), "jsonl", ("a" * 64,), 1, 2),
    "other weights": PartRecord(Share(0, 2), "jsonl", ("b" * 64,), 1, 2),
    "--crops 1, not 12": PartRecord(Share(0, 2), "jsonl", ("a" * 64,), 12, 2),
    "--top-k 2, not 5": PartRecord(Share(0, 2), "jsonl", ("a" * 64,), 1, 5),
    "--fast-decode off, not on": PartRecord(Share(0, 2), "jsonl", ("a" * 64,), 1, 2, True),
    "--format jsonl, not parquet": PartRecord(Share(0, 2), "parquet", ("a" * 64,), 1, 2),
}


@pytest.mark.parametrize("said", CHANGES)
def test_another_job_does_not_touch_the_part(said: str, tmp_path: Path) -> None:
    path = tmp_path / "part"
    work(path, record())
    before = {entry.name: entry.read_bytes() for entry in tmp_path.iterdir()}
    with pytest.raises(UsageError, match=f"part: was begun with {said}; give another --output"):
        work(path, CHANGES[said])
    assert {entry.name: entry.read_bytes() for entry in tmp_path.iterdir()} == before


@pytest.mark.parametrize("finished", [True, False])
@pytest.mark.parametrize(
    "others",
    [
        [Source("new.png"), *SOURCES],
        SOURCES[:2],
        [*SOURCES[:2], Source("new.png"), *SOURCES[3:]],
    ],
)
def test_other_pictures_are_refused(others: list[Source], finished: bool, tmp_path: Path) -> None:
    path = tmp_path / "part.jsonl"
    with open_part(path, record()) as part:
        part.write(map(answer, part.missing(SOURCES)))
        if finished:
            part.finish()
    before = path.read_bytes()
    with pytest.raises(UsageError, match=r"part\.jsonl: its rows? .*; give another --output"):
        work(path, record(), others)
    assert path.read_bytes() == before


def test_pictures_that_came_after_a_part_was_finished_are_noticed(tmp_path: Path) -> None:
    path = tmp_path / "part.jsonl"
    work(path, record())
    with pytest.raises(UsageError, match="its rows are of other pictures than these"):
        work(path, record(), [*SOURCES, Source("new.png")])


@pytest.mark.parametrize("output_format", FORMATS)
def test_a_file_that_is_no_part_is_not_touched(output_format: str, tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("mine")
    with pytest.raises(UsageError, match="exists and is no part of ours"):
        work(path, record(output_format))
    assert [entry.name for entry in tmp_path.iterdir()] == ["notes.txt"]
    assert path.read_text() == "mine"


@pytest.mark.parametrize("output_format", FORMATS)
def test_two_processes_do_not_write_one_part(output_format: str, tmp_path: Path) -> None:
    path, job = tmp_path / "part", record(output_format)
    with open_part(path, job) as part:
        part.write(map(answer, SOURCES[:1]))
        code = (
            "import sys; from pathlib import Path; from tests.prediction.test_part import *\n"
            "work(Path(sys.argv[1]), record(sys.argv[2]))"
        )
        other = subprocess.run(
            [sys.executable, "-c", code, str(path), output_format],
            capture_output=True, text=True, check=False, timeout=600, env=os.environ,
        )  # fmt: skip
        assert "another process is writing it" in other.stderr
    assert work(path, job) == [source.path for source in SOURCES[2::2]]


def test_temporary_files_of_a_killed_process_go(tmp_path: Path) -> None:
    path = tmp_path / "part[1].parquet"
    for name in (path.name, record_path(path).name):
        (tmp_path / f".{name}.12345678.partial").touch()
    other = tmp_path / ".part1.parquet.12345678.partial"
    other.touch()
    work(path, record("parquet"))
    assert {entry.name for entry in tmp_path.iterdir()} == {
        path.name, record_path(path).name, other.name
    }  # fmt: skip
