"""When a run validates, by what it chooses its best weights, and when it stops early."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from inceptcli.errors import UserError
from inceptcli.training.module import MEASURES, Classifier
from inceptcli.training.run_directory import RunDirectory
from inceptcli.weights.file import read_metadata
from tests.cli.conftest import TINY, check_one_line, inceptcli
from tests.training.conftest import Train
from tests.training.test_resume import assert_same_run, rows, stop_at, stop_in_validation

BY_EPOCHS: dict[str, Any] = {
    "trainer__validate_every": 2, "trainer__epochs": 3, "data__val_size": 4
}  # fmt: skip
BY_STEPS: dict[str, Any] = {"trainer__validate_every": "2steps", "data__val_size": 8}


def resumed(train: Train, changes: dict[str, Any], patch: Any, *stop: Any) -> RunDirectory:
    """A run that a signal stopped, continued."""
    with pytest.MonkeyPatch.context() as context:
        patch(*stop, context)
        with pytest.raises(SystemExit):
            train("stopped", **changes)
    return train("stopped", **changes)


@pytest.mark.parametrize("batches", [5, 12])
def test_a_run_that_validates_every_other_epoch_resumes_to_the_same_weights(
    train: Train, whole_run: Train, batches: int
) -> None:
    undisturbed = whole_run(**BY_EPOCHS)
    assert [(row["epoch"], row["step"]) for row in rows(undisturbed)] == [("2", "10"), ("3", "15")]
    assert_same_run(undisturbed, resumed(train, BY_EPOCHS, stop_at, batches))


@pytest.mark.parametrize("batches", [2, 5])
def test_a_run_that_validates_within_epochs_resumes_to_the_same_weights(
    train: Train, whole_run: Train, batches: int
) -> None:
    undisturbed = whole_run(**BY_STEPS)
    validated = [(row["epoch"], row["step"]) for row in rows(undisturbed)]
    assert validated == [("0.4", "2"), ("0.8", "4"), ("1.2", "6"), ("1.6", "8"), ("2", "10")]
    with (undisturbed.path / "dead_units.csv").open(newline="") as file:
        dead = {(row["epoch"], row["step"]): row["share"] for row in csv.DictReader(file)}
    assert list(dead) == validated
    assert_same_run(undisturbed, resumed(train, BY_STEPS, stop_at, batches))


def test_a_run_stopped_in_a_validation_within_an_epoch_begins_with_it(
    train: Train, whole_run: Train
) -> None:
    directory = resumed(train, BY_STEPS, stop_in_validation, 2, 0)
    assert "stopped by SIGTERM after step 6, before its validation" in log(directory)
    assert_same_run(whole_run(**BY_STEPS), directory)


def log(directory: RunDirectory) -> str:
    return (directory.path / "train.log").read_text()


def worse_and_worse(self: Classifier) -> dict[str, float]:
    measures = dict.fromkeys((f"val_{name}" for name in MEASURES), 0.5)
    return {**measures, "val_top1": 1 / (2 + self.trainer.global_step)}


@pytest.mark.train
@pytest.mark.parametrize(
    ("changes", "at"),
    [({"trainer__epochs": 4}, (10, 15)), ({**BY_STEPS, "trainer__epochs": 4}, (4, 6))],
    ids=["after epochs", "within epochs"],
)
def test_a_run_that_stops_early_is_finished_until_it_gets_more_patience(
    train: Train, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], at: tuple[int, int]
) -> None:
    monkeypatch.setattr(Classifier, "validation_results", worse_and_worse)
    changes = {**changes, "schedule": {"name": "constant"}}
    patient = train("patient", **changes, trainer__patience=2)
    assert int(rows(patient)[-1]["step"]) == at[1]
    directory = train("run", **changes, trainer__patience=1)
    said = f"stopped early after step {at[0]}: no better val_top1 than "
    assert said in log(directory)
    assert len(rows(directory)) == 2
    train("run", **{**changes, "trainer__epochs": 9}, trainer__patience=1)
    assert f"already stopped early after {at[0]} steps; a larger trainer.patience" in log(directory)
    kept = directory.read_recipe()
    assert kept is not None
    assert (kept.trainer.epochs, kept.trainer.patience) == (4, 1)
    assert_same_run(train("run", **changes, trainer__patience=2), patient)
    directory.weights.unlink()
    with pytest.raises(UserError, match=r"best weights are lost; give a larger trainer\.patience"):
        train("run", **changes, trainer__patience=2)


@pytest.mark.train
def test_patience_that_ends_with_the_last_epoch_is_named_beside_it(
    train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Classifier, "validation_results", worse_and_worse)
    settings = {"trainer__patience": 1, "schedule": {"name": "constant"}}
    directory = train("run", **settings)
    train("run", **settings)
    both = "more --epochs and a larger trainer.patience would continue"
    assert f"already finished after 10 steps; {both}" in log(directory)
    train("run", **settings, trainer__epochs=3)
    said = "already stopped early after 10 steps; a larger trainer.patience would continue"
    assert said in log(directory)
    train("run", **{**settings, "trainer__patience": 2}, trainer__epochs=3)
    assert [row["epoch"] for row in rows(directory)] == ["1", "2", "3"]


@pytest.mark.train
def test_the_best_weights_are_those_of_the_chosen_measure(
    train: Train, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def results(self: Classifier) -> dict[str, float]:
        epoch = self.trainer.current_epoch
        return {
            "val_top1": (0.9, 0.5, 0.4, 0.3)[epoch], "val_top5": 1.0,
            "val_macro_f1": (0.1, float("nan"), 0.2, 0.2)[epoch],
            "val_loss": (float("nan"), 2.0, 1.0, 1.5)[epoch], "val_balanced_accuracy": 0.5,
        }  # fmt: skip

    monkeypatch.setattr(Classifier, "validation_results", results)
    for measure, epoch in (("val_loss", 3), ("val_macro_f1", 3), ("val_balanced_accuracy", 1)):
        directory = train(measure, trainer__best_by=measure, trainer__epochs=4)
        assert read_metadata(directory.weights).epoch == epoch


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("validate_every=0", "trainer.validate_every must be at least 1, got 0"),
        ("validate_every=5s", "must be a number of epochs, or of steps such as 500steps, got '5s'"),
        ("validate_every=0steps", "must be a number of epochs, or of steps such as 500steps"),
        ("validate_every=0.5", "trainer.validate_every must be a valid integer, got 0.5"),
        ("best_by=val_f1", "trainer.best_by must be 'val_top1', 'val_loss', 'val_mac"),
        ("patience=0", "trainer.patience must be greater than or equal to 1, got 0"),
    ],
)
def test_wrong_values_are_one_line(tmp_path: Path, change: str, said: str) -> None:
    done = inceptcli("train", *TINY, "--set", f"trainer.{change}", "--output", tmp_path / "run")
    check_one_line(done, 2, said)
