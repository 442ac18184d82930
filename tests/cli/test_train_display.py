"""What a person sees of a run: on terminals of two widths, after Ctrl-C, in a log, at the end."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from inceptcli.weights.file import read_metadata
from tests.cli.conftest import TINY, inceptcli, picture
from tests.terminal import HIDE_CURSOR, SHOW_CURSOR, Terminal, shown_lines, without_size

needs_tmux = pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed")
COMMAND = [sys.executable, "-m", "inceptcli", "train", *TINY, "--set", "data.train_size=48"]


@pytest.mark.system
@needs_tmux
@pytest.mark.parametrize("width", [60, 160])
def test_under_tmux_bars_and_notices_have_lines_of_their_own(width: int, tmp_path: Path) -> None:
    tmux = ["tmux", "-S", str(tmp_path / "socket"), "-f", "/dev/null"]
    run = [*COMMAND, "--epochs", "2", "--output", str(tmp_path / "run")]
    shell = f"read; {shlex.join(run)}; echo code $?; cat"
    start = [*tmux, "new-session", "-d", "-x", str(width), "-y", "40", shell]
    # pytest imports readline, which puts COLUMNS into the environment of its workers.
    subprocess.run(start, check=True, env=without_size())
    record = f"cat >{shlex.quote(str(tmp_path / 'written'))}"
    subprocess.run([*tmux, "pipe-pane", record], check=True)
    subprocess.run([*tmux, "send-keys", "Enter"], check=True)
    frames = [""]
    try:
        deadline = time.monotonic() + 600
        while "code 0" not in frames[-1]:
            assert time.monotonic() < deadline, frames[-1]
            time.sleep(0.1)
            shown = subprocess.run(
                [*tmux, "capture-pane", "-p", "-J"], capture_output=True, text=True, check=True
            )
            frames.append(shown.stdout)
    finally:
        subprocess.run([*tmux, "kill-server"], check=False)
    bars = {line for frame in frames for line in frame.splitlines() if "━" in line}
    assert any(line.startswith("epoch 2/2 ━") for line in bars)
    assert not [line for line in bars if len(line.rstrip()) > width]
    assert all(line.startswith(("epoch", "validation")) for line in bars)
    assert not [line for line in bars if "train loss" in line]
    # A bar's last frame may stand for less than the time between two captures.
    written = shown_lines((tmp_path / "written").read_text())
    last = [line for line in written if line.startswith("epoch 2/2 ━")][-1]
    assert ("step " in last) == (width == 160)
    end = [line for line in frames[-1].splitlines() if line.strip()]
    assert not [line for line in end if "━" in line]
    words = [line.split()[0] for line in end]
    first = [word for word in words if word in ("best", "weights:", "next:", "code")]
    assert first == ["best", "weights:", "next:", "code"]
    assert [line for line in end if line.startswith("epoch 1/2: train loss")]


@pytest.mark.system
def test_ctrl_c_saves_and_gives_the_terminal_back(tmp_path: Path) -> None:
    terminal = Terminal([*COMMAND, "--epochs", "50", "--output", str(tmp_path / "run")], 80)
    terminal.read_until("loss")
    terminal.type("\x03")
    assert terminal.finish() == 75
    assert "stopped by SIGINT after step" in terminal.written
    assert terminal.written.rindex(SHOW_CURSOR) > terminal.written.rindex(HIDE_CURSOR)


@pytest.mark.system
@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs Linux")
def test_on_one_processor_two_workers_are_not_warned_of(tmp_path: Path) -> None:
    done = subprocess.run(
        [*COMMAND, "--workers", "2", "--epochs", "1", "--output", str(tmp_path / "run")],
        preexec_fn=lambda: os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}),
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "epoch 1/1: train loss" in done.stderr
    assert "DataLoader" not in done.stderr


@pytest.mark.system
def test_a_log_of_four_epochs_is_short_and_plain(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("w") as stderr:
        subprocess.run(
            [*COMMAND, "--epochs", "4", "--set", "data.train_size=4", "--set", "data.val_size=2",
             "--output", str(tmp_path / "run")],
            stderr=stderr, check=True,
        )  # fmt: skip
    text = log.read_text()
    assert all(letter.isprintable() or letter == "\n" for letter in text)
    lines = text.splitlines()
    assert len(lines) < 40
    assert len([line for line in lines if ": train loss" in line]) == 4


def make_split_folders(root: Path) -> list[object]:
    for number in range(8):
        picture(root / "Training" / str(number % 2) / f"{number}.png", number)
        picture(root / "valid" / str(number % 2) / f"{number}.png", 10 + number)
        picture(root / "test" / str(number % 2) / f"{number}.png", 20 + number)
    (root / "valid/0/broken.png").write_text("<html>")
    return ["--data", root]


def make_class_folders(root: Path) -> list[object]:
    for number in range(12):
        picture(root / str(number % 2) / f"{number}.png", number)
    return ["--data", root, "--val-fraction", "0.3"]


def make_validation_elsewhere(root: Path) -> list[object]:
    return [*make_class_folders(root)[:2], "--val-data", *make_split_folders(root / "../more")[1:]]


def make_shards(root: Path) -> list[object]:
    make_class_folders(root)
    done = inceptcli("data", "shard", root, "--output", root / "../shards", "--count", "5")
    assert done.exit_code == 0, done.output
    return ["--data", f"{root}/../shards/*.tar", "--val-fraction", "0.3"]


@pytest.mark.train
@pytest.mark.parametrize(
    "make", [make_split_folders, make_class_folders, make_validation_elsewhere, make_shards, None]
)
def test_the_end_of_a_run_names_a_command_that_measures_the_same(
    tmp_path: Path, make: Callable[[Path], list[object]] | None
) -> None:
    run = tmp_path / "it's"
    data = make(tmp_path / "my photos") if make else []
    arguments = ("train", *TINY, *data, "--epochs", "2", "--output", run)
    done = inceptcli(*arguments)
    assert done.exit_code == 0, done.output
    best, weights, following = done.stderr.splitlines()[-3:]
    assert best.startswith("best of 2 epochs: ")
    assert " (slightly optimistic: chosen on these images); " in best
    assert best.endswith(" s")
    assert weights == f"weights: {run}/model.safetensors"
    command = shlex.split(following.removeprefix("next: inceptcli "))
    assert command[:2] == ["eval", str(run)]
    evaluated = inceptcli(*command, "--format", "json")
    assert evaluated.exit_code == 0, evaluated.output
    result = json.loads(evaluated.stdout)
    metrics = read_metadata(run / "model.safetensors").metrics
    assert result["split"] == "val"
    assert result["loss"] == pytest.approx(metrics["val_loss"], rel=1e-4)
    assert f"top-1 {result['top1']:.2%}" in best
    assert ("top-5 " in best) == ("top-5 " in inceptcli(*command).stdout) == (make is None)
    assert "trained on" not in evaluated.stderr
    quiet = inceptcli(*arguments, "--quiet")
    assert (quiet.exit_code, quiet.output) == (0, "")
