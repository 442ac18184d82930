"""Several processes: who is first, what SLURM has to agree with, and a rank that dies."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from inceptcli.errors import UsageError
from inceptcli.processes.launchers import check_slurm, is_first_process
from inceptcli.training.run_directory import RunDirectory
from tests.tiny_network import TINY_FLAGS
from tests.training.ranks import processes_of

BATCH_STEP = {"SLURM_JOB_ID": "7", "SLURM_NNODES": "2", "SLURM_NTASKS": "4", "SLURM_PROCID": "0"}
BATCH_STEP |= {"SLURM_LOCALID": "0", "SLURM_NODEID": "0"}
TASK = {**BATCH_STEP, "SLURM_STEP_ID": "0", "SLURM_PROCID": "3"}
ALONE = BATCH_STEP | {"SLURM_NTASKS": "1", "SLURM_NNODES": "1"}
WITHOUT_TASKS = {"SLURM_JOB_ID": "7", "SLURM_PROCID": "0"}
TORCHRUN = {"TORCHELASTIC_RUN_ID": "none", "LOCAL_RANK": "0"}


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if re.match("SLURM_|TORCHELASTIC_|(LOCAL_|NODE_|GROUP_)?RANK$", name):
            monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("environment", "first"),
    [
        ({}, True),
        ({"LOCAL_RANK": "1", "NODE_RANK": "0"}, False),
        ({"LOCAL_RANK": "0", "NODE_RANK": "1"}, False),
        (TORCHRUN | {"RANK": "0"}, True),
        (TORCHRUN | {"RANK": "2", "SLURM_PROCID": "0"}, False),
        (TASK | {"SLURM_PROCID": "0"}, True),
        (TASK, False),
        (WITHOUT_TASKS | {"LOCAL_RANK": "1"}, False),
        ({"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4", "SLURM_NNODES": "2"}, True),  # salloc's shell
        (TASK | {"SLURM_JOB_NAME": "bash", "SLURM_PROCID": "0", "LOCAL_RANK": "1"}, False),
    ],
)
def test_exactly_one_process_is_the_first_whoever_started_them(
    environment: dict[str, str], first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert is_first_process() is first


@pytest.mark.parametrize(
    ("environment", "devices", "nodes", "said"),
    [
        (TASK, 4, 2, "is 8 processes, but SLURM has 4 tasks on 2 nodes; give --devices 2 --num-n"),
        (TASK, 4, 1, "is 4 processes, but SLURM has 4 tasks on 2 nodes; give --devices 2 --num-n"),
        (BATCH_STEP, 2, 2, "SLURM has 4 tasks, which srun must start"),
        (BATCH_STEP, None, 2, "SLURM has 4 tasks, which srun must start"),
        (BATCH_STEP, 1, 1, "for a single process, start it with env -u SLURM_NTASKS"),
        (ALONE | {"SLURM_PROCID": "1"}, 1, 1, "SLURM_PROCID=1: SLURM_NTASKS=1 has ranks 0 to 0"),
        (ALONE | {"SLURM_NTASKS": "x"}, 1, 1, "SLURM_NTASKS=x: must be a whole number; if anoth"),
        (ALONE | {"SLURM_LOCALID": ""}, 1, 1, "SLURM_LOCALID=: must be a whole number"),
        (TASK, None, 2, None),
        (TASK, 2, 2, None),
        (TASK | {"SLURM_JOB_NAME": "interactive"}, 4, 1, None),
        (TASK | TORCHRUN, 4, 1, None),
        (WITHOUT_TASKS, 4, 1, None),
        (ALONE, 1, 1, None),
    ],
)
def test_tasks_and_devices_have_to_agree(
    environment: dict[str, str],
    devices: int,
    nodes: int,
    said: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    if said is None:
        check_slurm(devices, nodes)
        return
    with pytest.raises(UsageError, match=re.escape(said)):
        check_slurm(devices, nodes)


def start(run: Path, *flags: str, launcher: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [
            sys.executable, *launcher, "-m", "inceptcli", "train", *TINY_FLAGS,
            "--image-size", "75", "--batch-size", "4",
            "--set", "data.train_size=48", "--set", "data.val_size=12", "--epochs", "2",
            "--workers", "0", "--accelerator", "cpu", "--strategy", "ddp",
            "--set", "checkpoint.every_steps=2", "--output", str(run), *flags,
        ],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def finish(run: Path, *flags: str, launcher: tuple[str, ...] = ()) -> None:
    training = start(run, *flags, launcher=launcher)
    _, said = training.communicate()
    assert training.returncode == 0, said


def wait_for_a_checkpoint(run: RunDirectory, process: subprocess.Popen[str]) -> None:
    while not run.checkpoints():
        if process.poll() is not None:
            pytest.fail(process.communicate()[1])
        time.sleep(0.1)


@pytest.mark.system
@pytest.mark.parametrize(("devices", "victim"), [(2, 0), (3, 2)])
def test_a_rank_that_dies_takes_the_others_down_and_is_named(
    devices: int, victim: int, tmp_path: Path
) -> None:
    run = RunDirectory(tmp_path / "run")
    training = start(run.path, "--devices", str(devices), "--epochs", "1000")
    wait_for_a_checkpoint(run, training)
    ranks = processes_of(run.path)
    assert sorted(ranks.values()) == list(range(devices))
    (number,) = (number for number, rank in ranks.items() if rank == victim)
    os.kill(number, signal.SIGKILL)
    # Until the last rank has closed it; unwatched they would wait for half an hour.
    _, said = training.communicate(timeout=600)
    assert training.returncode != 0
    assert processes_of(run.path) == {}
    (line,) = (line for line in said.splitlines() if line.startswith("Error: "))
    assert re.match(rf"Error: rank {victim} \(process {number} on \S+\) died", line)
    assert f"ended: rank {victim} (process {number} on" in (run.path / "train.log").read_text()
    assert "Traceback" not in said


@pytest.mark.system
def test_under_torchrun_a_file_says_that_the_run_was_stopped(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    training = start(run.path, "--devices", "2", "--stop-after", "1s", launcher=launcher)
    training.communicate()
    assert training.returncode == 1  # what it makes of 75
    said = (run.path / "stopped").read_text()
    said_by = r"stopped by (trainer\.stop_after|another process) after step \d+\n"
    assert re.fullmatch(said_by, said)
    finish(run.path, "--devices", "2", launcher=launcher)
    assert not (run.path / "stopped").exists()
    assert len((run.path / "metrics.csv").read_text().splitlines()) == 3


@pytest.mark.system
def test_all_ranks_use_the_folder_that_the_first_names(tmp_path: Path) -> None:
    command = [
        sys.executable, "-m", "inceptcli", "train", *TINY_FLAGS, "--image-size", "75",
        "--batch-size", "4", "--epochs", "1", "--devices", "2",
        "--strategy", "ddp", "--accelerator", "cpu", "--set", "data.train_size=16",
        "--set", "data.val_size=8", "--set", "trainer.profiler=simple",
    ]  # fmt: skip
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (folder,) = (tmp_path / "runs").iterdir()
    reports = sorted(path.name for path in (folder / "profile").iterdir())
    assert reports == ["fit-simple-0.txt", "fit-simple-1.txt"]
