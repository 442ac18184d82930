"""Run the command line in this process, and draw pictures for it."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from inceptcli.cli.app import app
from inceptcli.prediction.export import export_onnx
from tests.prediction.conftest import draw, save_small_network
from tests.tiny_network import TINY_FLAGS

TINY = [
    *TINY_FLAGS, "--batch-size", "4", "--workers", "0", "--epochs", "1", "--image-size", "75",
    "--accelerator", "cpu", "--set", "data.train_size=12",
    "--set", "data.val_size=10",
]  # fmt: skip


def inceptcli(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def picture(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (80, 90, 3)).astype(np.uint8)
    Image.fromarray(noise).save(path)


def check_one_line(done: Result, code: int, said: str) -> None:
    assert done.exit_code == code, done.output
    assert said in done.stderr
    errors = [line for line in done.stderr.splitlines() if "Error" in line]
    assert len(errors) == 1
    assert "Traceback" not in done.output
    assert done.stdout == ""


def installed(folder: Path) -> Path:
    """A folder for PATH with the program in it, as `pip install` puts it there."""
    folder.mkdir()
    program = folder / "inceptcli"
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m inceptcli "$@"\n')
    program.chmod(0o755)
    return folder


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_small_network(tmp_path_factory.mktemp("run") / "model.safetensors")


@pytest.fixture(scope="session")
def onnx_weights(weights: Path) -> Path:
    """The same network as an ONNX file, beside it."""
    output = weights.with_name("model.onnx")
    export_onnx(weights, output)
    return output


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three pictures of 200x150 pixels."""
    for number in range(3):
        draw(tmp_path / "pictures" / f"{number}.png", number, (200, 150))
    return tmp_path / "pictures"
