"""Parts become one sequence of answers, or one line says what is missing or wrong."""

from __future__ import annotations

import os
import re
import resource
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Literal

import pytest

from inceptcli.errors import UsageError, UserError
from inceptcli.prediction.inputs import Source
from inceptcli.prediction.predict import Answer
from inceptcli.prediction.shares import part as part_module
from inceptcli.prediction.shares.merging import Parts
from inceptcli.prediction.shares.part import open_part
from inceptcli.prediction.shares.part_record import RECORD_NAME, read_record, write_record
from tests.prediction.test_part import answer, record, work

SOURCES = [Source(f"{number}.png", "broken" if number == 4 else None) for number in range(7)]
EXPECTED = [answer(source) for source in SOURCES]
FORMATS: tuple[Literal["jsonl", "parquet"], ...] = ("jsonl", "parquet", "jsonl")
ROWS = "rows-000000000-000000001.jsonl"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three finished parts, one of them Parquet."""
    for number, rows_format in enumerate(FORMATS):
        work(tmp_path / f"{number}.part", record(rows_format, (number, 3)), SOURCES)
    return tmp_path


def merged(*paths: Path) -> list[Answer]:
    return list(Parts(paths).answers())


def test_answers_come_in_the_order_of_the_pictures(folder: Path) -> None:
    parts = Parts([folder])
    assert list(parts.answers()) == EXPECTED
    assert (parts.inputs, parts.unreadable) == (7, 1)


def test_parts_may_be_named_in_any_order(folder: Path) -> None:
    assert merged(*(folder / f"{number}.part" for number in (2, 0, 1))) == EXPECTED


@pytest.mark.parametrize("inputs", [0, 1, 2, 5])
def test_fewer_pictures_than_shards_are_fine(inputs: int, tmp_path: Path) -> None:
    for number in range(4):
        work(tmp_path / str(number), record("jsonl", (number, 4)), SOURCES[:inputs])
    assert merged(tmp_path) == EXPECTED[:inputs]


@pytest.mark.parametrize("rows_format", ["jsonl", "parquet"])
def test_more_files_than_may_be_open_are_merged(
    rows_format: Literal["jsonl", "parquet"], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(part_module, "ROWS", 2)
    monkeypatch.setattr(os, "fsync", lambda file: None)
    sources = [Source(f"{number}.jpg") for number in range(300)]
    for number in range(60):
        work(tmp_path / str(number), record(rows_format, (number, 60)), sources)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    is_open = len([*Path("/proc/self/fd").iterdir()])
    resource.setrlimit(resource.RLIMIT_NOFILE, (is_open + 20, limits[1]))
    try:
        found = merged(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert found == [answer(source) for source in sources]


def remove(folder: Path) -> None:
    shutil.rmtree(folder / "1.part")


def begin_again(folder: Path) -> None:
    remove(folder)
    with open_part(folder / "1.part", record("parquet", (1, 3))) as part:
        part.write(map(answer, part.missing(SOURCES[:3])))


def remove_two(folder: Path) -> None:
    remove(folder)
    shutil.rmtree(folder / "0.part")


def remove_rows(folder: Path) -> None:
    (folder / "2.part" / ROWS).unlink()


def drop_a_row(folder: Path) -> None:
    part = folder / "2.part" / ROWS
    part.write_text(part.read_text().partition("\n")[2])


def add_a_row(folder: Path) -> None:
    part = folder / "2.part" / ROWS
    part.write_text(part.read_text() + part.read_text().partition("\n")[0] + "\n")


def swap_rows(folder: Path) -> None:
    part = folder / "2.part" / ROWS
    part.write_text("".join(reversed(part.read_text().splitlines(keepends=True))))


def tear(folder: Path) -> None:
    part = folder / "2.part" / ROWS
    part.write_text(part.read_text()[:-9])


def damage(folder: Path) -> None:
    (part,) = (folder / "1.part").glob("*.parquet")
    part.write_bytes(part.read_bytes()[:-9])


BROKEN: dict[Callable[[Path], None], str] = {
    remove: "1 of 3 shards are incomplete (missing: 1); run the same predict --shard",
    begin_again: "1 of 3 shards are incomplete (not finished: 1)",
    remove_two: "2 of 3 shards are incomplete (missing: 0, 1)",
    remove_rows: "2.part: has 0 of 2 rows; remove the folder and predict this shard again",
    drop_a_row: f"2.part/{ROWS}: 1 of 2 rows can be read; remove the folder and predict this",
    add_a_row: f"2.part/{ROWS}: 3 of 2 rows can be read",
    swap_rows: "0.part or another part: rows were changed after they were written",
    tear: f"2.part/{ROWS}: 1 of 2 rows can be read",
    damage: "1.part/rows-000000000-000000001.parquet: 0 of 2 rows can be read",
}


@pytest.mark.parametrize("change", BROKEN, ids=lambda change: change.__name__)
def test_what_is_missing_or_broken_is_named(change: Callable[[Path], None], folder: Path) -> None:
    change(folder)
    with pytest.raises(UserError, match=re.escape(BROKEN[change])) as raised:
        merged(folder)
    assert raised.value.exit_code == 1


def test_many_missing_shards_are_not_all_named(tmp_path: Path) -> None:
    work(tmp_path / "0", record("jsonl", (0, 1000)), SOURCES)
    with pytest.raises(UserError, match=r"999 of 1000 .*missing: 1, 2, .*, 10, \.\.\.\)"):
        merged(tmp_path)


def copy(folder: Path) -> None:
    shutil.copytree(folder / "0.part", folder / "copy")


def of_another_job(folder: Path) -> None:
    found = read_record(folder / "1.part")
    assert found
    write_record(folder / "1.part", found.model_copy(update={"weights": ("b" * 64,)}))


def of_more_shards(folder: Path) -> None:
    remove(folder)
    work(folder / "1.part", record("jsonl", (1, 4)), SOURCES)


def of_other_pictures(folder: Path) -> None:
    remove(folder)
    work(folder / "1.part", record("jsonl", (1, 3)), [*SOURCES, Source("new.png")])


def without_record(folder: Path) -> None:
    (folder / "1.part" / RECORD_NAME).unlink()


MIXED: dict[Callable[[Path], None], str] = {
    copy: "0.part and {}/copy are both shard 0/3",
    of_another_job: "0.part and {}/1.part are of different jobs: other weights",
    of_more_shards: "0.part and {}/1.part are of different jobs: 3 shards, not 4",
    of_other_pictures: "0.part and {}/1.part are of different images (7 and 8)",
    without_record: "1.part: neither a part of predict --shard nor a folder of parts",
    remove: "1.part: no such folder",
}


@pytest.mark.parametrize("change", MIXED, ids=lambda change: change.__name__)
def test_parts_that_do_not_belong_together_are_wrong_use(
    change: Callable[[Path], None], folder: Path
) -> None:
    change(folder)
    parts = [*sorted(folder.iterdir()), *[folder / "1.part"] * (change is remove)]
    with pytest.raises(UsageError, match=re.escape(MIXED[change].format(folder))):
        merged(*parts)


def test_a_folder_without_parts_is_wrong_use(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{}")
    with pytest.raises(UsageError, match="neither a part of predict --shard nor a folder of parts"):
        Parts([tmp_path])


def test_a_damaged_parquet_part_is_named(folder: Path) -> None:
    (rows,) = (folder / "1.part").glob("rows-*.parquet")
    content = rows.read_bytes()
    refused = set()
    for start in range(4, len(content) - 400, 16):
        inverted = bytes(255 - byte for byte in content[start : start + 16])
        rows.write_bytes(content[:start] + inverted + content[start + 16 :])
        with suppress(UserError):
            merged(folder)
            continue
        refused.add(start)
    assert refused
