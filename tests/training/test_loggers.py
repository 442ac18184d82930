"""A logger has what metrics.csv has, each step once, also after a kill."""

from __future__ import annotations

import csv
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import CSVLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from inceptcli.errors import UserError
from inceptcli.recipe.file import override
from inceptcli.recipe.schema import check
from inceptcli.training.callbacks import checkpoints, logged_figures
from inceptcli.training.callbacks.loggers import PACKAGES
from inceptcli.training.resuming import differing_keys
from inceptcli.training.run_directory import METRICS, RunDirectory
from tests.training.conftest import TINY, Train
from tests.training.test_resume import stop_in_validation

Scalars = dict[str, list[tuple[int, float]]]


@pytest.fixture(autouse=True)
def every_second_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logged_figures, "EVERY_STEPS", 2)


def tensorboard(directory: RunDirectory) -> Scalars:
    events = EventAccumulator(str(directory.path / "tensorboard"))
    events.Reload()
    return {
        tag: [(event.step, event.value) for event in events.Scalars(tag)]
        for tag in events.Tags()["scalars"]
    }


def csv_logger(directory: RunDirectory) -> Scalars:
    scalars: Scalars = {}
    for file in sorted((directory.path / "csv").glob("*/metrics.csv")):
        with file.open(newline="") as stream:
            for row in csv.DictReader(stream):
                for name, value in row.items():
                    if value and name != "step":
                        scalars.setdefault(name, []).append((int(row["step"]), float(value)))
    return scalars


def check_scalars(found: Scalars, directory: RunDirectory) -> None:
    """Every figure of metrics.csv at its step, and every second step's loss and rate, once each."""
    rows = directory.read_metrics()
    assert [row["step"] for row in rows] == ["5", "10"]
    for name in METRICS:
        if name != "step" and rows[0][name]:  # some are of multi-label data, or of a GPU
            values = found.pop(name)
            assert [step for step, _ in values] == [5, 10]
            expected = [float(row[name]) for row in rows]
            assert [value for _, value in values] == pytest.approx(expected)
    assert sorted(found) == ["step/learning_rate", "step/loss"]
    for values in found.values():
        assert [step for step, _ in values] == [2, 4, 6, 8, 10]


@pytest.mark.parametrize(
    ("name", "read"), [("tensorboard", tensorboard), ("csv", csv_logger)], ids=lambda value: value
)
def test_a_logger_has_the_figures_of_metrics_csv(
    name: str, read: Callable[[RunDirectory], Scalars], train: Train, whole_run: Train
) -> None:
    directory = train(trainer__logger=name)
    check_scalars(read(directory), directory)
    plain = whole_run()
    assert [row["train_loss"] for row in plain.read_metrics()] == [
        row["train_loss"] for row in directory.read_metrics()
    ]
    assert not list(plain.path.rglob("*tfevents*"))


def test_a_step_of_several_batches_is_told_once(train: Train) -> None:
    directory = train(trainer__logger="csv", trainer__accumulate_batches=2)
    assert [step for step, _ in csv_logger(directory)["step/loss"]] == [2, 4, 6]


class KilledError(Exception):
    pass


@pytest.mark.parametrize(
    ("name", "read"), [("tensorboard", tensorboard), ("csv", csv_logger)], ids=lambda value: value
)
def test_a_run_that_was_killed_and_continued_has_no_step_twice(
    name: str,
    read: Callable[[RunDirectory], Scalars],
    train: Train,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Dies after step 8, with a checkpoint of step 6 on disk."""
    steps = checkpoints.ResumeCheckpoint.on_train_batch_start

    def die(self: Callback, trainer: Trainer, *arguments: Any) -> None:
        if trainer.global_step == 8:
            raise KilledError
        steps(self, trainer, *arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as dying:
        dying.setattr(checkpoints.ResumeCheckpoint, "on_train_batch_start", die)
        with pytest.raises(KilledError):
            train(trainer__logger=name, checkpoint__every_steps=3)
    directory = train(trainer__logger=name, checkpoint__every_steps=3)
    check_scalars(read(directory), directory)


@pytest.mark.parametrize("epoch", [1, 2])
def test_a_run_that_was_stopped_in_a_validation_loses_no_step(
    epoch: int, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as stopping:
        stop_in_validation(epoch, 0, stopping)
        with pytest.raises(SystemExit):
            train(trainer__logger="csv")
    directory = train(trainer__logger="csv")
    check_scalars(csv_logger(directory), directory)


def test_another_logger_may_take_over(train: Train) -> None:
    train(trainer__logger="csv", trainer__epochs=1)
    directory = train(trainer__logger="tensorboard")
    before = check(override(TINY, {"trainer.logger": "csv"}))
    assert differing_keys(before, check(override(TINY, {"trainer.logger": "none"}))) == []
    assert [step for step, _ in tensorboard(directory)["val_loss"]] == [10]
    assert [step for step, _ in csv_logger(directory)["val_loss"]] == [5]


@pytest.mark.parametrize("name", PACKAGES)
def test_a_missing_package_is_named_with_its_extra_before_anything_is_written(
    name: str, train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        "inceptcli.training.callbacks.loggers.find_spec",
        lambda package: None if package == PACKAGES[name] else find(package),
    )
    with pytest.raises(UserError, match=rf"trainer\.logger {name} needs .*inceptcli\[{name}\]"):
        train(trainer__logger=name)
    assert list(tmp_path.iterdir()) == []


def test_a_logger_that_fails_on_the_way_costs_its_figures_alone(
    train: Train, monkeypatch: pytest.MonkeyPatch, notices: list[str]
) -> None:
    def fail(*arguments: object) -> None:
        raise ConnectionError("the service is away\nsee its page")

    monkeypatch.setattr(CSVLogger, "log_metrics", fail)
    directory = train(trainer__logger="csv")
    (line,) = [line for line in notices if "logger" in line]
    assert line == "trainer.logger csv failed: the service is away; metrics.csv is still written"
    assert len(directory.read_metrics()) == 2
    assert directory.weights.is_file()


def test_a_logger_that_cannot_start_is_one_line(
    train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise RuntimeError("no API key\nTraceback")

    monkeypatch.setattr(CSVLogger, "__init__", fail)
    with pytest.raises(UserError) as caught:
        train(trainer__logger="csv")
    assert str(caught.value) == "trainer.logger csv: cannot start: no API key"
