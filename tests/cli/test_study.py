"""A study from the command line: runs, verdicts, stopping and going on."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import pytest
from PIL import Image

from inceptcli.cli.study import command_given, verdicts_in_words
from inceptcli.processes.cores import usable_cores
from tests.cli.conftest import check_one_line, inceptcli
from tests.studies.test_training import PROGRAM

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
    check_one_line(done, 2, "study nothing: no such study or file; known: averaging")
    file = tmp_path / "study.yaml"
    file.write_text(STUDY.replace("seeds: [0, 1]", "seeds: [0]"))
    check_one_line(inceptcli("study", file, "--output", tmp_path / "out"), 2, "seeds")
    file.write_text(STUDY.replace("expected: higher", "expected: higher, expects: lower"))
    wrong = inceptcli("study", file, "--output", tmp_path / "out")
    check_one_line(wrong, 2, "unknown key comparisons.0.expects")
    file.write_text(STUDY)
    check_one_line(inceptcli("study", file, "--output", file), 2, "not a folder")
    assert not (tmp_path / "out").exists()
    (tmp_path / "out/study.png").mkdir(parents=True)
    check_one_line(inceptcli("study", file, "--output", tmp_path / "out"), 2, "not a regular file")


SEARCHED = """
claim: {section: "3.3", says: Some networks die.}
question: Do they?
measure: dead-units
seeds: [0, 1]
recipe: {network: {name: irv1}, data: {image_size: 75}, trainer: {epochs: 2}}
grid:
- {key: network.residual_scales, label: Scale, values: [[1.0, 1.0, 1.0], [0.1, 0.1, 0.1]]}
- {key: network.width, label: Width, values: [0.5, 0.25]}
search: {key: optimizer.learning_rate, values: [0.1, 0.2], seeds: [7]}
comparisons:
- {arm: scale-1.0-width-0.5, against: scale-0.1-width-0.5, expected: no-difference, margin: 0.01}
- arm: scale-0.1-width-0.25
  against: scale-0.1-width-0.5
  expected: not-higher
  margin: 0.1
  measure: last-error
trends:
- {over: multiply-adds, expected: lower, measure: best-error}
threshold: {along: network.width, above: 0.2}
"""


def test_a_study_with_a_grid_and_a_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inceptcli.studies.training.TRAIN", PROGRAM)
    monkeypatch.setattr("inceptcli.studies.training.POLL_SECONDS", 0.01)
    file, output = tmp_path / "elsewhere/wide.yaml", tmp_path / "here/runs/wide"
    file.parent.mkdir()
    file.write_text(SEARCHED)
    output.mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    (output / "scale-1.0-width-0.5-at-0.1-seed-7.todo").write_text("diverge")
    asked = ["study", file, "--output", output, "--jobs", 2]
    done = inceptcli(*asked, "--format", "json")
    assert done.exit_code == 0, done.output
    judged = json.loads(done.stdout)
    command = "inceptcli study wide.yaml --output runs/wide --jobs 2 --format json"
    assert (judged["study"], judged["command"]) == ("wide", command)
    assert str(tmp_path) not in done.stdout
    assert judged["claim"] == {"section": "3.3", "says": "Some networks die."}
    assert (judged["version"], judged["cores"]) == (version("inceptcli"), usable_cores())
    assert len(judged["runs"]) == len(judged["search"]["tries"]) == 8
    assert judged["search"]["best"][0] == {
        "arm": "scale-1.0-width-0.5",
        "value": 0.2,
        "errors": [1.0, 0.25],
        "tied": [],
        "at_edge": True,
    }
    assert [run["value"] for run in judged["runs"]] == [0.2, 0.1, 0.1, 0.1] * 2
    times = [run["cpu_seconds"] for run in (*judged["runs"], *judged["search"]["tries"])]
    assert judged["cpu_seconds"] == pytest.approx(sum(times))
    assert [run["filters"] for run in judged["runs"][:4]] == [896, 448, 896, 448]
    assert [each["answer"] for each in judged["verdicts"]] == ["supported"] * 2
    assert judged["trends"][0]["answer"] == "undecided"
    assert [each["value"] for each in judged["threshold"]["found"]] == [0.25, 0.25]
    assert "16/16 " in done.stderr
    assert done.stderr.endswith(f"wrote {output}/study.png\n")
    with Image.open(output / "study.png") as image:  # two maps and a trend
        assert image.width < image.height

    again = inceptcli(*asked, "--quiet")
    assert (again.exit_code, again.stderr) == (0, "")
    assert {len(starts.read_text()) for starts in output.glob("*/starts")} == {1}
    for line in (
        "Some networks die. (section 3.3)",
        "scale-1.0-width-0.5: optimizer.learning_rate 0.2 has the lowest last error; best at the e",
        "dead-units of scale-1.0-width-0.5 no different from scale-0.1-width-0.5 (margin 1 points)"
        ": supported (+0.0 points, 95 % interval +0.0 to +0.0, adjusted p 0)",
        "change of best-error lower than 0 by doubled multiply-adds: undecided (+0.0 points per d",
        "smallest network.width with dead-units above 20%:",
        "  network.residual_scales [1.0, 1.0, 1.0]: 0.25",
        "adjusted for all tests of the study (Holm's method)",
    ):
        assert line in again.stdout


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
    assert judged["cpu_seconds"] > 4  # of both starts
    assert judged["data"] == {"classes": 10, "training": 40, "validation": 10}
    (entry,) = judged["verdicts"]
    assert entry["difference"] > 0
    assert (output / "usual-seed-1/model.safetensors").is_file()

    again = inceptcli("study", file, "--output", output, "--quiet")
    assert again.exit_code == 0
    assert again.stderr == ""
    assert "beyond higher than usual: " in again.stdout


def test_the_command_in_the_json_has_no_secrets() -> None:
    data = "https://example.org/{0..3}.tar?token=SECRET"
    command = command_given("wide", {"--data": data, "--output": "runs/wide", "--seeds": None})
    shown = "'https://example.org/{0..3}.tar?token=...'"
    assert command == f"inceptcli study wide --data {shown} --output runs/wide"


def test_the_command_in_the_json_names_no_folder_outside_the_current_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    flags = {"--data": "../../alice/patients", "--output": "runs/../runs/a", "--jobs": 2}
    command = command_given(f"{tmp_path}/here/s.yaml", flags)
    assert command == "inceptcli study s.yaml --data patients --output runs/a --jobs 2"


def test_no_difference_has_no_sign_of_one() -> None:
    verdict = {
        "arm": "two", "against": "one", "expected": "lower", "measure": "last-error",
        "margin": None, "answer": "undecided", "difference": -1e-18, "low": -0.05, "high": 0.05,
        "adjusted_p": 1.0,
    }  # fmt: skip
    (line,) = verdicts_in_words({"verdicts": [verdict], "trends": [], "threshold": None})
    assert "(+0.0 points, 95 % interval -5.0 to +5.0, adjusted p 1)" in line
