"""Parts, records, indices and metrics that this program did not write: one line, no traceback."""

from __future__ import annotations

import io
import json
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

from inceptcli.errors import UserError
from inceptcli.prediction.inputs import find_sources
from inceptcli.prediction.outputs.writers import write_csv
from inceptcli.prediction.predict import Answer
from inceptcli.prediction.shares.part_record import (
    RECORD_NAME,
    Finished,
    PartRecord,
    write_record,
)
from inceptcli.prediction.shares.share import Share
from tests.cli.conftest import check_one_line, inceptcli, picture

FIRST = "rows-000000000-000000000.jsonl"


@pytest.fixture
def part(weights: Path, tmp_path: Path) -> Path:
    """A finished part of one row."""
    picture(tmp_path / "a.png", 0)
    command = ["predict", tmp_path / "a.png", "--weights", weights, "--device", "cpu"]
    assert inceptcli(*command, "--shard", "0/1", "--output", tmp_path / "parts").exit_code == 0
    return tmp_path / "parts/part-00000-of-00001"


ROWS: dict[str, dict[str, Any]] = {
    "path": {"path": 3},
    "error": {"error": [1]},
    "class": {"predictions": [{"class": None, "index": 0, "probability": 0.5}]},
    "index": {"predictions": [{"class": "a", "index": "0", "probability": 0.5}]},
    "probability": {"predictions": [{"class": "a", "index": 0, "probability": "high"}]},
    "predictions": {"predictions": 5},
}


@pytest.mark.parametrize("output_format", ["jsonl", "csv"])
@pytest.mark.parametrize("wrong", ROWS)
def test_a_row_of_other_types_is_refused(wrong: str, output_format: str, part: Path) -> None:
    rows = part / FIRST
    rows.write_text(json.dumps({**json.loads(rows.read_text()), **ROWS[wrong]}) + "\n")
    output = part.with_name("out")
    done = inceptcli("merge", part, "--format", output_format, "--output", output, "--quiet")
    check_one_line(done, 1, str(rows))
    assert not output.exists()


@pytest.mark.parametrize("value", ["xml", 3, None, ["jsonl"]])
def test_a_record_of_another_format_is_no_record(value: object, part: Path) -> None:
    record = part / RECORD_NAME
    record.write_text(json.dumps({**json.loads(record.read_text()), "format": value}))
    check_one_line(inceptcli("merge", part, "--quiet"), 2, "neither a part of predict --shard")


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("1,1,1e300", "line 2: seconds must be a number, got '1e300'"),
        ("inf,1,1", "line 2: epoch must be a number, got 'inf'"),
        ("nan,1,1", "line 2: epoch must be a number, got 'nan'"),
        ("1,1," + "9" * 200_000, "field larger than field limit"),
        ("1,1," + "x" * 100_000, "line 2: seconds must be a number, got 'xxxxxxxxxxxx..."),
    ],
)
@pytest.mark.parametrize("command", ["compare"])
def test_metrics_with_huge_values_are_refused(
    command: str, row: str, said: str, tmp_path: Path
) -> None:
    (tmp_path / "metrics.csv").write_text(f"epoch,step,seconds\n{row}\n")
    done = inceptcli(command, tmp_path)
    check_one_line(done, 1, said)
    assert len(done.stderr) < 300 + len(str(tmp_path))


def test_a_lone_surrogate_in_an_index_makes_it_no_index(weights: Path, tmp_path: Path) -> None:
    picture(tmp_path / "a.png", 0)
    with tarfile.open(tmp_path / "s.tar", "w") as archive:
        archive.add(tmp_path / "a.png", "a.png")
    index = {
        "inceptcli_shard": 1, "bytes": (tmp_path / "s.tar").stat().st_size,
        "members": ["\ud800"], "positions": [0], "offsets": [512], "sizes": [9], "labels": [0],
    }  # fmt: skip
    (tmp_path / "s.tar.json").write_text(json.dumps(index))
    done = inceptcli(
        "predict", tmp_path / "s.tar", "--weights", weights, "--device", "cpu", "--format", "csv"
    )
    assert done.exit_code == 0, done.output
    assert ",1," in done.stdout.splitlines()[1]


def test_samples_of_an_index_do_not_share_their_bytes(weights: Path, tmp_path: Path) -> None:
    picture(tmp_path / "a.png", 0)
    with tarfile.open(tmp_path / "s.tar", "w") as archive:
        archive.add(tmp_path / "a.png", "a.png")
    size, many = (tmp_path / "s.tar").stat().st_size, 1000
    index = {
        "inceptcli_shard": 1, "bytes": size, "members": ["b.png"] * many,
        "positions": [0] * many, "offsets": [0] * many, "sizes": [size] * many,
        "labels": [0] * many,
    }  # fmt: skip
    (tmp_path / "s.tar.json").write_text(json.dumps(index))
    command = ["predict", tmp_path / "s.tar", "--weights", weights, "--device", "cpu"]
    done = inceptcli(*command, "--format", "csv", "--top-k", "1")
    assert done.exit_code == 0, done.output
    assert done.stdout.count("\n") == 2


def hole(path: Path, start: bytes = b"") -> None:
    """A file of gigabytes that takes no room."""
    with path.open("wb") as file:
        file.write(start)
        file.truncate(6 * 2**30)


def tar_of_a_long_header(path: Path) -> None:
    header = tarfile.TarInfo("a")
    header.type, header.size = tarfile.XHDTYPE, 5 * 2**30
    hole(path, header.tobuf(tarfile.GNU_FORMAT))


def test_a_hole_as_a_tar_file_or_beside_it_is_not_read(weights: Path, tmp_path: Path) -> None:
    tar_of_a_long_header(tmp_path / "s.tar")
    hole(tmp_path / "s.tar.json")
    done = inceptcli("predict", tmp_path / "s.tar", "--weights", weights, "--device", "cpu")
    assert done.exit_code == 1
    assert "a header of 5368709120 bytes" in done.stderr


@pytest.mark.parametrize("what", ["record", "rows", "pipe"])
def test_a_hole_or_a_pipe_as_a_part_is_not_read(what: str, part: Path) -> None:
    if what == "pipe":
        (part / FIRST).unlink()
        os.mkfifo(part / FIRST)
    else:
        hole(part / (RECORD_NAME if what == "record" else FIRST))
    done = inceptcli("merge", part, "--quiet")
    if what == "record":
        check_one_line(done, 2, "neither a part of predict --shard")
    else:
        said = "not a regular file" if what == "pipe" else "0 of 1 rows can be read"
        check_one_line(done, 1, f"{FIRST}: {said}")


@pytest.mark.parametrize("rows", [1, 2**21])
def test_a_row_group_of_another_program_is_not_read(rows: int, tmp_path: Path) -> None:
    parquet, arrow = pytest.importorskip("pyarrow.parquet"), pytest.importorskip("pyarrow")
    table = arrow.table({"path": arrow.array(range(rows))})
    name = "rows-000000000-000000000.parquet"
    parquet.write_table(table, tmp_path / name, row_group_size=rows)
    record = PartRecord(
        share=Share(0, 1), format="parquet", weights=(), crops=1, top_k=5,
        finished=Finished(inputs=1, inputs_sha256="0"),
    )  # fmt: skip
    write_record(tmp_path, record)
    check_one_line(inceptcli("merge", tmp_path), 1, f"{name}: 0 of 1 rows can be read")


@pytest.mark.parametrize("flags", [[], ["--null"]])
def test_a_path_that_does_not_end_is_refused(flags: list[str], tmp_path: Path) -> None:
    (tmp_path / "list").write_bytes(b"x" * 100_000)
    with (
        (tmp_path / "list").open("rb", buffering=0) as stream,
        pytest.raises(UserError, match="a path of over 65536 bytes"),
    ):
        list(find_sources(["-"], stream, null=bool(flags)))


@pytest.mark.parametrize("kind", ["pipe", "device", "number"])
def test_a_list_of_exclusions_is_a_file_of_numbers_and_paths(
    kind: str, weights: Path, tmp_path: Path
) -> None:
    picture(tmp_path / "a.png", 0)
    (tmp_path / "l.csv").write_text("path,label\na.png,n0\n")
    exclude = tmp_path / "x"
    if kind == "pipe":
        os.mkfifo(exclude)
    elif kind == "device":
        exclude.symlink_to("/dev/zero")
    else:
        exclude.write_text("9" * 5000)
    done = inceptcli("eval", weights, "--data", tmp_path / "l.csv", "--exclude", exclude)
    said = "must be 1 to 50000" if kind == "number" else "not a regular file"
    check_one_line(done, 1 if kind == "number" else 2, said)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("error", [None, "broken \x1b[2J"])
def test_csv_on_a_terminal_has_no_control_characters(error: str | None) -> None:
    terminal, file = Terminal(), io.StringIO()
    answer = Answer("\x1b]0;owned\x07.png", error=error or "no")
    for stream in (terminal, file):
        write_csv([answer], stream)
    assert "\x1b" not in terminal.getvalue()
    assert r"\x1b]0;owned\x07.png" in terminal.getvalue()
    assert "\x1b]0;owned\x07.png" in file.getvalue()
