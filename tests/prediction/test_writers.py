from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from io import StringIO

import pytest

from inceptcli.prediction.outputs.writers import WRITERS
from inceptcli.prediction.predict import Answer, Prediction
from inceptcli.prediction.recorded_options import DEFAULT_OPTIONS, RecordedOptions

ANSWERS = [
    Answer("a.jpg", (Prediction("cat", 1, 0.75), Prediction("käse", 0, 1 / 7))),
    Answer("b.jpg", error="empty file"),
]


def written(name: str, answers: list[Answer]) -> str:
    stream = StringIO(newline="")
    WRITERS[name](answers, stream, DEFAULT_OPTIONS)
    return stream.getvalue()


def test_table_has_a_path_then_its_classes() -> None:
    assert written("table", ANSWERS) == (
        "a.jpg\n  0.750000  cat\n  0.142857  käse\nb.jpg\n  error: empty file\n"
    )


def test_table_shows_control_characters_and_markup_instead_of_obeying_them() -> None:
    prediction = Prediction("[red]x[/red]\x1b[2J\u202e", 0, 1.0)
    text = written(
        "table", [Answer("a\nb\x07\udcff.jpg", (prediction,)), Answer("c", error="\x1b]")]
    )
    assert text == (
        "a\\nb\\x07\\udcff.jpg\n  1.000000  [red]x[/red]\\x1b[2J\\u202e\nc\n  error: \\x1b]\n"
    )


def test_json_lines_have_path_predictions_and_error() -> None:
    first, second = map(json.loads, written("jsonl", ANSWERS).splitlines())
    assert first == {
        "path": "a.jpg",
        "predictions": [
            {"class": "cat", "index": 1, "probability": 0.75},
            {"class": "käse", "index": 0, "probability": 1 / 7},
        ],
        "error": None,
    }
    assert second == {"path": "b.jpg", "predictions": [], "error": "empty file"}


@pytest.mark.parametrize("number", [0, 1, 2])
def test_json_is_one_list_of_the_objects_of_json_lines(number: int) -> None:
    lines = written("jsonl", ANSWERS[:number]).splitlines()
    assert json.loads(written("json", ANSWERS[:number])) == [json.loads(line) for line in lines]


@pytest.mark.parametrize("name", ["json", "jsonl"])
def test_json_is_plain_ascii_whatever_the_file_is_called(name: str) -> None:
    path = "k\udce4se\n\x00ü.jpg"
    text = written(name, [Answer(path)])
    assert text.isascii()
    found = json.loads(text)
    assert (found[0] if name == "json" else found)["path"] == path


def test_csv_has_a_line_for_each_class_and_one_for_an_error() -> None:
    assert written("csv", ANSWERS) == (
        "path,rank,class,index,probability,error\r\n"
        "a.jpg,1,cat,1,0.75,\r\n"
        f"a.jpg,2,käse,0,{1 / 7!r},\r\n"
        "b.jpg,,,,,empty file\r\n"
    )


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_csv_has_an_apostrophe_before_what_a_spreadsheet_would_run(start: str) -> None:
    text = f"{start}cmd"
    table = written("csv", [Answer(text, (Prediction(text, 0, 1.0),)), Answer("a", error=text)])
    _, classes, error = csv.reader(StringIO(table, newline=""))
    assert classes == [f"'{text}", "1", f"'{text}", "0", "1.0", ""]
    assert error == ["a", "", "", "", "", f"'{text}"]


def test_csv_keeps_line_ends_commas_and_quotes_of_names() -> None:
    path = 'a\nb\rc,"d".jpg'
    _, row = csv.reader(StringIO(written("csv", [Answer(path, error="x")]), newline=""))
    assert row[0] == path


@pytest.mark.parametrize("name", sorted(WRITERS.keys() - {"parquet"}))  # groups of rows
def test_each_answer_is_written_before_the_next_is_asked_for(name: str) -> None:
    stream = StringIO()

    def answers() -> Iterator[Answer]:
        yield ANSWERS[0]
        assert "cat" in stream.getvalue()
        yield ANSWERS[1]

    WRITERS[name](answers(), stream, DEFAULT_OPTIONS)
    assert "empty file" in stream.getvalue()


def test_names_of_a_set_in_csv_are_told_apart() -> None:
    sets = [["a;b", "c"], ["a", "b;c"]]
    answers = [Answer("x", (Prediction("c", 0, 1.0),), set=tuple(names)) for names in sets]
    stream = StringIO(newline="")
    WRITERS["csv"](answers, stream, RecordedOptions(coverage_level=0.9))
    rows = csv.DictReader(StringIO(stream.getvalue(), newline=""))
    assert [next(csv.reader([row["set"]], delimiter=";")) for row in rows] == sets
