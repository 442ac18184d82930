"""Two nodes share tar shards: in training, evaluation and prediction, and when one of them dies."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from inceptcli.prediction.shares.part import rows_files
from inceptcli.training.run_directory import RunDirectory
from tests.cli.conftest import inceptcli
from tests.cluster.conftest import Cluster, tasks_on, until
from tests.data.class_folders import CLASSES, draw, shard
from tests.prediction.conftest import save_small_network
from tests.tiny_network import TINY_FLAGS
from tests.training.test_resume import assert_same_run

PROGRAM = (sys.executable, "-m", "inceptcli")
EACH_NODE = ("--nodes=2", "--ntasks-per-node=1")
TRAIN = [
    "train", *TINY_FLAGS, "--image-size", "75",
    "--workers", "0", "--accelerator", "cpu", "--num-nodes", "2", "--strategy", "ddp",
    "--batch-size", "20", "--epochs", "3", "--set", "checkpoint.every_steps=2",
]  # fmt: skip
MEET = {"MASTER_ADDR": "127.0.0.1", "OMP_NUM_THREADS": "1"}

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def seven(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """200 pictures in 7 shards, to train on and to validate on."""
    root = tmp_path_factory.mktemp("seven")
    for first, split in enumerate(("train", "val")):
        draw(root / "data" / split, 200, first=first * 200)
    shard(root / "data", root / "shards", 29)
    assert len(list((root / "shards").glob("train-*.tar"))) == 7
    return root / "shards"


@pytest.fixture(scope="module")
def whole(slurm: Cluster, seven: Path, tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """A run of two nodes that nothing disturbs; `samples` beside it has what each gave it."""
    run = RunDirectory(tmp_path_factory.mktemp("whole") / "run")
    slurm.run(
        "srun", *EACH_NODE, sys.executable, "-m", "tests.cluster.logged_samples",
        f"{run.path.parent}/samples", *TRAIN, "--data", str(seven), "--output", str(run.path),
        **MEET,
    )  # fmt: skip
    return run


@pytest.fixture(scope="module")
def thousand(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Shards of 1,000 pictures to predict."""
    root = tmp_path_factory.mktemp("thousand")
    shard(draw(root / "data", 1000), root / "shards", 143)
    return f"{root}/shards/*.tar"


class Step:
    """An srun that goes on in the background; what its tasks say is in files."""

    def __init__(self, slurm: Cluster, folder: Path, *command: str) -> None:
        self.slurm, self.folder = slurm, folder
        folder.mkdir(parents=True, exist_ok=True)
        flags = (*EACH_NODE, f"--output={folder}/out-%n", f"--error={folder}/err-%n")
        self.process = subprocess.Popen(
            ["srun", "--job-name=killed", "--kill-on-bad-exit=1", *flags, *command],
            env=slurm.environment | MEET,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def said(self, node: int) -> str:
        path = self.folder / f"err-{node}"
        return path.read_text() if path.exists() else ""

    def wait_until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 900
        while not condition():
            assert self.process.poll() is None, self.said(0) + self.said(1)
            assert time.monotonic() < deadline, "not within a quarter of an hour"
            time.sleep(0.1)

    def clean_up(self) -> None:
        self.slurm.run("scancel", "--name=killed")
        self.process.kill()
        self.process.wait()


@pytest.fixture
def start(slurm: Cluster, tmp_path: Path) -> Iterator[Callable[..., Step]]:
    """Starts steps; afterwards none is left and both nodes are up."""
    steps: list[Step] = []

    def begin(name: str, *command: str) -> Step:
        steps.append(Step(slurm, tmp_path / name, *command))
        return steps[-1]

    yield begin
    for step in steps:
        step.clean_up()
    until(slurm.ready)


def end_of_the_other(slurm: Cluster, step: Step) -> str:
    """Kill the second node; what the first one says, whose task ends then."""
    slurm.kill_node("n2")
    killed = time.monotonic()
    while tasks_on(slurm, "n1"):
        assert time.monotonic() < killed + 600, "still there after ten minutes"
        time.sleep(0.2)
    said = step.said(0)
    step.clean_up()
    slurm.start_node("n2")
    until(slurm.ready)
    return said


def cpu_seconds(slurm: Cluster, node: str) -> float:
    """What the tasks on a node have used."""
    with suppress(FileNotFoundError, ProcessLookupError):
        stats = [Path(f"/proc/{task}/stat").read_text() for task in tasks_on(slurm, node)]
        fields = [stat.rpartition(")")[2].split() for stat in stats]
        return sum(int(field[11]) + int(field[12]) for field in fields) / os.sysconf("SC_CLK_TCK")
    return 0.0


def figures(text: str) -> dict[str, float]:
    found = json.loads(text)
    return {name: found[name] for name in ("images", "top1", "top5", "loss", "per_class")}


def test_two_nodes_see_every_sample_once_in_each_epoch_and_count_as_one_process_does(
    slurm: Cluster, seven: Path, whole: RunDirectory
) -> None:
    run, log = whole, whole.path.with_name("samples")
    lines = [line.split(" ", 2) for line in log.read_text().splitlines()]
    for epoch in ("0", "1", "2"):
        names = Counter(name for _, at, name in lines if at == epoch)
        assert len(names) == 200
        assert set(names.values()) == {1}
        ranks = Counter(rank for rank, at, _ in lines if at == epoch)
        assert ranks == {"0": 100, "1": 100}  # 5 batches each: an odd number
    assert len({Path(name).parent for _, _, name in lines}) == 7
    val = f"{seven}/val-*.tar"
    alone = figures(inceptcli("eval", run.path, "--data", val, "--format", "json").stdout)
    assert alone["images"] == 200
    with (run.path / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    best = max(rows, key=lambda row: float(row["val_top1"]))
    assert float(best["val_top1"]) == round(alone["top1"], 6)
    assert float(best["val_top5"]) == round(alone["top5"], 6)
    assert float(best["val_loss"]) == pytest.approx(alone["loss"], abs=1e-5)
    # 67, 67 and 66 images.
    shown = slurm.run(
        "srun", "--nodes=2", "--ntasks=3", *PROGRAM, "eval", str(run.path), "--data", val,
        "--format", "json", **MEET,
    )  # fmt: skip
    together = figures(shown)
    assert together.pop("loss") == pytest.approx(alone.pop("loss"), abs=1e-5)
    assert together == alone


def test_a_node_that_dies_in_training_is_named_and_the_next_start_resumes(
    slurm: Cluster,
    seven: Path,
    whole: RunDirectory,
    tmp_path: Path,
    start: Callable[..., Step],
) -> None:
    killed = RunDirectory(tmp_path / "killed")
    command = (*PROGRAM, *TRAIN, "--data", str(seven), "--output", str(killed.path))
    step = start("step", *command)
    step.wait_until(lambda: bool(killed.checkpoints()))
    said = end_of_the_other(slurm, step)
    (line,) = (line for line in said.splitlines() if line.startswith("Error: "))
    expected = r"Error: rank 1 \(process \d+ on \S+\) died; the same command continues the run"
    assert re.fullmatch(expected, line)
    assert "Traceback" not in said
    slurm.run("srun", *EACH_NODE, *command, **MEET)
    log = (killed.path / "train.log").read_text()
    first, again = re.findall(r"start from step (\d+)", log)
    assert (first, 0 < int(again) < 15) == ("0", True)
    assert_same_run(whole, killed)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network for the classes of the shards."""
    return save_small_network(tmp_path_factory.mktemp("run") / "model.safetensors", CLASSES)


def test_a_node_that_dies_in_an_evaluation_is_named(
    slurm: Cluster, seven: Path, weights: Path, tmp_path: Path, start: Callable[..., Step]
) -> None:
    step = start(
        "step", *PROGRAM, "eval", str(weights), "--data", f"{seven}/val-*.tar", "--crops", "144"
    )
    # Importing takes some of them, the images many more.
    step.wait_until(lambda: cpu_seconds(slurm, "n1") > 8 and cpu_seconds(slurm, "n2") > 8)
    said = end_of_the_other(slurm, step)
    assert re.fullmatch(
        r"Error: rank 1 \(process \d+ on \S+\) died; start the same command again", said.strip()
    )


def test_nodes_that_die_in_a_prediction_lose_and_double_no_row(
    slurm: Cluster, thousand: str, weights: Path, tmp_path: Path, start: Callable[..., Step]
) -> None:
    parts = tmp_path / "parts"
    command = (sys.executable, "-m", "tests.prediction.small_files", "predict",
               thousand, "--weights", str(weights),
               "--shard", "auto", "--output", str(parts))  # fmt: skip
    step = start("step", "env", "INCEPTCLI_TEST_PAUSE=0.1", *command)
    second = parts / "part-00001-of-00002"
    step.wait_until(lambda: any(second.glob("rows-*")))
    slurm.kill_node("n2")
    rows = sum(file.rows for file in rows_files(second))
    assert 0 < rows < 500
    step.clean_up()
    slurm.start_node("n2")
    until(slurm.ready)
    unfinished = inceptcli("merge", parts)
    assert unfinished.exit_code == 1
    assert re.search(r"shards are incomplete .*not finished: (0, )?1\)", unfinished.stderr)
    slurm.run("srun", *EACH_NODE, *command, OMP_NUM_THREADS="1")
    merged = inceptcli("merge", parts).stdout
    alone = inceptcli("predict", thousand, "--weights", weights, "--format", "jsonl")
    assert merged == alone.stdout
    assert len(merged.splitlines()) == 1000
