"""trainer.profiler: Lightning's reports in the run directory, also of a run that was stopped."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from inceptcli.errors import UsageError
from tests.cli.conftest import TINY, check_one_line, inceptcli
from tests.training.conftest import Train
from tests.training.test_resume import assert_same_run, stop_at


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("simple", "| Percentage %"),
        ("advanced", "SingleDeviceStrategy.training_step"),
        ("pytorch", "aten::conv2d"),
    ],
)
def test_the_report_lies_in_the_run_directory(train: Train, name: str, said: str) -> None:
    directory = train(trainer__profiler=name, trainer__epochs=1)
    folder = directory.path / "profile"
    report = (folder / f"fit-{name}.txt").read_text()
    assert "FIT Profiler Report" in report
    assert said in " ".join(report.replace("\t", " ").split())
    others = [path for path in folder.iterdir() if path.name != f"fit-{name}.txt"]
    if name == "pytorch":
        assert others
        for path in others:
            assert json.loads(path.read_text())["traceEvents"]
    else:
        assert others == []


@pytest.mark.parametrize("name", ["simple", "advanced", "pytorch"])
def test_a_stopped_run_has_its_report_and_goes_on_exactly_without(
    train: Train, whole_run: Train, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    undisturbed = whole_run()
    with monkeypatch.context() as patch:
        stop_at(6, patch)
        with pytest.raises(SystemExit) as stopped:
            train("stopped", trainer__profiler=name)
    assert stopped.value.code == 75
    directory = train("stopped")
    assert "Profiler Report" in (directory.path / "profile" / f"fit-{name}.txt").read_text()
    assert_same_run(undisturbed, directory)


def test_a_link_among_the_profiles_is_refused(train: Train, tmp_path: Path) -> None:
    (tmp_path / "run" / "profile").mkdir(parents=True)
    (tmp_path / "run" / "profile" / "fit-simple.txt").symlink_to(tmp_path / "other")
    with pytest.raises(UsageError, match=r"fit-simple\.txt is a link"):
        train(trainer__profiler="simple")
    assert not (tmp_path / "other").exists()


def test_an_unknown_profiler_is_one_line(tmp_path: Path) -> None:
    done = inceptcli("train", *TINY, "--set", "trainer.profiler=x", "--output", tmp_path / "run")
    check_one_line(done, 2, "trainer.profiler must be 'none', 'simple', 'advanced' or 'pytorch'")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_report_tells_of_a_gpus_kernels(train: Train) -> None:
    directory = train(trainer__profiler="pytorch", trainer__epochs=1, trainer__accelerator="gpu")
    assert "CUDA total" in (directory.path / "profile" / "fit-pytorch.txt").read_text()
