"""The shipped batch file on a real SLURM of two nodes; how tasks and devices have to agree."""

from __future__ import annotations

import json
import os
import re
import sys
import time
from pathlib import Path

import pytest

from inceptcli.recipe.file import bundled_folder
from inceptcli.training.run_directory import RunDirectory
from tests.cluster.conftest import Cluster
from tests.prediction.conftest import draw, save_small_network
from tests.tiny_network import TINY_FLAGS
from tests.training.test_resume import assert_same_run

BATCH_FILE = bundled_folder() / "slurm/train.sbatch"

SMALLER = [
    *TINY_FLAGS, "--accelerator", "cpu", "--image-size", "75", "--batch-size", "4",
    "--workers", "2", "--epochs", "2",
    "--set", "data.train_size=64", "--set", "data.val_size=12",
    "--set", "checkpoint.every_steps=2",
]  # fmt: skip


def submit(slurm: Cluster, run: Path, *flags: str, before: tuple[str, ...] = ()) -> str:
    """The number of a job of one task on each node."""
    return slurm.run(
        "sbatch", "--parsable", *before, "--ntasks-per-node=1", "--cpus-per-task=1",
        f"--output={run}.out", str(BATCH_FILE), *SMALLER, *flags,
        PATH=f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        RUN=str(run), MASTER_ADDR="127.0.0.1", OMP_NUM_THREADS="1",
    )  # fmt: skip


@pytest.mark.system
def test_a_preempted_job_requeues_itself_and_ends_with_the_same_weights(
    slurm: Cluster, tmp_path: Path
) -> None:
    alone, preempted = RunDirectory(tmp_path / "alone"), RunDirectory(tmp_path / "preempted")
    jobs = [submit(slurm, alone.path), submit(slurm, preempted.path)]
    while not preempted.checkpoints():
        assert slurm.job(jobs[1], "JobState") in ("PENDING", "RUNNING"), said(preempted)
        time.sleep(0.2)
    slurm.run("scancel", "--signal=USR1", jobs[1])
    slurm.wait_until(jobs[1], "PENDING")
    assert (preempted.path / "stopped").exists()
    slurm.run("scontrol", "update", f"jobid={jobs[1]}", "starttime=now")  # it would wait 2 minutes
    for job in jobs:
        slurm.wait_until(job, "COMPLETED")
    assert slurm.job(jobs[1], "Restarts") == "1"
    log = (preempted.path / "train.log").read_text()
    (step,) = re.findall(r"stopped by SIGUSR1 after step (\d+)", log)
    assert 0 < int(step) < 16
    assert re.findall(r"start from step (\d+)", log) == ["0", step]
    assert not (preempted.path / "stopped").exists()
    assert_same_run(alone, preempted)


@pytest.mark.system
def test_a_preempted_task_of_an_array_requeues_itself_alone(slurm: Cluster, tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    array = submit(slurm, run.path, before=("--array=3,7%1",))
    task = f"{array}_3"
    while not run.checkpoints():
        assert slurm.job(task, "JobState") in ("PENDING", "RUNNING"), said(run)
        time.sleep(0.2)
    slurm.run("scancel", "--signal=USR1", task)
    slurm.wait_until(task, "PENDING")
    assert slurm.job(task, "Restarts") == "1"
    assert f"requeueing SLURM job {task}" in (run.path / "train.log").read_text()
    slurm.run("scancel", array)


@pytest.mark.system
def test_tasks_and_devices_that_disagree_are_one_clear_line(slurm: Cluster, tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    job = submit(slurm, run.path, "--devices", "2")
    slurm.wait_until(job, "FAILED")
    assert (
        "Error: --devices 2 x --num-nodes 2 is 4 processes, but SLURM has 2 tasks on 2 nodes; "
        "give --devices 1 --num-nodes 2" in said(run)
    )
    assert "Traceback" not in said(run)


def said(run: RunDirectory) -> str:
    return run.path.with_suffix(".out").read_text()


@pytest.mark.system
def test_tasks_of_srun_measure_each_image_once(slurm: Cluster, tmp_path: Path) -> None:
    weights = save_small_network(tmp_path / "model.safetensors")
    for number in range(7):
        draw(tmp_path / f"data/n{number % 2}/{number}.png", number)
    program = (sys.executable, "-m", "inceptcli", "eval", str(weights))
    command = (*program, "--data", str(tmp_path / "data"), "--format", "json")
    shown = slurm.run(
        "srun", "--nodes=2", "--ntasks-per-node=1", *command,
        MASTER_ADDR="127.0.0.1", OMP_NUM_THREADS="1",
    )  # fmt: skip
    alone = slurm.run(*command)
    assert json.loads(shown) == json.loads(alone)
    assert json.loads(shown)["images"] == 7
