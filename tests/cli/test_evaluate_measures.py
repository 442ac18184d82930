"""`eval` with thresholds, top-k and bootstrap intervals, as people type it."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import f1_score, recall_score, roc_auc_score

import inceptcli as package
from inceptcli.evaluation.measures import Evaluation
from inceptcli.weights.file import load_network, save
from tests.cli.conftest import check_one_line, inceptcli
from tests.prediction.conftest import draw, save_small_network


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of two classes and 40 pictures of 8 patients in a list."""
    folder = tmp_path_factory.mktemp("retina")
    save_small_network(folder / "model.safetensors", ["n0", "n1"])
    rows = ["path,label,Patient,site,twice,twice"]
    for number in range(40):
        draw(folder / f"{number}.png", number)
        label = "n1" if number % 3 == 0 else "n0"
        rows.append(f"{number}.png,{label},p{number // 5},here,a,b")
    (folder / "list.csv").write_text("\n".join(rows))
    return folder


def measured(folder: Path, *flags: object) -> dict[str, Any]:
    data = ("--data", folder / "list.csv", "--format", "json", "--quiet")
    done = inceptcli("eval", folder / "model.safetensors", *data, *flags)
    assert done.exit_code == 0, done.output
    assert done.stderr == ""
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_measures_of_two_classes_are_those_of_the_images(two: Path, tmp_path: Path) -> None:
    found = measured(two, "--threshold", 0.4, "--predictions", tmp_path / "rows.csv.gz")
    with gzip.open(tmp_path / "rows.csv.gz", "rt", newline="") as file:
        rows = list(csv.DictReader(file))
    labels, predicted = ([row[column] for row in rows] for column in ("label", "predicted"))
    sick = np.array([
        float(row["probability"]) if row["predicted"] == "n1" else 1 - float(row["probability"])
        for row in rows
    ])  # fmt: skip
    assert found["macro_f1"] == pytest.approx(f1_score(labels, predicted, average="macro"))
    assert found["auroc"] == pytest.approx(roc_auc_score(labels, sick))
    assert (found["positive"], found["threshold"]) == ("n1", 0.4)
    is_sick = np.array(labels) == "n1"
    assert found["sensitivity"] == pytest.approx(recall_score(is_sick, sick >= 0.4))
    assert found["specificity"] == pytest.approx(recall_score(~is_sick, sick < 0.4))
    assert "bootstrap" not in found
    assert "topk" not in found
    other = measured(two, "--threshold", 0.6, "--positive", "circle")
    assert other["positive"] == "n0"
    assert other["sensitivity"] == pytest.approx(found["specificity"], abs=0.1)


def test_a_chosen_threshold_gives_the_same_when_it_is_given(two: Path) -> None:
    chosen = measured(two, "--sensitivity", 0.9)
    assert chosen["sensitivity"] >= 0.9
    assert measured(two, "--threshold", chosen["threshold"]) == chosen
    table = inceptcli(
        "eval", two / "model.safetensors", "--data", two / "list.csv", "--specificity", 0.75
    ).stdout
    threshold = table.split("threshold ")[1].split(")")[0]
    again = measured(two, "--threshold", threshold)
    assert again["specificity"] >= 0.75
    assert again["threshold"] == float(threshold)


def test_intervals_come_from_images_or_from_groups_of_the_list(two: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    flags = ("--bootstrap", 200, "--top-k", 1)
    images = measured(two, *flags)
    groups = measured(two, *flags, "--group", "patient", "--report", page)
    expected: dict[str, Any] = {"resamples": 200, "seed": 0, "group": None, "groups": None}
    assert {key: images["bootstrap"][key] for key in expected} == expected
    expected |= {"group": "patient", "groups": 8}
    assert {key: groups["bootstrap"][key] for key in expected} == expected
    for found in (images, groups):
        low, high = found["bootstrap"]["topk_interval"]
        assert low < found["topk"] == found["top1"] < high
        assert found["bootstrap"]["top1_interval"] == [low, high]
        for name in ("macro_f1", "auroc", "kappa", "sensitivity", "specificity"):
            low, high = found[f"{name}_interval"]
            assert low <= found[name] <= high
        for entry in found["per_class"]:
            assert entry["recall_interval"][0] <= entry["recall"] == entry["top1"]
    assert images["top1_interval"] == groups["top1_interval"]  # Wilson's
    assert images["macro_f1_interval"] != groups["macro_f1_interval"]
    assert "200 bootstrap resamples of 8 groups (patient)" in page.read_text()
    low, high = groups["auroc_interval"]
    assert f"{low:.4f} – {high:.4f}" in page.read_text()
    table = inceptcli(
        "eval", two / "model.safetensors", "--data", two / "list.csv", *flags, "--group", "Patient"
    ).stdout
    assert f"{low:.4f} to {high:.4f}    AUROC" in table
    assert "intervals from 200 resamples of 8 groups (Patient), seed 0" in table
    assert "95 % interval of top-1" not in table  # it would ignore the groups
    result = package.evaluate(
        two / "model.safetensors", two / "list.csv", bootstrap=200, group="patient"
    )
    assert isinstance(result, Evaluation)
    assert result.macro_f1 == groups["macro_f1"]
    assert result.bootstrap is not None
    assert result.bootstrap.intervals["auroc"] == (low, high)


def test_images_left_of_one_group_have_no_intervals_and_it_is_said(
    two: Path, tmp_path: Path
) -> None:
    listed = tmp_path / "exclude.txt"
    listed.write_text("".join(f"{number}.png\n" for number in range(5, 40)))
    flags = ("--bootstrap", 100, "--group", "patient", "--exclude", listed, "--format", "json")
    done = inceptcli(
        "eval", two / "model.safetensors", "--data", two / "list.csv", "--quiet", *flags
    )
    assert done.exit_code == 0, done.output
    said = "no intervals: the images that were measured are one group (patient)"
    assert said in done.stderr.splitlines()
    assert json.loads(done.stdout)["macro_f1_interval"] is None


def test_a_comparison_draws_the_same_groups(two: Path, tmp_path: Path) -> None:
    network, metadata = load_network(two / "model.safetensors")
    network.get_parameter("classifier.weight").data[0] *= 1.2
    save(tmp_path / "other.safetensors", network.state_dict(), metadata)
    flags = ("--against", tmp_path / "other.safetensors")
    key, with_groups = "loss_difference_interval", ("--bootstrap", 1000, "--group", "patient")
    default, grouped = (measured(two, *flags, *more)["against"] for more in ((), with_groups))
    assert default["loss_difference"] == grouped["loss_difference"]
    assert default[key] != grouped[key]


def test_columns_left_out_are_told_and_one_image_is_one(two: Path) -> None:
    (two / "one.csv").write_text("path,label,Patient,site\n0.png,n1,p0,here\n")
    done = inceptcli("eval", two / "model.safetensors", "--data", two / "one.csv")
    assert done.stderr == f"{two / 'one.csv'}: left out columns Patient, site\n"
    assert done.stdout.startswith("1 image: ")


@pytest.mark.parametrize(
    ("flags", "code", "said"),
    [
        ("--bootstrap 100 --group ward", 2, "list.csv has no such column, only path, label, pat"),
        ("--bootstrap 100 --group site", 1, "list.csv: all images have the same site; --group ne"),
        ("--bootstrap 100 --group gap", 1, "gaps.csv line 3: lacks a value in column gap"),
        ("--bootstrap 100 --group twice", 2, "list.csv has several columns of this name"),
        ("--group patient", 2, "--group patient: is for intervals; give --bootstrap N, too"),
        ("--bootstrap 0", 2, "--bootstrap 0: must be 100 to 10000"),
        ("--sensitivity nan", 2, "--sensitivity nan: must be above 0 and at most 1"),
        ("--threshold 0.5 --specificity 0.9", 2, "each sets the threshold; give one of them"),
        ("--positive dead", 2, "--positive dead: is not a class of the weights"),
    ],
)
def test_wrong_options_are_one_line(two: Path, flags: str, code: int, said: str) -> None:
    (two / "gaps.csv").write_text("path,label,gap\n0.png,n0,a\n1.png,n1\n")
    data = two / ("gaps.csv" if "gap" in flags else "list.csv")
    check_one_line(
        inceptcli("eval", two / "model.safetensors", "--data", data, *flags.split()), code, said
    )


def test_the_number_of_the_positive_class_is_a_number_in_python(two: Path) -> None:
    for number in (0, 1):
        found = package.evaluate(
            two / "model.safetensors", two / "list.csv", device="cpu", positive=number
        )
        assert isinstance(found, Evaluation)
        assert found.two_classes is not None
        assert found.two_classes.positive == number


def test_groups_and_thresholds_need_their_kind_of_data(
    two: Path, weights: Path, tmp_path: Path
) -> None:
    for number in range(2):
        draw(tmp_path / f"n{number}" / "a.png", number)
    flags = ("--data", tmp_path)
    group = ("--bootstrap", "100", "--group", "patient")
    done = inceptcli("eval", two / "model.safetensors", *flags, *group)
    check_one_line(done, 2, "--group patient: is a column of a CSV file of path,label; give one as")
    done = inceptcli("eval", weights, *flags, "--threshold", "0.5")
    check_one_line(done, 2, "--threshold 0.5: is for two classes; the weights have 6")
