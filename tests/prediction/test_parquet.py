from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyarrow.parquet import ParquetFile, read_table

from inceptcli.errors import UserError
from inceptcli.prediction.outputs import parquet
from inceptcli.prediction.outputs.parquet import check_pyarrow, read_parquet, write_parquet
from inceptcli.prediction.predict import Answer, Prediction

ANSWERS = [
    Answer("a.jpg", (Prediction("cat", 1, 0.75), Prediction("käse", 0, 1 / 7))),
    Answer("b\nc.jpg", error="empty file"),
]


def written(path: Path, answers: list[Answer]) -> Path:
    with path.open("wb") as file:
        write_parquet(answers, file)
    return path


def test_rows_have_the_fields_of_json_lines(tmp_path: Path) -> None:
    rows = read_table(written(tmp_path / "a.parquet", ANSWERS)).to_pylist()
    assert rows == [
        {
            "path": "a.jpg",
            "predictions": [
                {"class": "cat", "index": 1, "probability": 0.75},
                {"class": "käse", "index": 0, "probability": 1 / 7},
            ],
            "error": None,
        },
        {"path": "b\nc.jpg", "predictions": [], "error": "empty file"},
    ]


@pytest.mark.parametrize("answers", [[], ANSWERS, ANSWERS * 300])
def test_what_was_written_is_read_back(answers: list[Answer], tmp_path: Path) -> None:
    path = written(tmp_path / "a.parquet", answers)
    assert list(read_parquet(path)) == answers


def test_a_name_that_is_not_utf_8_becomes_text(tmp_path: Path) -> None:
    answer = Answer("k\udce4se", (Prediction("\udce4", 0, 1.0),), "\udce4")
    path = written(tmp_path / "a.parquet", [answer])
    assert list(read_parquet(path)) == [
        Answer("k\\udce4se", (Prediction("\\udce4", 0, 1.0),), "\\udce4")
    ]


def test_row_groups_are_bounded_by_rows_and_by_predictions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "ROWS", 4)
    monkeypatch.setattr(parquet, "PREDICTIONS", 3)
    many = [Answer(str(number)) for number in range(9)] + [ANSWERS[0]] * 4
    file = ParquetFile(written(tmp_path / "a.parquet", many))
    sizes = [file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)]
    assert sizes == [4, 4, 3, 2]


def test_rows_are_asked_for_group_by_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "ROWS", 1000)
    path = tmp_path / "a.parquet"
    sizes: list[int] = []

    def answers() -> Iterator[Answer]:
        for number in range(3000):
            if number % 1000 == 0:
                file.flush()
                sizes.append(path.stat().st_size)
            yield Answer(f"{number * 7919 % 10007}.png")

    with path.open("wb") as file:
        write_parquet(answers(), file)
    assert sizes[0] < sizes[1] < sizes[2]


def test_without_pyarrow_one_line_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(UserError, match=r"--format parquet needs pyarrow; pip install 'inceptcli"):
        check_pyarrow("--format parquet")
