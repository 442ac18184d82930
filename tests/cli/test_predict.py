from __future__ import annotations

import csv
import json
import os
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from inceptcli.cli.app import app
from inceptcli.cli.predict import EPILOG
from tests.prediction.conftest import draw, save_small_network


@pytest.fixture(scope="session")
def run_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    save_small_network(folder / "model.safetensors")
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three pictures."""
    for number in range(3):
        draw(tmp_path / "pictures" / f"{number}.png", number)
    return tmp_path / "pictures"


def invoke(*arguments: object, stdin: bytes = b"") -> tuple[int, str, str]:
    """Exit code, standard output and standard error of `predict` on the CPU."""
    words = ["predict", "--device", "cpu", *map(str, arguments)]
    result = CliRunner().invoke(app, words, input=stdin, catch_exceptions=False)
    return result.exit_code, result.stdout, result.stderr


def rows_of(output: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines()]


def probabilities(rows: list[dict[str, Any]]) -> dict[tuple[str, int], float]:
    return {(r["path"], p["index"]): p["probability"] for r in rows for p in r["predictions"]}


def test_a_folder_gives_its_images_with_named_probabilities(
    folder: Path, run_directory: Path
) -> None:
    code, output, errors = invoke(folder, "--weights", run_directory)
    lines = output.splitlines()
    assert (code, errors) == (0, "")
    assert [line for line in lines if not line.startswith(" ")] == [
        str(folder / f"{number}.png") for number in range(3)
    ]
    assert len(lines) == 3 * (1 + 5)


def test_every_format_and_batch_size_gives_the_same_probabilities(
    folder: Path, run_directory: Path
) -> None:
    def output(name: str, batch_size: int) -> str:
        options = ("--format", name, "--batch-size", batch_size, "--top-k", 6)
        return invoke(folder, "--weights", run_directory, *options)[1]

    expected = probabilities(rows_of(output("jsonl", 16)))
    assert len(expected) == 3 * 6
    assert probabilities(json.loads(output("json", 1))) == pytest.approx(expected, abs=1e-5)
    table = csv.DictReader(StringIO(output("csv", 2), newline=""))
    found = {(row["path"], int(row["index"])): float(row["probability"]) for row in table}
    assert found == pytest.approx(expected, abs=1e-5)
    printed = [float(line.split()[0]) for line in output("table", 3).splitlines() if line[0] == " "]
    assert printed == pytest.approx(list(expected.values()), abs=1e-5)


def test_more_classes_than_there_are_means_all(folder: Path, run_directory: Path) -> None:
    options = ("--weights", run_directory, "--format", "jsonl", "--top-k", 1000)
    (row,) = rows_of(invoke(folder / "0.png", *options)[1])
    assert sorted(p["index"] for p in row["predictions"]) == list(range(6))


def test_an_unreadable_file_is_named_the_rest_is_done_and_the_code_is_1(
    folder: Path, run_directory: Path
) -> None:
    bad = folder / "b\x1bad.png"
    bad.write_text("no image")
    code, output, errors = invoke(
        bad, "none.png", folder / "0.png", "--weights", run_directory, "--format", "jsonl"
    )
    broken, missing, good = rows_of(output)
    assert code == 1
    assert broken["path"] == str(bad)
    assert "not an image" in broken["error"]
    assert missing == {"path": "none.png", "predictions": [], "error": "No such file or directory"}
    assert good["error"] is None
    first, second = errors.splitlines()
    assert first.startswith(f"Error: {folder}/b\\x1bad.png: not an image")
    assert second == "Error: none.png: No such file or directory"


@pytest.mark.parametrize(("flags", "end"), [((), "\n"), (("-0",), "\0"), (("--null",), "\0")])
def test_paths_come_from_standard_input(
    flags: tuple[str, ...], end: str, folder: Path, run_directory: Path
) -> None:
    stdin = "".join(f"{folder}/{number}.png{end}" for number in (2, 0)).encode()
    options = ("--weights", run_directory, "--format", "jsonl", *flags)
    code, output, _ = invoke("-", *options, stdin=stdin)
    assert code == 0
    assert [row["path"] for row in rows_of(output)] == [f"{folder}/2.png", f"{folder}/0.png"]


@pytest.mark.parametrize("name", ["table", "json", "jsonl", "csv"])
def test_a_name_that_is_not_utf_8_is_read_and_shown_safely(
    name: str, folder: Path, run_directory: Path
) -> None:
    path = os.fsencode(folder) + b"/k\xe4se.png"
    Path(os.fsdecode(path)).write_bytes((folder / "0.png").read_bytes())
    output = folder.parent / "output"
    options = ("--weights", run_directory, "--format", name, "--output", output)
    code, _, errors = invoke("-", *options, stdin=path)
    assert (code, errors) == (0, f"wrote {output}, 1 image\n")
    assert "k\\udce4se.png" in output.read_text("utf-8")


def test_output_appears_in_its_file_only(folder: Path, run_directory: Path) -> None:
    output = folder.parent / "answers.jsonl"
    output.write_text("old")
    options = ("--weights", run_directory, "--format", "jsonl", "--output", output)
    code, printed, _ = invoke(folder, "none.png", *options)
    assert (code, printed) == (1, "")
    assert len(rows_of(output.read_text())) == 4
    assert sorted(path.name for path in folder.parent.iterdir()) == ["answers.jsonl", "pictures"]


def test_the_suffix_of_the_output_says_how_it_is_written(folder: Path, run_directory: Path) -> None:
    for suffix, begins in ((".csv", "path,rank,"), (".JSON", "[\n{"), (".txt", f"{folder}/")):
        output = folder.parent / f"answers{suffix}"
        code, _, _ = invoke(folder, "--weights", run_directory, "--output", output)
        assert code == 0
        assert output.read_text().startswith(begins)


def test_output_stays_as_it_was_when_the_work_ends_early(
    folder: Path, run_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("inceptcli.prediction.outputs.writers.csv.writer", interrupt)
    output = folder.parent / "answers.csv"
    output.write_text("old")
    options = ("--weights", run_directory, "--format", "csv", "--output", output)
    assert invoke(folder, *options)[0] != 0
    assert output.read_text() == "old"
    assert sorted(path.name for path in folder.parent.iterdir()) == ["answers.csv", "pictures"]


def test_a_file_that_is_no_weights_file_exits_with_1(folder: Path) -> None:
    code, _, errors = invoke(folder, "--weights", folder / "0.png")
    assert code == 1
    assert "not an inceptcli weights file" in errors


def test_every_example_names_options_that_exist() -> None:
    output = CliRunner().invoke(app, ["predict", "--help"], terminal_width=200).output
    options = {word for word in EPILOG.split() if word.startswith("--")}
    assert options
    assert all(option in output for option in options)


def test_weights_after_the_flag_are_not_taken_for_images(folder: Path, run_directory: Path) -> None:
    for name in ("recipe.yaml", "train.log"):
        (folder / name).write_text("")
    code, output, errors = invoke("a.png", "--weights", run_directory, folder)
    assert (code, output) == (2, "")
    said = f"Error: {folder}: is a run directory, not images; give --weights {folder}\n"
    assert errors == said
