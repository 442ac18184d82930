"""Precisions and several processes reach what one float32 process reaches."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from inceptcli.weights.file import load_tensors
from tests.cli.conftest import inceptcli

SHAPES = [
    "--arch", "irv1", "--set", "network.repeats=[1, 1, 1]", "--set", "data.train_size=800",
    "--set", "data.val_size=200", "--epochs", "2", "--workers", "0", "--set", "data.image_size=75",
    "--set", "optimizer.learning_rate=0.002",
]  # fmt: skip


def train(folder: Path, *flags: str) -> tuple[list[dict[str, str]], str]:
    """The rows of metrics.csv of a run, and what it said."""
    words = ["train", *SHAPES, *flags, "--output", str(folder)]
    if "--devices" in flags:
        done = subprocess.run(
            [sys.executable, "-m", "inceptcli", *words], capture_output=True, text=True, check=True,
            cwd=folder.parent, env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        said = done.stderr
    else:
        alone = inceptcli(*words)
        assert alone.exit_code == 0, alone.output
        said = alone.stderr
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file)), said


def top1(folder: Path, *flags: str) -> tuple[float, str]:
    """The last validation top-1 of a run, and what it said."""
    rows, said = train(folder, *flags)
    assert [row["epoch"] for row in rows] == ["1", "2"]
    return float(rows[-1]["val_top1"]), said


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> float:
    found, said = top1(tmp_path_factory.mktemp("alone") / "run", "--accelerator", "cpu")
    assert "effective batch 16 = 16 images x 1 device; 50 steps" in said
    assert found > 0.35  # of ten classes, or there is nothing to compare
    return found


@pytest.mark.train
def test_bfloat16_learns_as_float32_does(tmp_path: Path) -> None:
    # Few steps: without bfloat16 in the processor each takes eight times as long as in float32.
    short = ["--set", "data.train_size=96", "--epochs", "1", "--accelerator", "cpu"]
    losses = []
    for precision in ("32-true", "bf16-mixed"):
        (row,), said = train(tmp_path / precision, *short, "--precision", precision)
        assert f"precision {precision}" in said
        losses.append(float(row["train_loss"]))
    assert losses[0] != losses[1]
    assert losses[1] == pytest.approx(losses[0], rel=0.05)


@pytest.mark.system
def test_two_processes_reach_what_one_reaches(alone: float, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    found, said = top1(
        folder, "--devices", "2", "--strategy", "ddp", "--accelerator", "cpu", "--batch-size", "8"
    )
    assert "effective batch 16 = 8 images x 2 devices; 50 steps" in said
    assert said.count("effective batch") == 1
    assert abs(found - alone) <= 0.15
    newest = max((folder / "checkpoints").iterdir())
    averaged = torch.load(newest, weights_only=True)["state_dict"]
    for key, tensor in load_tensors(folder / "model.safetensors").items():
        if "num_batches" not in key:
            assert tensor.isfinite().all()
            assert averaged[f"network.{key}"].shape == tensor.shape


@pytest.mark.train
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("precision", ["16-mixed", "bf16-mixed"])
def test_mixed_precision_on_cuda(alone: float, tmp_path: Path, precision: str) -> None:
    found, said = top1(tmp_path / "run", "--precision", precision, "--accelerator", "gpu")
    assert "device cuda" in said
    assert abs(found - alone) <= 0.15
