"""One evaluation by several processes: who they are, and that their answer is the same."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from inceptcli.errors import UsageError, UserError
from inceptcli.evaluation.processes import Processes, first_host
from tests.cli.conftest import inceptcli
from tests.prediction.conftest import draw, save_small_network

SRUN = {"SLURM_STEP_ID": "0", "SLURM_NTASKS": "4", "SLURM_PROCID": "3", "SLURM_LOCALID": "1"}
TORCHRUN = {"TORCHELASTIC_RUN_ID": "none", "RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1"}


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
    for name in os.environ:
        if re.match("SLURM_|TORCHELASTIC_|(LOCAL_)?RANK$|WORLD_SIZE$", name):
            monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert Processes.found() == expected


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"RANK": "2"}, "RANK=2: WORLD_SIZE=2 has ranks 0 to 1; if another program left"),
        ({"WORLD_SIZE": ""}, "WORLD_SIZE=: must be a whole number; put env -u WORLD_SIZE in front"),
        ({"LOCAL_RANK": "first"}, "LOCAL_RANK=first: must be a whole number"),
    ],
)
def test_variables_that_contradict_each_other_are_named(
    changes: dict[str, str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (TORCHRUN | changes).items():
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
    with pytest.raises(UsageError), Processes(0, 2).one_voice():
        raise UsageError("wrong")
    with pytest.raises(SystemExit) as raised, Processes(1, 2).one_voice():
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
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """121 pictures of four of six classes, and the list of them."""
    folder = tmp_path_factory.mktemp("data")
    rows = ["path,label"]
    for number in range(121):
        draw(folder / f"{number}.png", number)
        rows.append(f"{number}.png,n{number % 4}")
    (folder / "list.csv").write_text("\n".join(rows))
    return folder


def under_torchrun(*arguments: object) -> subprocess.CompletedProcess[str]:
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    return subprocess.run(
        [sys.executable, *launcher, "-m", "inceptcli", "eval", *map(str, arguments)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip


@pytest.mark.slow
def test_two_processes_measure_each_image_once_and_agree_with_one(
    weights: Path, data: Path, tmp_path: Path
) -> None:
    flags = ("--data", data / "list.csv", "--format", "json", "--predictions")
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
        for name in ("top1", "top5", "per_class", "confusion", "top1_interval"):
            assert result[name] == results[0][name], name
        for name in ("loss", "calibration_error"):
            assert result[name] == pytest.approx(results[0][name], abs=1e-5), name
    assert 0 < results[0]["top1"] < results[0]["top5"] < 1


@pytest.mark.slow
def test_an_error_in_another_process_is_said_once_by_the_first(weights: Path, data: Path) -> None:
    (data / "empty.png").write_text("")
    (data / "bad.csv").write_text("path,label\n0.png,n0\nempty.png,n1\n")  # the second one's
    done = under_torchrun(weights, "--data", data / "bad.csv")
    assert done.returncode != 0
    errors = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert errors == [f"Error: {data}/empty.png: empty file; --skip-unreadable leaves such images out"]  # fmt: skip  # noqa: E501
