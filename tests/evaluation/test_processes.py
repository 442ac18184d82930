"""One evaluation by several processes: who they are, and that their answer is the same."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from inceptcli.errors import UsageError, UserError
from inceptcli.evaluation import meeting
from inceptcli.evaluation.meeting import NobodyThereError, first_host
from inceptcli.evaluation.processes import Processes
from inceptcli.processes.launchers import MEETING_POINT
from inceptcli.weights.file import load_tensors, read_metadata, save
from tests.cli.conftest import inceptcli
from tests.prediction.conftest import draw, save_small_network

SRUN = {
    "SLURM_STEP_ID": "0", "SLURM_NTASKS": "4", "SLURM_PROCID": "3", "SLURM_LOCALID": "1",
    "SLURM_JOB_ID": "7", "SLURM_STEP_NODELIST": "gpu[03-04]",
}  # fmt: skip
TORCHRUN = {
    "TORCHELASTIC_RUN_ID": "none", "RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1",
    "MASTER_ADDR": "localhost", "MASTER_PORT": "29500",
}  # fmt: skip


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*os.environ, *MEETING_POINT]:
        if re.match("SLURM_|TORCHELASTIC_|(LOCAL_)?RANK$|WORLD_SIZE$|MASTER_", name):
            monkeypatch.setenv(name, "")  # so that what the test leaves is put back
            monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, Processes(0, 1, 0)),
        ({"RANK": "1", "WORLD_SIZE": "2"}, Processes(0, 1, 0)),
        (TORCHRUN, Processes(1, 2, 1)),
        (TORCHRUN | SRUN, Processes(1, 2, 1)),
        (SRUN, Processes(3, 4, 1)),
        (SRUN | {"SLURM_JOB_NAME": "bash"}, Processes(0, 1, 0)),
        ({"SLURM_NTASKS": "4", "SLURM_PROCID": "0"}, Processes(0, 1, 0)),
        ({"SLURM_NTASKS": "4", "SLURM_STEP_ID": "0"}, Processes(0, 1, 0)),  # salloc's shell
    ],
)
def test_processes_are_those_that_torchrun_or_srun_started(
    environment: dict[str, str], expected: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert Processes.found() == expected


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (SRUN | {"SLURM_PROCID": "4"}, "SLURM_PROCID=4: SLURM_NTASKS=4 has ranks 0 to 3; if anot"),
        (SRUN | {"SLURM_STEP_NODELIST": ""}, "SLURM_STEP_NODELIST=: must name the nodes, as srun"),
        (SRUN | {"SLURM_JOB_ID": ""}, "SLURM_JOB_ID=: must be a whole number; if another program"),
        (SRUN | {"SLURM_LOCALID": ""}, "SLURM_LOCALID=: must be a whole number; if another"),
        ({"MASTER_ADDR": ""}, "MASTER_ADDR=: must name the first node; if another program left"),
        ({"MASTER_PORT": "65536"}, "MASTER_PORT=65536: must be at most 65535; if another program"),
        ({"RANK": "2"}, "RANK=2: WORLD_SIZE=2 has ranks 0 to 1; if another program left"),
        ({"WORLD_SIZE": ""}, "WORLD_SIZE=: must be a whole number; start the command with env"),
        ({"LOCAL_RANK": "first"}, "LOCAL_RANK=first: must be a whole number"),
    ],
)
def test_variables_that_contradict_each_other_are_named(
    changes: dict[str, str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (changes if "SLURM_PROCID" in changes else TORCHRUN | changes).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=re.escape(said)):
        Processes.found()


@pytest.mark.parametrize(
    ("nodes", "host"),
    [
        ("node7", "node7"),
        ("gpu[03-04,07],login", "gpu03"),
        ("a-b[1,3]", "a-b1"),
        ("n1,n2", "n1"),
        ("10.0.0.1", "10.0.0.1"),
    ],
)
def test_the_first_host_of_a_node_list(nodes: str, host: str) -> None:
    assert first_host(nodes) == host


def test_only_the_first_process_says_what_went_wrong() -> None:
    with pytest.raises(UsageError), Processes(0, 2).errors_reported_once():
        raise UsageError("wrong")
    with pytest.raises(SystemExit) as raised, Processes(1, 2).errors_reported_once():
        raise UsageError("wrong")
    assert raised.value.code == 2


def test_one_process_needs_no_group() -> None:
    alone = Processes()
    with alone.joined():
        assert alone.gather(lambda: 5) == [5]

    def fail() -> int:
        raise UserError("broken")

    with pytest.raises(UserError, match="broken"):
        alone.gather(fail)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_small_network(tmp_path_factory.mktemp("run") / "model.safetensors")


@pytest.fixture(scope="module")
def other(weights: Path) -> Path:
    """Another network with the same classes."""
    tensors = load_tensors(weights)
    tensors["classifier.weight"] = tensors["classifier.weight"].roll(1, 1)
    save(weights.with_name("other.safetensors"), tensors, read_metadata(weights))
    return weights.with_name("other.safetensors")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """121 pictures of four of six classes, and the list of them."""
    folder = tmp_path_factory.mktemp("data")
    rows = ["path,label,site"]
    for number in range(121):
        draw(folder / f"{number}.png", number)
        rows.append(f"{number}.png,n{number % 4},{number // 10}")
    (folder / "list.csv").write_text("\n".join(rows))
    return folder


def free_port() -> str:
    with socket.create_server(("localhost", 0)) as server:
        return str(server.getsockname()[1])


@pytest.mark.parametrize(
    ("rank", "said"),
    [(0, "1 of 2 processes arrived within 0.3 s"), (1, "no process answered within 0.3 s")],
)
def test_others_that_never_come_are_waited_for_only_so_long(
    rank: int, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(meeting, "MEETING_WAIT", timedelta(seconds=0.3))
    port = free_port()
    for name, value in (TORCHRUN | {"RANK": str(rank), "MASTER_PORT": port}).items():
        monkeypatch.setenv(name, value)
    alone = Processes.found()
    with pytest.raises(UserError) as raised, alone.errors_reported_once(), alone.joined():
        raise AssertionError
    assert isinstance(raised.value, NobodyThereError) is (rank == 1)
    assert str(raised.value) == (
        f"MASTER_ADDR=localhost MASTER_PORT={port}: {said} (RANK={rank}, WORLD_SIZE=2); start all "
        "of them at once; if another program left these variables, start the command with env -u "
        "TORCHELASTIC_RUN_ID"
    )


def listens(port: str) -> bool:
    with contextlib.suppress(OSError):
        socket.create_connection(("localhost", int(port)), timeout=1).close()
        return True
    return False


@pytest.mark.system
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_wait_for_others_and_nothing_is_half_written(
    weights: Path, tmp_path: Path, number: signal.Signals
) -> None:
    port = free_port()
    draw(tmp_path / "data/n0/0.png", 0)
    flags = ("--data", str(tmp_path / "data"), "--predictions", str(tmp_path / "out/rows.csv"))
    (tmp_path / "out").mkdir()
    waiting = subprocess.Popen(
        [sys.executable, "-m", "inceptcli", "eval", str(weights), *flags],
        env={**os.environ, **TORCHRUN, "RANK": "0", "LOCAL_RANK": "0", "MASTER_PORT": port},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    while not listens(port):
        assert waiting.poll() is None, waiting.communicate()
        time.sleep(0.1)
    waiting.send_signal(number)
    printed, said = waiting.communicate(timeout=120)
    assert waiting.returncode == 128 + number
    assert printed == ""
    assert said == f"interrupted; {tmp_path}/out/rows.csv is not written\n"
    assert list((tmp_path / "out").iterdir()) == []


def under_torchrun(*arguments: object) -> subprocess.CompletedProcess[str]:
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    return subprocess.run(
        [sys.executable, *launcher, "-m", "inceptcli", "eval", *map(str, arguments)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip


@pytest.mark.system
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_two_processes_measure_each_image_once_and_agree_with_one(
    weights: Path, other: Path, data: Path, tmp_path: Path, precision: str
) -> None:
    flags = (
        other, "--against", weights, "--precision", precision, "--data", data / "list.csv",
        "--format", "json", "--bootstrap", 100, "--group", "site", "--predictions",
    )  # fmt: skip
    results: list[dict[str, Any]] = []
    tables: list[list[dict[str, str]]] = []
    for number, batch_size in enumerate((1, 7)):
        more = (tmp_path / f"{number}.csv", "--batch-size", batch_size)
        results.append(json.loads(inceptcli("eval", weights, *flags, *more).stdout))
    done = under_torchrun(weights, *flags, tmp_path / "2.csv", "--batch-size", 7)
    assert done.returncode == 0, done.stderr
    results.append(json.loads(done.stdout))  # and nothing else: one process speaks
    for number in range(3):
        with (tmp_path / f"{number}.csv").open(newline="") as file:
            tables.append(list(csv.DictReader(file)))
    for result, table in zip(results, tables, strict=True):
        assert result["images"] == 121
        assert [Path(row["path"]).stem for row in table] == [str(n) for n in range(121)]
        assert [row["rank"] for row in table] == [row["rank"] for row in tables[0]]
        for name in ("top1", "top5", "confusion", "top1_interval", "kappa", "macro_f1_interval"):
            assert result[name] == results[0][name], name
        for name in ("loss", "calibration_error"):
            assert result[name] == pytest.approx(results[0][name], abs=1e-5), name
        for entry, expected in zip(result["per_class"], results[0]["per_class"], strict=True):
            for name in ("images", "top1", "predicted", "precision", "f1_interval"):
                assert entry[name] == expected[name]
        for name in ("auroc", "auroc_interval", "average_precision"):  # rounding moves ranks
            assert result[name] == pytest.approx(results[0][name], abs=0.01), name
        for name in ("top1", "gained", "lost", "mcnemar_p", "difference_interval", "per_class"):
            assert result["against"][name] == results[0]["against"][name], name
        for name in ("loss_difference", "loss_difference_interval"):
            expected = results[0]["against"][name]
            assert result["against"][name] == pytest.approx(expected, abs=1e-5), name
        for member, expected in zip(result["members"], results[0]["members"], strict=True):
            assert (member["top1"], member["gain"]) == (expected["top1"], expected["gain"])
        assert [row["flip"] for row in table] == [row["flip"] for row in tables[0]]
    assert results[0]["against"]["gained"] > 0 < results[0]["against"]["lost"]
    assert 0 < results[0]["top1"] < results[0]["top5"] < 1


@pytest.mark.system
def test_an_error_in_another_process_is_said_once_by_the_first(weights: Path, data: Path) -> None:
    (data / "empty.png").write_text("")
    (data / "bad.csv").write_text("path,label\n0.png,n0\nempty.png,n1\n")  # the second one's
    done = under_torchrun(weights, "--data", data / "bad.csv")
    assert done.returncode != 0
    errors = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert errors == [f"Error: {data}/empty.png: empty file; --skip-unreadable skips such images"]  # fmt: skip  # noqa: E501


@pytest.mark.system
def test_more_devices_than_one_are_refused_once(weights: Path, data: Path) -> None:
    done = under_torchrun(weights, "--data", data / "list.csv", "--devices", "2")
    assert done.returncode != 0
    errors = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert errors == [
        "Error: --devices 2: torchrun or srun gives each process one device; omit --devices"
    ]
