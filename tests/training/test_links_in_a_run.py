"""A run directory from somebody else: `train` writes to nothing that a link in it names."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from inceptcli.errors import UsageError
from inceptcli.files.no_follow import open_no_follow
from inceptcli.training.run_directory import FILES, RunDirectory
from tests.cli.conftest import TINY, check_one_line, inceptcli

WRITTEN = [
    "lock", "train.log", "metrics.csv", "dead_units.csv", "skipped.csv", "recipe.yaml",
    "model.safetensors", "data.jsonl.gz", "stopped", "checkpoints", "curves.png",
    "checkpoints/step-000000001.ckpt",
]  # fmt: skip


@pytest.mark.parametrize("name", WRITTEN)
def test_a_link_in_a_run_directory_is_refused_by_name(name: str, tmp_path: Path) -> None:
    theirs, run = tmp_path / "theirs", tmp_path / "run"
    theirs.write_text("theirs\n")
    (run / name).parent.mkdir(parents=True)
    (run / name).symlink_to(theirs)
    done = inceptcli("train", *TINY, "--output", run)
    check_one_line(done, 2, f"{Path(name).name} is a link")
    assert theirs.read_text() == "theirs\n"
    assert [path for path in run.rglob("*") if path.is_file()] == [run / name]


@pytest.mark.parametrize("name", ["tensorboard/hparams.yaml", "csv/version_0"])
def test_a_link_in_the_folder_of_a_logger_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / name).parent.mkdir()
    (tmp_path / name).symlink_to("../../theirs")
    done = inceptcli("train", *TINY, "--output", tmp_path)
    check_one_line(done, 2, f"{Path(name).name} is a link")


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_folder_where_a_file_of_the_run_would_be_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    done = inceptcli("train", *TINY, "--output", tmp_path)
    check_one_line(done, 2, f"{name} is a folder, which a run directory must not contain")


def test_a_pipe_in_a_run_directory_is_refused_by_name(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "lock")
    check_one_line(
        inceptcli("train", *TINY, "--output", tmp_path), 2, "lock is neither a file nor a folder"
    )


def test_a_link_that_comes_later_is_not_followed_either(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.write_text("theirs\n")
    run = RunDirectory(tmp_path / "run")
    run.path.mkdir()
    for name in ("lock", "train.log", "metrics.csv", "skipped.csv"):
        (run.path / name).symlink_to(theirs)
        with pytest.raises(OSError, match="symbolic links"):
            open_no_follow(run.path / name, "a")
    with pytest.raises(UsageError):
        run.open()
    with pytest.raises(OSError, match="symbolic links"):
        run.log("x")
    with pytest.raises(OSError, match="symbolic links"):
        run.append_metrics({"epoch": 1})
    with pytest.raises(OSError, match="symbolic links"):
        run.append_skipped("x.png", ("train", 0), "broken")
    assert theirs.read_text() == "theirs\n"


def test_a_run_directory_may_lie_behind_a_link(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "run").symlink_to("disk")
    run = RunDirectory(tmp_path / "run")
    run.open()
    run.log("x")
    run.close()
    assert (tmp_path / "disk/train.log").read_text().endswith(" x\n")
