"""What users do to a run: keys in a terminal, signals to its group, a terminal that closes."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from shlex import join

import pytest

from inceptcli.training.run_directory import RunDirectory
from tests.terminal import Terminal
from tests.training.chaos import TINY
from tests.training.ranks import imports_torch, processes_of
from tests.training.test_resume import assert_same_run

pytestmark = pytest.mark.system

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
SHORT = ["--set", "data.train_size=24", "--epochs", "1"]
LONGER = ["--set", "data.train_size=48", "--epochs", "2"]
ENDLESS = ["--epochs", "1000"]
UNHURRIED = [
    "--set", "network.width=1", "--set", "trainer.accumulate_batches=20",
    "--set", "data.train_size=80000",
]  # fmt: skip


def command(run: RunDirectory, *flags: str, launcher: tuple[str, ...] = ()) -> list[str]:
    """The command as a user types it, with the default number of workers."""
    return [
        sys.executable, *launcher, "-m", "inceptcli", "train", *TINY, *flags,
        "--output", str(run.path),
    ]  # fmt: skip


def on_terminal(run: RunDirectory, *flags: str, launcher: tuple[str, ...] = ()) -> Terminal:
    return Terminal(command(run, *flags, launcher=launcher), 120, **ENVIRONMENT)


def in_shell(text: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", text], env=os.environ | ENVIRONMENT, capture_output=True, text=True,
        check=False,
    )  # fmt: skip


def wait(terminal: Terminal, condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 600
    while not condition():
        assert terminal.process.poll() is None, terminal.written
        assert time.monotonic() < deadline, terminal.written
        time.sleep(0.05)


def log(run: RunDirectory) -> str:
    path = run.path / "train.log"
    return path.read_text() if path.exists() else ""


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory(tmp_path / "run")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1])
def test_a_signal_while_torch_is_imported_leaves_with_75_and_a_reason(
    run: RunDirectory, number: signal.Signals
) -> None:
    terminal = on_terminal(run)
    wait(terminal, lambda: imports_torch(terminal.process.pid))
    os.killpg(terminal.process.pid, number)
    assert terminal.finish() == 75
    assert f"stopped by {number.name} before training began" in terminal.written
    assert "Traceback" not in terminal.written
    assert not run.checkpoints()


def test_a_signal_that_comes_twice_at_once_saves(run: RunDirectory) -> None:
    terminal = on_terminal(run, *ENDLESS)
    wait(terminal, lambda: bool(run.checkpoints()))
    for _ in range(2):  # `timeout -s INT` does so: to the process, then to the group
        os.killpg(terminal.process.pid, signal.SIGINT)
    assert terminal.finish() == 75
    assert "Traceback" not in terminal.written
    assert "stopped by SIGINT after step" in log(run)


def test_a_second_ctrl_c_leaves_at_once_with_130(run: RunDirectory) -> None:
    terminal = on_terminal(run, *UNHURRIED)
    wait(terminal, lambda: bool(run.checkpoints()))
    terminal.type("\x03")
    started = time.monotonic()
    while time.monotonic() - started < 1.2 and terminal.process.poll() is None:
        time.sleep(0.05)
    terminal.type("\x03")
    assert terminal.finish() == 130
    assert "interrupted; the same command continues" in terminal.written
    assert "interrupted; the same command continues" in log(run)
    assert "Traceback" not in terminal.written
    assert processes_of(run.path) == {}


def test_a_closed_terminal_saves_the_run(run: RunDirectory) -> None:
    terminal = on_terminal(run, *ENDLESS)
    wait(terminal, lambda: bool(run.checkpoints()))
    terminal.close()
    assert terminal.process.wait(600) == 75
    assert "stopped by SIGHUP after step" in log(run)


def test_a_run_under_nohup_outlives_its_terminal(run: RunDirectory) -> None:
    text = f"trap '' HUP; exec {join(command(run, *LONGER))}"
    terminal = Terminal(["bash", "-c", text], 120, **ENVIRONMENT)
    wait(terminal, lambda: bool(run.checkpoints()))
    terminal.close()
    assert terminal.process.wait(600) == 0
    assert "standard error is closed (Input/output error)" in log(run)
    assert run.weights.is_file()
    assert len(run.read_metrics()) == 2


def test_a_pipe_that_closes_ends_the_notices_alone(run: RunDirectory) -> None:
    done = in_shell(f"set -o pipefail; {join(command(run, *SHORT))} 2>&1 | head -n 1")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 1
    assert "standard error is closed (Broken pipe)" in log(run)
    assert run.weights.is_file()


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """A whole run of SHORT."""
    whole = RunDirectory(tmp_path_factory.mktemp("short") / "run")
    assert in_shell(join(command(whole, *SHORT))).returncode == 0
    return whole


@pytest.mark.parametrize("closed", ["2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_no_files_of_the_run(
    short: RunDirectory, run: RunDirectory, closed: str
) -> None:
    done = in_shell(f"{join(command(run, *SHORT))} {closed}")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert_same_run(run, short)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_torchrun_that_is_signalled_has_its_processes_save(
    run: RunDirectory, number: signal.Signals
) -> None:
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    terminal = on_terminal(run, *ENDLESS, "--devices", "2", "--strategy", "ddp", launcher=launcher)
    wait(terminal, lambda: bool(run.checkpoints()))
    os.killpg(terminal.process.pid, number)
    assert terminal.finish() != 0  # torchrun's own
    assert re.search(r"stopped by SIG\w+ after step \d+", (run.path / "stopped").read_text())
    assert processes_of(run.path) == {}


def test_torchrun_that_dies_leaves_a_saved_run_and_nobody_behind(run: RunDirectory) -> None:
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    terminal = on_terminal(run, *ENDLESS, "--devices", "2", "--strategy", "ddp", launcher=launcher)
    wait(terminal, lambda: bool(run.checkpoints()))
    os.kill(terminal.process.pid, signal.SIGKILL)
    terminal.finish()
    deadline = time.monotonic() + 300
    while processes_of(run.path):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    stopped = (run.path / "stopped").read_text()
    assert re.match(r"stopped by (the end of torchrun|another process) after", stopped)
