"""Multi-label data in the user's form: train, eval, predict and ONNX agree."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from inceptcli.data.pixels.shapes import CLASSES, PAIRS, draw
from inceptcli.weights.file import read_metadata
from tests.cli.conftest import TINY, check_one_line, inceptcli
from tests.training.conftest import random_weights

BINARY = ("--set", "loss.name=binary", "--set", "averaging.decay=0")
FRACTION = ("--val-fraction", "0.4")


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of pairs of shapes with labels.csv and columns.csv."""
    folder = tmp_path_factory.mktemp("pairs")
    names = [",".join(("path", "labels")), ",".join(("path", *CLASSES))]
    files = [folder / "labels.csv", folder / "columns.csv"]
    for number in range(20):
        image, pair = f"{number}.png", PAIRS[number * 7 % len(PAIRS)]
        Image.fromarray(draw(0, number * 7, (75, 75), pairs=True)).save(folder / image)
        names[0] += f"\n{image},{';'.join(CLASSES[place] for place in pair)}"
        names[1] += f"\n{image},{','.join(str(int(place in pair)) for place in range(10))}"
    for file, text in zip(files, names, strict=True):
        file.write_text(f"{text}\n")
    return folder


@pytest.fixture(scope="module")
def run(pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    done = inceptcli(
        "train", *TINY, "--data", pairs / "labels.csv", *FRACTION, *BINARY, "--output", folder
    )
    assert done.exit_code == 0, done.output
    return folder


def figures(*arguments: object) -> dict[str, Any]:
    done = inceptcli("eval", *arguments, "--format", "json", "--device", "cpu")
    assert done.exit_code == 0, done.output
    values: dict[str, Any] = json.loads(done.stdout)
    return values


@pytest.mark.train
def test_training_evaluation_prediction_and_onnx_agree(
    run: Path, pairs: Path, tmp_path: Path
) -> None:
    with (run / "metrics.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    metadata = read_metadata(run / "model.safetensors")
    assert (metadata.outputs, metadata.is_multi_label) == ("sigmoid", True)
    assert (row["val_top1"], row["val_balanced_accuracy"]) == ("", "")
    measured = figures(run)
    for name in ("average_precision", "micro_f1", "macro_f1", "loss"):
        assert float(row[f"val_{name}"]) == pytest.approx(measured[name], abs=2e-6)
    (checkpoint,) = (run / "checkpoints").iterdir()
    imported = tmp_path / "imported.safetensors"
    assert inceptcli("import", checkpoint, "--output", imported).exit_code == 0
    kept = read_metadata(imported)
    assert (kept.outputs, kept.thresholds) == ("sigmoid", metadata.thresholds)
    exported = tmp_path / "model.onnx"
    assert inceptcli("export", run, "--to", "onnx", "--output", exported).exit_code == 0
    lists = [figures(weights, "--data", pairs / name, "--split", "all")
             for weights in (run, exported) for name in ("labels.csv", "columns.csv")]  # fmt: skip
    for found in lists:
        assert found["images"] == 20
        assert found["micro_f1"] == lists[0]["micro_f1"]
        assert found["loss"] == pytest.approx(lists[0]["loss"], abs=1e-5)
    labels = [answers(weights, pairs) for weights in (run, exported)]
    assert labels[0] == labels[1]
    rows = tmp_path / "rows.csv"
    inceptcli("eval", run, "--data", pairs / "labels.csv", "--split", "all", "--predictions", rows)
    with rows.open(newline="") as file:
        expected = [set(filter(None, row["predicted"].split(";"))) for row in csv.DictReader(file)]
    assert labels[0] == expected


def answers(weights: Path, pairs: Path) -> list[set[str]]:
    images = [pairs / f"{number}.png" for number in range(20)]
    done = inceptcli(
        "predict", *images, "--weights", weights, "--top-k", 1, "--format", "jsonl",
        "--device", "cpu",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    found = [json.loads(line) for line in done.stdout.splitlines()]
    for answer in found:
        assert all(label in answer["predictions"] for label in answer["labels"])
    return [{label["class"] for label in answer["labels"]} for answer in found]


def rows_of_csv(path: Path) -> list[str]:
    with path.open(newline="") as file:
        return [row["is_label"] for row in csv.DictReader(file)]


@pytest.mark.train
def test_every_format_says_which_classes_reach_their_thresholds(
    run: Path, pairs: Path, tmp_path: Path
) -> None:
    pyarrow = pytest.importorskip("pyarrow.parquet")
    image, common = pairs / "3.png", ("--weights", run, "--threshold", "0.0", "--device", "cpu")
    for name in ("a.csv", "a.parquet", "a.txt"):
        done = inceptcli("predict", image, *common, "--top-k", 2, "--output", tmp_path / name)
        assert done.exit_code == 0, done.output
    assert rows_of_csv(tmp_path / "a.csv") == ["true"] * 10
    (row,) = pyarrow.read_table(tmp_path / "a.parquet").to_pylist()
    assert row["labels"] == row["predictions"]
    assert row["threshold"] == 0
    assert (tmp_path / "a.txt").read_text().count("\n* 0.") == 10
    part = ("--shard", "0/1", "--output", tmp_path / "parts")
    assert inceptcli("predict", image, tmp_path / "none.png", *common, *part).exit_code == 1
    assert inceptcli("merge", tmp_path / "parts", "--output", tmp_path / "b.csv").exit_code == 0
    assert rows_of_csv(tmp_path / "b.csv") == [*["true"] * 10, ""]
    page = tmp_path / "page.html"
    assert inceptcli("predict", image, *common, "--gallery", page).exit_code == 0
    assert f'data-answer="{" ".join(str(p["index"]) for p in row["labels"])}"' in page.read_text()


@pytest.mark.train
def test_eval_writes_a_report_with_intervals_of_groups(
    run: Path, pairs: Path, tmp_path: Path
) -> None:
    lines = (pairs / "labels.csv").read_text().splitlines()
    data, page, rows = pairs / "patients.csv", tmp_path / "report.html", tmp_path / "rows.csv"
    patients = ["patient", *(f"p{number // 4}" for number in range(20))]
    data.write_text("".join(f"{a},{b}\n" for a, b in zip(lines, patients, strict=True)))
    found = figures(
        run, "--data", data, "--bootstrap", 100, "--group", "Patient", "--threshold", 0.3,
        "--split", "all", "--report", page, "--predictions", rows,
    )  # fmt: skip
    for name in ("average_precision", "auroc", "micro_f1", "macro_f1"):
        low, high = found[f"{name}_interval"]
        assert 0 <= low <= high <= 1
    assert (found["bootstrap"]["groups"], found["bootstrap"]["group"]) == (5, "Patient")
    assert len(found["per_class"][0]["f1_interval"] or (0, 0)) == 2
    text = page.read_text()
    assert "5 groups (Patient)" in text
    assert f'<p class="value">{found["macro_f1"]:.2%}</p>' in text
    with rows.open(newline="") as file:
        pairs_of = [(row["labels"], row["predicted"]) for row in csv.DictReader(file)]
    wrong = sum({*a.split(";")} ^ {*b.split(";")} - {""} != set() for a, b in pairs_of)
    assert text.count('<li class="card">') == wrong > 0
    assert text.count('<img src="data:image/jpeg;base64,') == wrong
    assert 'id="confusion"' not in text
    assert 'id="calibration"' not in text


@pytest.mark.train
def test_weights_of_two_kinds_and_options_of_one_label_are_one_line(
    run: Path, pairs: Path, tmp_path: Path
) -> None:
    weights, data = (
        random_weights(tmp_path / "softmax.safetensors"),
        ("--data", pairs / "labels.csv"),
    )
    for arguments, said in (
        (("predict", pairs / "3.png", "--weights", run, "--weights", weights), "the same outputs"),
        (("predict", pairs / "3.png", "--weights", weights, "--threshold", "0.5"), "softmax outp"),
        (("eval", weights, *data), "has softmax outputs, for one label per image"),
        (("eval", run, *data, "--top-k", "2"), "--top-k: is for images with one label each"),
        (("eval", run, *data, "--confusion", "c.csv"), "--confusion: is for images with one label"),
        (("eval", run, *data, "--bootstrap", "9"), "--bootstrap 9: must be 100 to 10000"),
        (("eval", run, *data, "--bootstrap", "100", "--group", "a"), "no such column, only path, "),
        (("calibrate", run, *data), "has sigmoid outputs, as multi-label weights"),
    ):
        check_one_line(inceptcli(*arguments), 2, said)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (FRACTION, "needs sigmoid outputs; give --set loss.name=binary"),
        ((*FRACTION, *BINARY, "--set", "data.sampling=balanced"), "needs one label per image"),
        ((*FRACTION, *BINARY, "--set", "trainer.best_by=val_balanced_accuracy"), "not measured on"),
        (BINARY, "no validation images; give --val-fraction 0.1, or another CSV file"),
    ],
)
def test_a_recipe_that_does_not_fit_multi_label_data_is_one_line(
    arguments: tuple[str, ...], said: str, pairs: Path, tmp_path: Path
) -> None:
    done = inceptcli(
        "train", *TINY, "--data", pairs / "labels.csv", *arguments, "--output", tmp_path / "run"
    )
    check_one_line(done, 2, said)


def test_data_commands_read_a_csv_file(pairs: Path, tmp_path: Path) -> None:
    done = inceptcli("data", "check", pairs / "labels.csv", "--format", "json")
    report = json.loads(done.stdout)
    assert (report["images"], report["clean"]) == (20, True)
    assert sum(entry["images"]["all"] for entry in report["classes"]) == 40
    done = inceptcli("data", "shard", pairs / "labels.csv", "--output", tmp_path / "shards")
    check_one_line(done, 2, "shards are made of class folders, with one label per image")
