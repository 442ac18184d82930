"""`eval --labels FILE.json`: several accepted labels per image, such as ReaL's."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from timm.data.real_labels import RealLabelsImagenet

import inceptcli as python
from inceptcli.evaluation.recorded_measures import measures_in
from inceptcli.weights.file import read_metadata
from tests.cli.conftest import check_one_line, inceptcli
from tests.data.class_folders import shard
from tests.prediction.conftest import IDS, draw

REAL = [[0], [1, 3], [], [5, 2, 0], [4], [3, 4], [], [2, 1, 3, 4], [0, 5], [3]]


@pytest.fixture(scope="module")
def val(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten validation images in one folder, with labels as ReaL gives them beside it."""
    root = tmp_path_factory.mktemp("val")
    for number in range(10):
        draw(root / f"images/ILSVRC2012_val_{number + 1:08}.JPEG", number, (100, 90))
    (root / "real.json").write_text(json.dumps(REAL))
    return root


@pytest.fixture(scope="module")
def probabilities(val: Path, weights: Path) -> list[list[float]]:
    """Those of all ten images, in the order of the classes."""
    answers = python.load(weights, device="cpu").predict(val / "images", top_k=6)
    return [
        [each.probability for each in sorted(answer.top, key=lambda each: each.index)]
        for answer in answers
    ]


def measured(*arguments: object) -> dict[str, Any]:
    done = inceptcli("eval", *arguments, "--format", "json", "--device", "cpu")
    assert done.exit_code == 0, done.output
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def test_accuracies_are_timms_and_the_loss_is_that_of_the_sum(
    val: Path, weights: Path, probabilities: list[list[float]]
) -> None:
    names = sorted(path.name for path in (val / "images").iterdir())
    timms: Any = RealLabelsImagenet
    theirs = timms(names, str(val / "real.json"))
    theirs.add_result(torch.tensor(probabilities))
    result = measured(weights, "--data", val / "images", "--labels", val / "real.json")
    assert (result["images"], result["unlabeled"], result["split"]) == (8, 2, "val")
    assert result["labels"] == str(val / "real.json")
    for k in (1, 5):
        assert 100 * result[f"top{k}"] == pytest.approx(theirs.get_accuracy(k))
    assert 0 < result["top1"] < result["top5"]
    pairs = [(row, labels) for row, labels in zip(probabilities, REAL, strict=True) if labels]
    losses = [-math.log(sum(row[label] for label in labels)) for row, labels in pairs]
    assert result["loss"] == pytest.approx(np.mean(losses), abs=1e-9)
    for key in ("confusion", "macro_f1", "balanced_accuracy", "kappa", "auroc"):
        assert result[key] is None
    for label, entry in enumerate(result["per_class"]):
        predicted = [labels for row, labels in pairs if np.argmax(row) == label]
        right = sum(label in labels for labels in predicted)
        assert entry["images"] == sum(label in labels for labels in REAL)
        for key in ("top1", "top1_interval", "recall", "f1", "auroc", "average_precision"):
            assert entry[key] is None
        assert entry["predicted"] == len(predicted)
        assert entry["precision"] == (right / len(predicted) if predicted else None)


def test_every_output_shows_all_accepted_labels(val: Path, weights: Path, tmp_path: Path) -> None:
    table, page = tmp_path / "images.csv", tmp_path / "page.html"
    flags = ("--data", val / "images", "--labels", val / "real.json")
    done = inceptcli("eval", weights, *flags, "--predictions", table, "--report", page)
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith(
        f"8 images, split val, 2 unlabeled, labels {val}/real.json: top-1 "
    )
    assert f"2 of 10 images have no label in {val}/real.json: left out" in done.stderr
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    own = [";".join(IDS[label] for label in sorted(labels)) for labels in REAL if labels]
    assert [row["label"] for row in rows] == own
    assert all(row["label_name"].count(";") == row["label"].count(";") for row in rows)
    assert all(row["labels"] == str(val / "real.json") for row in rows)
    assert all((row["rank"] == "1") == (row["predicted"] in row["label"]) for row in rows)
    text = page.read_text()
    assert "2 unlabeled" in text
    assert 'id="confusion"' not in text
    assert 'id="measures"' not in text
    assert "macro" not in done.stdout
    done = inceptcli("eval", weights, *flags, "--confusion", tmp_path / "pairs.csv")
    check_one_line(done, 2, "needs one label for each image; --labels accepts several")
    assert not (tmp_path / "pairs.csv").exists()
    written = tmp_path / "measures.json"
    written.write_text(json.dumps(measured(weights, *flags)))
    assert "2 images unlabeled, labels " in measures_in(written, read_metadata(weights)).what


def test_one_label_each_measures_as_class_folders_do(
    val: Path, weights: Path, tmp_path: Path
) -> None:
    """In all forms: by path, by name in any folder, from shards and from a CSV file."""
    files = sorted((val / "images").iterdir())
    for number, file in enumerate(files):
        place = tmp_path / "data/val" / IDS[number % 6] / file.name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(file.read_bytes())
    expected = measured(weights, "--data", tmp_path / "data")
    labels = {file.name: [IDS[number % 6]] for number, file in enumerate(files)}
    names = [entry.name for entry in read_metadata(weights).classes]
    by_path = {f"{IDS[n % 6]}/{file.name}": [names[n % 6]] for n, file in enumerate(files)}
    rows = [f"{file},0" for file in files]
    (tmp_path / "list.csv").write_text("\n".join(["path,label", *rows]))
    for data, content in (
        (tmp_path / "data", labels),
        (tmp_path / "data", by_path),
        (tmp_path / "data", [[n % 6] for n in range(10)]),
        (val, {f"images/{name}": found for name, found in labels.items()}),
        (tmp_path / "list.csv", {str(val / "images" / name): v for name, v in labels.items()}),
    ):
        (tmp_path / "labels.json").write_text(json.dumps(content))
        flags = ("--labels", tmp_path / "labels.json", "--allow-outside")
        found = measured(weights, "--data", data, *flags)
        assert found.pop("labels") == str(tmp_path / "labels.json")
        assert found.pop("unlabeled") == 0
        assert {**found, "split": ""} == {**expected, "split": ""}
    shard(tmp_path / "data/val", tmp_path / "shards")
    done = inceptcli("eval", weights, "--data", tmp_path / "shards", *flags)
    check_one_line(done, 1, "has no labels (10 of 10 images lack them)")


def test_labels_outside_a_subset_of_the_classes_do_not_count(
    val: Path, weights: Path, probabilities: list[list[float]], tmp_path: Path
) -> None:
    (tmp_path / "some.txt").write_text("n0\nn1\nn5\n")
    flags = ("--data", val / "images", "--labels", val / "real.json")
    result = measured(weights, *flags, "--classes", tmp_path / "some.txt")
    kept = [sorted({0, 1, 5} & {*labels}) for labels in REAL]
    assert result["images"] == sum(map(bool, kept)) == 5
    assert (result["unlabeled"], result["of_other_classes"]) == (2, 3)
    losses = [
        -math.log(sum(row[n] for n in labels) / sum(row[n] for n in (0, 1, 5)))
        for row, labels in zip(probabilities, kept, strict=True)
        if labels
    ]
    assert result["loss"] == pytest.approx(np.mean(losses), abs=1e-9)


def test_intervals_are_those_of_accuracies_and_loss(val: Path, weights: Path) -> None:
    flags = ("--data", val / "images", "--labels", val / "real.json", "--bootstrap", 100)
    result = measured(weights, *flags, "--top-k", 2)
    for key in ("top1", "topk", "loss"):
        low, high = result["bootstrap"][f"{key}_interval"]
        assert low <= result[key] <= high
    assert result["macro_f1_interval"] is None
    assert {entry["f1_interval"] for entry in result["per_class"]} == {None}
    assert inceptcli("eval", weights, *flags).exit_code == 0


def test_networks_are_compared_on_accepted_labels(val: Path, weights: Path) -> None:
    flags = ("--data", val / "images", "--labels", val / "real.json")
    result = measured(weights, *flags, "--against", weights)
    assert result["against"]["difference"] == 0
    assert result["against"]["mcnemar_p"] == 1
    assert result["against"]["per_class"] == []
    both = measured(weights, weights, *flags)
    assert both["top1"] == both["members"][0]["top1"]


@pytest.mark.parametrize(
    ("content", "code", "said"),
    [
        ("[[0]]", 1, "ILSVRC2012_val_00000002.JPEG has no labels (9 of 10 images lack them)"),
        (json.dumps([[0]] * 9 + [[6]]), 1, "00000010.JPEG: label 6 is not a class of the weights"),
        (json.dumps([[0]] * 9 + [[True]]), 1, "00000010.JPEG: label True is not a class"),
        (json.dumps([[0]] * 9 + [["n6"]]), 1, "label n6 is not a class of the weights; give its"),
        (json.dumps([[0]] * 9 + [3]), 1, "labels must be a list of classes, got 3"),
        (json.dumps([[]] * 10), 1, "accepts no label of any of the 10 images"),
        ('{"a": [0], "a": [1]}', 1, "not JSON of accepted labels: a is there twice"),
        ("[[0],", 1, "not JSON of accepted labels: Expecting value: line 1 column 6"),
        ("[" * 100_000, 1, "not JSON of accepted labels: "),
        ('"real"', 1, "must be a list of lists of classes, one for each of ILSVRC's"),
        ("", 1, "not JSON of accepted labels"),
        (None, 2, "x.json: No such file or directory"),
    ],
)
def test_wrong_files_are_refused(
    content: str | None, code: int, said: str, val: Path, weights: Path, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / "x.json").write_text(content)
    flags = ("--data", val / "images", "--labels", tmp_path / "x.json")
    check_one_line(inceptcli("eval", weights, *flags), code, said)


def test_images_without_a_number_need_paths(weights: Path, tmp_path: Path) -> None:
    draw(tmp_path / "data/a.png", 1)
    (tmp_path / "labels.json").write_text("[[0]]")
    flags = ("--data", tmp_path / "data", "--labels", tmp_path / "labels.json")
    check_one_line(inceptcli("eval", weights, *flags), 1, "give an object {path: [classes]}")
    (tmp_path / "labels.json").write_text('{"a.png": [0], "./a.png": [1]}')
    check_one_line(inceptcli("eval", weights, *flags), 1, "./a.png is there twice")
    (tmp_path / "labels.json").write_text('{"a.png": [0, "n1", 0], "b.png": [1]}')
    done = inceptcli("eval", weights, *flags)
    assert "1 of the 2 images in" in done.stderr
    assert done.stdout.startswith("1 image, ")
    done = inceptcli("eval", weights, *flags, "--split", "test")
    check_one_line(done, 2, "--split test: ")
    (tmp_path / "data/a.png").unlink()
    check_one_line(inceptcli("eval", weights, *flags), 1, "no images")
