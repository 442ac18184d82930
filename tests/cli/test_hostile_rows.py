"""Parts, records, indices and metrics that this program did not write: one line, no traceback."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from inceptcli.prediction.predict import Answer
from inceptcli.prediction.writers import write_csv
from tests.cli.conftest import check_one_line, inceptcli, picture


@pytest.fixture
def part(weights: Path, tmp_path: Path) -> Path:
    """A finished part of one row."""
    picture(tmp_path / "a.png", 0)
    command = ["predict", tmp_path / "a.png", "--weights", weights, "--device", "cpu"]
    output = tmp_path / "parts/part.jsonl"
    assert inceptcli(*command, "--shard", "0/1", "--output", output).exit_code == 0
    return output


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
    row = json.loads(part.read_text())
    part.write_text(json.dumps({**row, **ROWS[wrong]}) + "\n")
    output = part.with_name("out")
    done = inceptcli("merge", part, "--format", output_format, "--output", output, "--quiet")
    check_one_line(done, 1, str(part))
    assert not output.exists()


@pytest.mark.parametrize("value", ["xml", 3, None, ["jsonl"]])
def test_a_record_of_another_format_is_no_record(value: object, part: Path) -> None:
    record = part.with_name("part.jsonl.json")
    record.write_text(json.dumps({**json.loads(record.read_text()), "format": value}))
    check_one_line(inceptcli("merge", part, "--quiet"), 2, "no part of predict --shard")


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
