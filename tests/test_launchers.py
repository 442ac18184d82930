"""Variables that other programs left, ranks that cannot meet, and processes left behind."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from inceptcli.errors import UsageError
from inceptcli.processes.launchers import (
    MEETING_POINT,
    PLACES,
    STARTED_BY,
    by_this_program,
    check_launcher,
)
from inceptcli.training.run_directory import RunDirectory
from tests.cli.conftest import TINY, check_one_line, inceptcli
from tests.training.ranks import imports_torch, processes_of
from tests.training.test_processes import start, wait_for_a_checkpoint

INHERITED = {
    "RANK": "7", "LOCAL_RANK": "1", "NODE_RANK": "3", "GROUP_RANK": "3", "WORLD_SIZE": "8",
    "MASTER_ADDR": "nowhere", "MASTER_PORT": "1",
}  # fmt: skip
SALLOC = {
    "SLURM_JOB_ID": "7", "SLURM_NTASKS": "4", "SLURM_NNODES": "2", "SLURM_JOB_NAME": "mine"
}  # fmt: skip
SRUN = SALLOC | {
    "SLURM_PROCID": "3", "SLURM_STEP_ID": "0", "SLURM_LOCALID": "1", "SLURM_NODEID": "1"
}  # fmt: skip
TORCHRUN = {"TORCHELASTIC_RUN_ID": "none", "RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1"}


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*os.environ, *INHERITED]:
        if name in (*PLACES, *MEETING_POINT, STARTED_BY) or re.match("SLURM_|TORCHELASTIC", name):
            monkeypatch.setenv(name, "")  # so that what the test leaves is put back
            monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("environment", "devices", "nodes", "said"),
    [
        ({"LOCAL_RANK": "0"}, 2, 1, "LOCAL_RANK=0: set by another program, as neither torchrun"),
        ({"LOCAL_RANK": "1"}, None, 1, "start the command with env -u LOCAL_RANK"),
        ({"NODE_RANK": "1"}, 2, 1, "NODE_RANK=1: set by another program, as --num-nodes 1 has no"),
        ({"GROUP_RANK": "2"}, 1, 2, "GROUP_RANK=2: set by another program"),
        ({"NODE_RANK": "x"}, 2, 1, "NODE_RANK=x: must be a whole number; start the command"),
        ({"WORLD_SIZE": "8"}, 2, 1, "WORLD_SIZE=8: --devices 2 x --num-nodes 1 is 2; start the"),
        ({"MASTER_PORT": "x"}, 2, 1, "MASTER_PORT=x: must be a whole number"),
        ({}, 1, 2, "--num-nodes 2: set MASTER_ADDR and MASTER_PORT to"),
        (TORCHRUN | {"WORLD_SIZE": "1"}, 1, 1, "RANK=1: WORLD_SIZE=1 has ranks 0 to 0; if another"),
        (SRUN | {"SLURM_PROCID": "4"}, 2, 2, "SLURM_PROCID=4: SLURM_NTASKS=4 has ranks 0 to 3"),
        (TORCHRUN, 1, 1, "WORLD_SIZE=2: torchrun started 2 processes, but --devices 1 x"),
        ({"TORCHELASTIC_RUN_ID": "none"}, 2, 1, "WORLD_SIZE=: must be a whole number; start the"),
    ],
)
def test_variables_that_contradict_the_flags_are_named_with_a_remedy(
    environment: dict[str, str],
    devices: int | None,
    nodes: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=re.escape(said)) as raised:
        check_launcher(devices, nodes)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("environment", "devices", "nodes"),
    [
        ({}, 2, 1),
        ({}, None, 1),
        ({"NODE_RANK": "1", "MASTER_ADDR": "host", "MASTER_PORT": "5"}, 4, 2),
        (TORCHRUN, 2, 1),
        (TORCHRUN, None, 1),
        (SALLOC, 4, 1),
        (SRUN | {"LOCAL_RANK": "1"}, 2, 2),
    ],
)
def test_variables_of_a_launcher_stay_as_they_are(
    environment: dict[str, str], devices: int | None, nodes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    before = dict(os.environ)
    check_launcher(devices, nodes)
    assert dict(os.environ) == before


def test_sync_batch_norm_on_a_cpu_is_one_line(tmp_path: Path) -> None:
    flags = ("--devices", "2", "--strategy", "ddp", "--set", "trainer.sync_batch_norm=true")
    done = inceptcli("train", *TINY, *flags, "--output", tmp_path / "run", "--quiet")
    check_one_line(done, 2, "trainer.sync_batch_norm works only on GPUs, and the devices are cpu")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("devices", "more", "said"),
    [
        ("1", {}, "is 1 processes, but SLURM has 4 tasks on 1 nodes; give --devices 4"),
        ("auto", {"SLURM_STEP_ID": "0"}, "`--ntasks=4`"),  # Lightning's own
    ],
)
def test_tasks_of_a_notebook_are_one_line(
    devices: str, more: dict[str, str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4", "SLURM_JOB_NAME": "jupyter"}
    places = {"SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0"}
    for name, value in (job | places | more).items():
        monkeypatch.setenv(name, value)
    flags = ("--devices", devices, "--output", tmp_path / "run", "--quiet")
    check_one_line(inceptcli("train", *TINY, *flags), 2, said)
    assert not (tmp_path / "run").exists()


@pytest.mark.system
@pytest.mark.parametrize("left", [INHERITED, SALLOC], ids=["inherited", "salloc"])
@pytest.mark.parametrize("strategy", ["auto", "ddp"])
def test_a_run_on_one_device_writes_all_whatever_another_program_left(
    left: dict[str, str], strategy: str, tmp_path: Path
) -> None:
    flags = ("--strategy", strategy, "--set", "trainer.logger=csv", "--output", "run")
    done = subprocess.run(
        [sys.executable, "-m", "inceptcli", "train", *TINY, *flags],
        env={**os.environ, **left}, cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "best of 1 epoch:" in done.stderr
    assert len(RunDirectory(tmp_path / "run").read_metrics()) == 1
    assert RunDirectory(tmp_path / "run").weights.exists()
    assert list((tmp_path / "run/csv").glob("*/metrics.csv"))


@pytest.mark.system
def test_a_rank_without_a_validation_image_takes_part(tmp_path: Path) -> None:
    rows = []
    for name, flags in (("one", ["--batch-size", "8"]), ("two", ["--devices", "2"])):
        run = RunDirectory(tmp_path / name)
        training = start(run.path, *flags, "--set", "data.val_size=1", "--epochs", "1")
        _, said = training.communicate()
        assert training.returncode == 0, said
        assert "UserWarning" not in said
        rows += run.read_metrics()
    assert [row["val_top5"] for row in rows] in (["0.0"] * 2, ["1.0"] * 2)


def errors(said: str) -> list[str]:
    assert "Traceback" not in said
    return [line for line in said.splitlines() if line.startswith("Error: ")]


@pytest.mark.system
def test_a_port_in_use_is_one_line_and_no_rank_stays_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
        monkeypatch.setenv("MASTER_PORT", str(port))
        training = start(tmp_path / "run", "--devices", "2")
        _, said = training.communicate()  # until the last rank has closed it
    assert training.returncode == 1
    (line,) = errors(said)
    assert (
        f"MASTER_PORT={port}: another program uses the port; prefix the command with env -u" in line
    )
    assert line.removeprefix("Error: ") in (tmp_path / "run/train.log").read_text()
    assert processes_of(tmp_path / "run") == {}


@pytest.mark.system
def test_no_rank_stays_behind_when_the_first_dies_while_it_starts(tmp_path: Path) -> None:
    run = tmp_path / "run"
    training = start(run, "--devices", "2")
    while sorted(processes_of(run).values()) != [0, 1]:
        assert training.poll() is None
        time.sleep(0.05)
    (second,) = (number for number, rank in processes_of(run).items() if rank == 1)
    while not imports_torch(second):  # while the first waits for it
        assert training.poll() is None
        time.sleep(0.05)
    training.send_signal(signal.SIGKILL)
    _, said = training.communicate()
    assert errors(said) in ([], [line for line in said.splitlines() if "rank 0 (" in line])
    assert processes_of(run) == {}


@pytest.mark.system
@pytest.mark.parametrize(("devices", "victim"), [(1, 0), (2, 0), (2, 1)])
def test_a_worker_that_the_system_kills_is_named_and_ends_every_rank(
    devices: int, victim: int, tmp_path: Path
) -> None:
    run = RunDirectory(tmp_path / "run")
    more = ("--workers", "2", "--set", "data.train_size=400", "--epochs", "100")
    training = start(run.path, "--devices", str(devices), *more)
    wait_for_a_checkpoint(run, training)
    ranks = processes_of(run.path)
    parents = {
        number: int(Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[1])
        for number in ranks
    }
    if devices == 1:
        workers = [number for number in ranks if parents[number] in ranks]
    else:
        workers = [
            number for number, rank in ranks.items()
            if rank == victim and ranks.get(parents[number]) == victim
        ]  # fmt: skip
    os.kill(workers[0], signal.SIGKILL)
    _, said = training.communicate()
    assert training.returncode == 1
    (line,) = errors(said)
    assert re.match(rf"Error: data loading worker \(process {workers[0]}.*--workers", line)
    assert line.removeprefix("Error: ") in (run.path / "train.log").read_text()
    assert processes_of(run.path) == {}


@pytest.mark.parametrize(("local_rank", "expected"), [(None, False), ("0", False), ("1", True)])
def test_what_a_notebook_that_has_trained_starts_is_no_rank_of_it(
    monkeypatch: pytest.MonkeyPatch, local_rank: str | None, expected: bool
) -> None:
    monkeypatch.setenv(STARTED_BY, str(os.getppid()))
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    if local_rank is not None:
        monkeypatch.setenv("LOCAL_RANK", local_rank)
    assert by_this_program() is expected
