"""A study from the command line: runs, verdicts, stopping and going on."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.conftest import check_one_line, inceptcli

STUDY = """
question: Does a rate beyond all measure end a run?
measure: last-error
seeds: [0, 1]
recipe:
  network: {name: irv1, repeats: [1, 1, 1]}
  data: {image_size: 75, batch_size: 4, workers: 0, train_size: 40, val_size: 10}
  averaging: {decay: 0.0}
  trainer: {epochs: 1, accelerator: cpu, clip_norm: null}
arms:
  usual: {}
  beyond: {optimizer: {name: sgd, learning_rate: 1.0e+30}}
comparisons:
- {arm: beyond, against: usual, expected: higher}
"""


def test_wrong_use_is_one_line(tmp_path: Path) -> None:
    done = inceptcli("study", "nothing", "--output", tmp_path / "out")
    check_one_line(done, 2, "study nothing: no such study or file; known: residual-speed")
    file = tmp_path / "study.yaml"
    file.write_text(STUDY.replace("seeds: [0, 1]", "seeds: [0]"))
    check_one_line(inceptcli("study", file, "--output", tmp_path / "out"), 2, "seeds")
    file.write_text(STUDY.replace("expected: higher", "expected: higher, expects: lower"))
    wrong = inceptcli("study", file, "--output", tmp_path / "out")
    check_one_line(wrong, 2, "unknown key comparisons.0.expects")
    file.write_text(STUDY)
    check_one_line(inceptcli("study", file, "--output", file), 2, "not a folder")
    assert not (tmp_path / "out").exists()


@pytest.mark.system
def test_a_study_is_stopped_continued_and_judged(tmp_path: Path) -> None:
    file, output = tmp_path / "study.yaml", tmp_path / "out"
    file.write_text(STUDY)
    command = [
        sys.executable, "-m", "inceptcli", "study", str(file), "--output", str(output),
        "--jobs", "2", "--format", "json",
    ]  # fmt: skip
    stopped = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while stopped.poll() is None and not list(output.glob("*/train.log")):
        time.sleep(0.1)
    stopped.send_signal(signal.SIGTERM)
    assert stopped.communicate()[0] == b""
    assert stopped.returncode == 75

    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "4/4" in done.stderr
    judged = json.loads(done.stdout)
    assert judged["arms"]["beyond"] == [1.0, 1.0]
    assert all(0 <= error < 1 for error in judged["arms"]["usual"])
    failures = {run["arm"]: run["failure"] for run in judged["runs"]}
    assert failures["usual"] is None
    assert failures["beyond"].startswith("the loss is not finite at step")
    assert all(0 <= run["dead_units"] <= 1 for run in judged["runs"])
    (entry,) = judged["verdicts"]
    assert entry["difference"] > 0
    assert (output / "usual-seed-1/model.safetensors").is_file()

    again = inceptcli("study", file, "--output", output, "--quiet")
    assert again.exit_code == 0
    assert again.stderr == ""
    assert "beyond higher than usual: " in again.stdout
