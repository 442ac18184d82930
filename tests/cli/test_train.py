"""Flags and recipes to a run directory; every wrong use is one line that says what to do."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from inceptcli.recipe.file import read_recipe
from inceptcli.recipe.schema import check
from inceptcli.weights.file import read_metadata
from inceptcli.weights.metadata import WeightsMetadata
from tests.cli.conftest import TINY, check_one_line, inceptcli, picture

pytestmark = pytest.mark.train


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """train/ and val/ with two classes, =cat and [b]dog, and one file that is no image."""
    root = tmp_path / "photographs"
    for number in range(8):
        for place, name in enumerate(("=cat", "[b]dog")):
            picture(root / "train" / name / f"{number}.png", 2 * number + place)
    for number in range(3):
        for place, name in enumerate(("=cat", "[b]dog")):
            picture(root / "val" / name / f"{number}.png", 100 + 2 * number + place)
    (root / "train" / "=cat" / "=1+1.jpg").write_text("<html>")
    return root


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on shapes."""
    folder = tmp_path_factory.mktemp("runs") / "shapes"
    done = inceptcli("train", *TINY, "--output", folder)
    assert done.exit_code == 0, done.output
    assert "no --data given" in done.stderr
    assert "effective batch 4 = 4 images x 1 device; 3 steps per epoch" in done.stderr
    assert "paper, Figures 7 and 10-15" in done.stderr
    assert done.stdout == ""
    return folder


def test_a_run_directory_holds_what_is_promised(run: Path) -> None:
    with (run / "metrics.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert list(row) == [
        "epoch", "step", "seconds", "learning_rate", "train_loss", "val_loss", "val_top1",
        "val_top5", "val_macro_f1", "val_balanced_accuracy", "val_average_precision",
        "val_micro_f1", "images_per_second", "model_flops_utilization", "dead_units",
    ]  # fmt: skip
    assert (row["epoch"], row["step"]) == ("1", "3")
    recipe = check(read_recipe(run / "recipe.yaml"))
    assert recipe.network.name == "irv1"
    assert recipe.data.train_size == 12
    metadata: WeightsMetadata = read_metadata(run / "model.safetensors")
    assert metadata.averaged
    assert metadata.epoch == 1
    assert metadata.recipe == recipe.as_dict()
    assert metadata.metrics["val_top1"] == pytest.approx(float(row["val_top1"]), abs=1e-6)
    assert "start from step 0" in (run / "train.log").read_text()


def test_eval_gives_what_training_logged(run: Path) -> None:
    done = inceptcli("eval", run, "--format", "json")
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    assert result["images"] == 10
    metrics = read_metadata(run / "model.safetensors").metrics
    assert result["top1"] == pytest.approx(metrics["val_top1"])
    for name in ("top5", "macro_f1", "balanced_accuracy"):
        assert result[name] == pytest.approx(metrics[f"val_{name}"])
    assert result["loss"] == pytest.approx(metrics["val_loss"], rel=1e-4)
    assert sum(entry["images"] for entry in result["per_class"]) == 10


def test_the_recipe_of_a_run_can_be_trained_as_it_is(run: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    done = inceptcli("train", "--recipe", run / "recipe.yaml", "--output", again)
    assert done.exit_code == 0, done.output
    assert (again / "recipe.yaml").read_text() == (run / "recipe.yaml").read_text()
    assert (again / "model.safetensors").read_bytes() == (run / "model.safetensors").read_bytes()


def test_a_run_is_not_continued_with_another_recipe(run: Path) -> None:
    done = inceptcli("train", *TINY, "--lr", "0.5", "--seed", "3", "--output", run)
    assert done.exit_code == 2
    assert "different optimizer.learning_rate, trainer.seed" in done.stderr
    done = inceptcli("train", *TINY, "--output", run, "--resume", "never")
    assert done.exit_code == 2
    assert "already contains a run" in done.stderr


def test_training_on_photographs_names_what_it_skipped(photographs: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    done = inceptcli(
        "train", *TINY, "--data", photographs, "--output", folder, "--epochs", "2",
        "--set", "data.max_skipped=0.2",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "=1+1.jpg: not an image" in done.stderr
    assert f"1 image skipped, see {folder}/skipped.csv" in done.stderr
    with (folder / "skipped.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["path"] == str(photographs / "train/=cat/=1+1.jpg")
    names = [name.id for name in read_metadata(folder / "model.safetensors").classes]
    assert names == ["=cat", "[b]dog"]
    done = inceptcli("eval", folder, "--data", photographs, "--format", "json")
    assert json.loads(done.stdout)["images"] == 6
    assert "[b]dog" in inceptcli("eval", folder, "--data", photographs).stdout


def test_too_many_unreadable_images_stop_the_run(photographs: Path, tmp_path: Path) -> None:
    (photographs / "train/=cat/two.jpg").write_text("<html>")
    done = inceptcli("train", *TINY, "--data", photographs, "--output", tmp_path / "run", "--epochs", "3")  # fmt: skip  # noqa: E501
    assert done.exit_code == 1
    assert "data.max_skipped 0.01" in done.stderr
    assert "Traceback" not in done.output


def test_weights_to_start_from_keep_all_but_another_head(
    run: Path, photographs: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "tuned"
    done = inceptcli(
        "train", *TINY, "--data", photographs, "--init", run, "--output", folder,
        "--set", "data.max_skipped=0.2",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "loaded 192 of 194 tensors; new: classifier (2 classes)" in done.stderr


def test_two_processes_do_not_train_in_one_folder(run: Path) -> None:
    from inceptcli.training.run_directory import RunDirectory

    first = RunDirectory(run)
    first.open()
    try:
        done = inceptcli("train", *TINY, "--output", run)
    finally:
        first.close()
    check_one_line(done, 2, "is training in this folder")


def test_a_finished_run_says_so(run: Path) -> None:
    before = (run / "metrics.csv").read_text()
    done = inceptcli("train", *TINY, "--output", run)
    assert done.exit_code == 0
    assert "already finished" in done.stderr
    assert (run / "metrics.csv").read_text() == before
