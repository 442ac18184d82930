"""Scheduling of runs, with a program in place of `inceptcli train`."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from inceptcli.errors import UsageError, UserError
from inceptcli.recipe.study import check_study
from inceptcli.studies import training
from inceptcli.studies.runs import (
    RunRecord,
    StudyResult,
    check_runs,
    possible_runs,
    runs_of,
    tries_of,
)
from inceptcli.studies.search import best_values, chosen
from inceptcli.studies.training import Crew

STUDY: dict[str, Any] = {
    "question": "Is it so?",
    "measure": "last-error",
    "seeds": [0, 1],
    "recipe": {"network": {"name": "irv1"}, "trainer": {"epochs": 2}},
    "arms": {"one": {}, "two": {"network": {"shortcut": False}}},
    "comparisons": [{"arm": "one", "against": "two", "expected": "lower"}],
}

PROGRAM = [sys.executable, "-S", str(Path(__file__).with_name("trained.py"))]


@pytest.fixture(autouse=True)
def _trained_by_a_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "TRAIN", PROGRAM)
    monkeypatch.setattr(training, "POLL_SECONDS", 0.01)


def train(folder: Path, jobs: int = 2, **changes: Any) -> list[StudyResult]:
    study = check_study({**STUDY, **changes}, "study")
    crew = Crew(jobs, study.measure, 4)
    crew.unreadable = check_runs(possible_runs(study, folder, None))
    return crew.train(runs_of(study, folder, None))


def starts(folder: Path) -> dict[str, int]:
    return {file.parent.name: len(file.read_text()) for file in sorted(folder.glob("*/starts"))}


def test_runs_that_ended_are_not_started_again(tmp_path: Path, notices: list[str]) -> None:
    (tmp_path / "two-seed-1.todo").write_text("diverge")
    (tmp_path / "one-seed-1.todo").write_text("warn")
    first = train(tmp_path)
    assert "one, seed 1: a warning" in notices
    assert [result.figure("last-error") for result in first] == [0.25, 0.25, 0.25, 1.0]
    assert all(result.cpu_seconds >= 0.02 for result in first)
    assert "4/4 " in notices[-1]
    shutil.rmtree(tmp_path / "one-seed-0/checkpoints")  # to save space
    assert train(tmp_path) == first
    assert starts(tmp_path) == dict.fromkeys(
        ("one-seed-0", "one-seed-1", "two-seed-0", "two-seed-1"), 1
    )
    more = train(tmp_path, recipe={**STUDY["recipe"], "trainer": {"epochs": 3}})
    assert set(starts(tmp_path).values()) == {2}
    for again, before in zip(more, first, strict=True):  # the time of both starts
        assert again.cpu_seconds >= before.cpu_seconds + 0.02


def test_failed_runs_are_named_and_the_others_are_kept(tmp_path: Path) -> None:
    (tmp_path / "one-seed-0.todo").write_text("fail")
    unreadable = tmp_path / "two-seed-0/arm.yaml"
    unreadable.parent.mkdir()
    unreadable.write_text("network: [")
    with pytest.raises(UserError) as error:
        train(tmp_path, jobs=1)
    said = str(error.value)
    assert said.startswith("2 of 4 runs failed: ")
    assert f"one, seed 0: the disk is full; see {tmp_path}/one-seed-0/train.log" in said
    assert f"two, seed 0: {unreadable}: not YAML" in said
    assert starts(tmp_path) == {"one-seed-0": 1, "one-seed-1": 1, "two-seed-1": 1}
    (tmp_path / "one-seed-0.todo").unlink()
    unreadable.unlink()
    assert len(train(tmp_path)) == 4
    assert starts(tmp_path) == {
        "one-seed-0": 2, "one-seed-1": 1, "two-seed-0": 1, "two-seed-1": 1
    }  # fmt: skip


def test_another_recipe_in_the_folder_is_refused(tmp_path: Path) -> None:
    train(tmp_path)
    with pytest.raises(UserError, match=r"the run in one-seed-0 has a different network\.dropout"):
        train(tmp_path, recipe={"network": {"name": "irv1", "dropout": 0.5}})


@pytest.mark.parametrize(
    ("data", "said"),
    [({"path": "nowhere"}, "nowhere"), ({"shapes": "pairs"}, "shapes: pairs: multi-label data")],
)
def test_unsuitable_data_is_refused_before_training(
    tmp_path: Path, data: dict[str, str], said: str
) -> None:
    values = {**STUDY, "recipe": {"data": data, "loss": {"name": "binary"}}}
    runs = runs_of(check_study(values, "study"), tmp_path, data.get("path"))
    with pytest.raises(UsageError, match=said):
        check_runs(runs)


def test_arms_with_one_recipe_are_trained_once(tmp_path: Path) -> None:
    results = train(tmp_path, arms={**STUDY["arms"], "same": {}})
    assert [result.run.arm for result in results] == ["one", "two", "same"] * 2
    assert not (tmp_path / "same-seed-0").exists()
    assert results[0] == results[2]._replace(run=results[0].run)


def test_a_search_is_tried_with_its_own_seeds(tmp_path: Path) -> None:
    search = {"key": "optimizer.learning_rate", "values": [0.1, 0.2, 0.4], "seeds": [7, 8]}
    study = check_study({**STUDY, "search": search}, "study")
    for name, told in (
        ("one-at-0.1-seed-7", "0.9"), ("one-at-0.1-seed-8", "0.5"),
        ("one-at-0.2-seed-7", "0.6"), ("one-at-0.2-seed-8", "0.6"),
        ("one-at-0.4-seed-7", "0.6"), ("one-at-0.4-seed-8", "diverge"),
        ("two-at-0.4-seed-7", "0.25"),
    ):  # fmt: skip
        (tmp_path / f"{name}.todo").write_text(told)
    crew = Crew(4, study.measure, 16)
    assert study.search is not None
    best = best_values(study.search, crew.train(tries_of(study, tmp_path, None)))
    assert [(each.arm, each.value, each.tied, each.at_edge) for each in best] == [
        ("one", 0.2, [], False), ("two", 0.1, [0.2, 0.4], True)
    ]  # fmt: skip
    assert best[0].errors == pytest.approx([0.7, 0.6, 0.8])
    results = crew.train(runs_of(study, tmp_path, None, chosen(best)))
    rates = [result.run.recipe.optimizer.learning_rate for result in results]
    assert rates == [0.2, 0.1, 0.2, 0.1]
    assert (tmp_path / "one-at-0.2-seed-0/model.safetensors").is_file()
    left = {file.name for file in (tmp_path / "one-at-0.2-seed-7").iterdir()}
    assert not left & {"checkpoints", "model.safetensors"}
    assert "tied with 0.2, 0.4; best at the edge of the search" in best[1].described("rate")


def until(path: Path) -> None:
    while not path.exists():
        time.sleep(0.01)


PROCESS = """
import signal, sys
from pathlib import Path
from tests.studies.test_training import STUDY, PROGRAM
from inceptcli.recipe.study import check_study
from inceptcli.studies import training
from inceptcli.studies.runs import runs_of

training.TRAIN, training.REPEATED_SECONDS, training.RECORD_SECONDS = PROGRAM, 0.0, 0.0
crew = training.Crew(2, "last-error", 4)
for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, crew.on_signal)
crew.train(runs_of(check_study(STUDY, "study"), Path(sys.argv[1]), None))
"""


def begun(folder: Path, told: str) -> subprocess.Popen[bytes]:
    """Start a study whose first two runs do as told."""
    for name in ("one-seed-0", "two-seed-0"):
        (folder / f"{name}.todo").write_text(told)
    study = subprocess.Popen([sys.executable, "-c", PROCESS, str(folder)])
    until(folder / "one-seed-0/waits")
    until(folder / "two-seed-0/waits")
    return study


def again(folder: Path) -> None:
    for todo in folder.glob("*.todo"):
        todo.unlink()
    assert len(train(folder)) == 4


@pytest.mark.system
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_study_waits_for_its_runs_and_continues(tmp_path: Path, number: int) -> None:
    study = begun(tmp_path, "wait")
    study.send_signal(number)
    assert study.wait() == 75
    record = RunRecord.read(tmp_path / "one-seed-0")
    assert record.cpu_seconds >= 0.02
    assert not record.ended
    again(tmp_path)
    assert RunRecord.read(tmp_path / "one-seed-0").cpu_seconds >= record.cpu_seconds + 0.02


@pytest.mark.system
def test_a_second_ctrl_c_ends_the_runs_at_once(tmp_path: Path) -> None:
    study = begun(tmp_path, "wait long")  # they do not answer a signal
    study.send_signal(signal.SIGINT)
    time.sleep(0.5)
    assert study.poll() is None
    study.send_signal(signal.SIGINT)
    assert study.wait() == 130
    again(tmp_path)


@pytest.mark.system
def test_a_study_waits_for_the_runs_of_a_killed_one(tmp_path: Path, notices: list[str]) -> None:
    study = begun(tmp_path, "wait long")
    while RunRecord.read(tmp_path / "one-seed-0").cpu_seconds < 0.02:
        time.sleep(0.01)
    study.send_signal(signal.SIGSTOP)
    for todo in tmp_path.glob("*.todo"):
        todo.unlink()
    with subprocess.Popen(["sh", "-c", f"sleep 1; kill -9 {study.pid}"]):
        assert len(train(tmp_path, jobs=1)) == 4
    assert study.wait() == -signal.SIGKILL
    waits = [line for line in notices if "another process is training it" in line]
    assert len(waits) == 2
    assert re.match("one, seed 0: ", waits[0])
    assert starts(tmp_path)["one-seed-0"] == 2
    assert RunRecord.read(tmp_path / "one-seed-0").cpu_seconds >= 0.04
