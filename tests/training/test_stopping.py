"""What asks a run to stop, what it leaves, and what SLURM is told."""

from __future__ import annotations

import importlib
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from inceptcli.processes.signals import EXIT_STOPPED
from inceptcli.training.run_directory import RunDirectory
from inceptcli.training.stopping import Stopping, requeue_job
from tests.training.conftest import Train
from tests.training.test_resume import assert_same_run, stop_at

SCONTROL = '#!/bin/sh\necho "$@" > {folder}/called\n{then}\n'


def fake_scontrol(folder: Path, monkeypatch: pytest.MonkeyPatch, then: str = "") -> Path:
    """A scontrol that notes its arguments in the file returned."""
    program = folder / "scontrol"
    program.write_text(SCONTROL.format(folder=folder, then=then))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/bin:/usr/bin")
    monkeypatch.setenv("SLURM_JOB_ID", "42")
    return folder / "called"


def test_time_that_is_up_stops_like_a_signal(
    train: Train, whole_run: Train, notices: list[str]
) -> None:
    undisturbed = whole_run()
    with pytest.raises(SystemExit) as stopped:
        train("stopped", trainer__stop_after="0s")
    assert stopped.value.code == EXIT_STOPPED
    assert notices[-1] == "stopped by trainer.stop_after after step 0; the same command continues"
    directory = train("stopped", trainer__stop_after="1d2h")
    assert_same_run(undisturbed, directory)


def test_a_stopped_run_is_marked_until_it_starts_again(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        stop_at(2, patch)
        with pytest.raises(SystemExit):
            train()
    marker = tmp_path / "run/stopped"
    assert marker.read_text() == "stopped by SIGTERM after step 3\n"
    train()
    assert not marker.exists()


@pytest.mark.parametrize(
    ("number", "wanted", "called"),
    [
        (signal.SIGUSR1, True, True),
        (signal.SIGUSR1, False, False),
        (signal.SIGTERM, True, False),
        (signal.SIGINT, True, False),
    ],
)
def test_a_job_is_requeued_when_the_recipe_asks_for_it_and_nobody_cancelled_it(
    train: Train,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: signal.Signals,
    wanted: bool,
    called: bool,
) -> None:
    note = fake_scontrol(tmp_path, monkeypatch)
    stop_at(2, monkeypatch, number)
    with pytest.raises(SystemExit) as stopped:
        train(checkpoint__requeue=wanted)
    assert stopped.value.code == EXIT_STOPPED
    assert note.exists() is called
    if called:
        assert note.read_text() == "requeue 42\n"


@pytest.mark.parametrize(
    ("numbers", "requeued"),
    [
        ((signal.SIGUSR1, signal.SIGTERM), True),  # the time limit itself
        ((signal.SIGUSR1, signal.SIGHUP), True),
        ((signal.SIGUSR1, signal.SIGINT), False),
        ((signal.SIGTERM, signal.SIGUSR1), True),
    ],
)
def test_a_second_signal_while_the_run_saves(
    numbers: tuple[signal.Signals, ...], requeued: bool
) -> None:
    stopping = Stopping()
    stopping.requeue = True
    with stopping.listening():
        stopping.training = True
        for number in numbers:
            signal.raise_signal(number)
        assert stopping.may_requeue is requeued


def test_of_an_array_the_task_is_requeued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    note = fake_scontrol(tmp_path, monkeypatch)
    monkeypatch.setenv("SLURM_JOB_ID", "107")
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "100")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "7")
    requeue_job()
    assert note.read_text() == "requeue 100_7\n"


def test_a_requeue_that_fails_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, notices: list[str]
) -> None:
    fake_scontrol(tmp_path, monkeypatch, "echo no >&2; echo such job >&2; exit 1")
    requeue_job()
    assert notices[-1] == "SLURM job 42 could not be requeued: no such job"
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    requeue_job()
    assert "could not be requeued" in notices[-1]
    assert "scontrol" in notices[-1]


def test_outside_slurm_nothing_is_requeued(
    monkeypatch: pytest.MonkeyPatch, notices: list[str]
) -> None:
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    requeue_job()
    assert notices == []


INTERRUPTED_MODULE = """
import os, signal
os.kill(os.getpid(), signal.{name})
finished = [number for number in range(1000)]
"""


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_during_an_import_leaves_once_that_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, notices: list[str]
) -> None:
    (tmp_path / "imported_then.py").write_text(INTERRUPTED_MODULE.format(name=name))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "imported_then", raising=False)
    finished: list[int] = []

    def start() -> None:
        with Stopping().listening():
            finished.extend(importlib.import_module("imported_then").finished)
            time.sleep(600)

    with pytest.raises(SystemExit) as stopped:
        start()
    assert finished
    assert stopped.value.code == EXIT_STOPPED
    assert notices == [f"stopped by {name} before training began; the same command starts it"]


def test_leaving_a_stuck_program_removes_unfinished_files(tmp_path: Path) -> None:
    program = """
import signal, sys
from pathlib import Path
from inceptcli.files.atomic_file import replacing
from inceptcli.training.stopping import Stopping
with replacing(Path(sys.argv[1])):
    Stopping()._leave_if_stuck(signal.SIGTERM)
"""
    command = [sys.executable, "-c", program, str(tmp_path / "data.jsonl.gz")]
    assert subprocess.run(command, check=False).returncode == EXIT_STOPPED
    assert not list(tmp_path.iterdir())


def test_a_run_removes_the_unfinished_files_of_a_killed_one(tmp_path: Path) -> None:
    left, others = tmp_path / ".data.jsonl.gz.0badcafe.partial", tmp_path / ".a.0badcafe.partial"
    for path in (left, others):
        path.touch()
    (tmp_path / ".recipe.yaml.0badcafe.partial").mkdir()
    directory = RunDirectory(tmp_path)
    directory.open()
    directory.close()
    assert not left.exists()
    assert others.exists()


def test_without_signal_or_limit_nothing_asks_to_stop() -> None:
    assert Stopping().reason is None
    assert Stopping(3600).reason is None
    assert not Stopping(3600).may_requeue
    stopping = Stopping(0)
    assert not stopping.may_requeue
    stopping.requeue = True
    assert stopping.may_requeue
