from __future__ import annotations

import os
from pathlib import Path

import pytest

from inceptcli.processes import cores


@pytest.fixture(autouse=True)
def six_cores(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """This process may run on six; its cgroup is job/step below the folder returned."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(6)), raising=False)
    (tmp_path / "job" / "step").mkdir(parents=True)
    (tmp_path / "cgroup").write_text("1:cpu:/other\n0::/job/step\n")
    monkeypatch.setattr(cores, "CGROUP", tmp_path / "cgroup")
    monkeypatch.setattr(cores, "CGROUPS", tmp_path)
    for name in ("OMP_NUM_THREADS", "SLURM_CPUS_PER_TASK"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.mark.parametrize(
    ("quotas", "expected"),
    [
        ({}, 6),
        ({"job/step": "max 100000"}, 6),
        ({"job/step": "250000 100000"}, 3),
        ({"job": "100000 100000", "job/step": "max 100000"}, 1),
        ({"job": "900000 100000"}, 6),
        ({"job/step": "10000 100000"}, 1),
        ({"job/step": "nonsense"}, 6),
    ],
    ids=str,
)
def test_cores_are_those_of_affinity_and_quota(
    quotas: dict[str, str], expected: int, six_cores: Path
) -> None:
    for folder, quota in quotas.items():
        (six_cores / folder / "cpu.max").write_text(quota + "\n")
    assert cores.usable_cores() == expected


def test_a_system_without_cgroups_has_no_quota(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores, "CGROUP", Path("none"))
    assert cores.usable_cores() == 6


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, 6),
        ({"OMP_NUM_THREADS": "2"}, 2),
        ({"SLURM_CPUS_PER_TASK": "4"}, 4),
        ({"OMP_NUM_THREADS": "1", "SLURM_CPUS_PER_TASK": "4"}, 1),
        ({"OMP_NUM_THREADS": "64"}, 6),
        ({"OMP_NUM_THREADS": "0"}, 1),
        ({"OMP_NUM_THREADS": "4,2"}, 6),
    ],
    ids=str,
)
def test_threads_are_those_that_this_process_was_given(
    environment: dict[str, str], expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert cores.compute_threads() == expected


@pytest.mark.parametrize(
    ("tasks", "expected"), [(1, (1, 6)), (2, (2, 3)), (4, (4, 1)), (6, (6, 1)), (16, (6, 1))]
)
def test_threads_are_divided_among_tasks(tasks: int, expected: tuple[int, int]) -> None:
    assert cores.divide_threads(tasks) == expected
