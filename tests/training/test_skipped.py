"""Images that cannot be read: skipped, listed once, counted; too many end the run."""

from __future__ import annotations

import csv
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from inceptcli.data.pixels.image_formats import SUFFIXES
from inceptcli.errors import UserError
from inceptcli.training.run_directory import RunDirectory
from tests.odd_files import OddFiles
from tests.tiny_network import TINY_FLAGS
from tests.training.conftest import Train
from tests.training.test_resume import stop_at

BROKEN = {"train": (1, 2, 7, 12), "val": (3,)}


def draw(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (80, 90, 3)).astype(np.uint8)
    Image.fromarray(noise).save(path)


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """Sixteen pictures to train on and eight to validate on; those of BROKEN cannot be read."""
    for split, count in (("train", 16), ("val", 8)):
        for number in range(count):
            path = tmp_path / "data" / split / ("cat", "dog")[number % 2] / f"{number:02}.png"
            draw(path, number)
            if number in BROKEN[split]:
                path.write_text("broken")
    return tmp_path / "data"


def broken(photographs: Path) -> list[str]:
    return sorted(str(path) for path in photographs.rglob("*.png") if path.stat().st_size == 6)


def listed(folder: Path) -> list[str]:
    with (folder / "skipped.csv").open(newline="") as file:
        return sorted(row["path"] for row in csv.DictReader(file))


def test_each_unreadable_image_is_listed_once_and_counted(
    train: Train, photographs: Path, notices: list[str]
) -> None:
    directory = train("run", data__path=str(photographs), data__max_skipped=1.0, data__workers=1)
    assert listed(directory.path) == broken(photographs)
    assert notices[-1] == f"5 images skipped, see {directory.path}/skipped.csv"
    assert notices[-1] in (directory.path / "train.log").read_text()


def test_a_resumed_run_lists_none_twice_and_forgets_none(
    train: Train,
    photographs: Path,
    monkeypatch: pytest.MonkeyPatch,
    notices: list[str],
) -> None:
    settings = {"data__path": str(photographs), "data__max_skipped": 1.0}
    with monkeypatch.context() as patch:
        stop_at(2, patch)
        with pytest.raises(SystemExit):
            train("run", **settings)
    directory = RunDirectory(photographs.parent / "run")
    before = listed(directory.path)
    assert before
    notices.clear()
    train("run", **settings)
    assert listed(directory.path) == broken(photographs)
    assert sum(line.startswith("skipped ") for line in notices) == 5 - len(before)
    assert notices[-1].startswith("5 images skipped")


def test_a_validation_without_a_readable_image_ends_the_run(
    train: Train, photographs: Path
) -> None:
    for path in (photographs / "val").rglob("*.png"):
        path.write_text("broken")
    with pytest.raises(UserError, match=r"no validation image could be read, .*skipped\.csv"):
        train("run", data__path=str(photographs), data__max_skipped=1.0, data__workers=2)
    folder = photographs.parent / "run"
    assert listed(folder) == broken(photographs)
    assert not (folder / "model.safetensors").exists()


def test_too_many_end_the_run_at_once(train: Train, photographs: Path) -> None:
    with pytest.raises(UserError, match=r"of 24 images could not be read, more than"):
        train("run", data__path=str(photographs), data__max_skipped=0.1)
    assert "epoch 1/" not in (photographs.parent / "run" / "train.log").read_text()


@pytest.mark.parametrize("workers", [0, 1])
def test_many_unreadable_images_in_a_row_are_skipped_until_the_storage_seems_gone(
    train: Train, photographs: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    for path in sorted((photographs / "train").rglob("*.png"))[:13]:
        path.write_text("broken")
    settings = {
        "data__path": str(photographs), "data__max_skipped": 1.0, "data__workers": workers,
        "trainer__epochs": 1,
    }  # fmt: skip
    assert listed(train("run", **settings).path) == broken(photographs)
    monkeypatch.setattr("inceptcli.data.loading.dataset.MOST_SKIPPED", 10)
    with pytest.raises(UserError) as error:
        train("other", **settings)
    assert "the next 9 are unreadable too" in str(error.value)
    assert str(error.value).startswith(f"{photographs}/train/")
    assert "\n" not in str(error.value)


def in_two_processes(photographs: Path, folder: Path, *flags: str) -> tuple[int, str]:
    arguments = [
        *TINY_FLAGS, "--set", "data.image_size=75",
        "--epochs", "1", "--workers", "0", "--batch-size", "2", "--accelerator", "cpu",
        "--devices", "2", "--strategy", "ddp", "--data", str(photographs), *flags,
    ]  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "inceptcli", "train", *arguments, "--output", str(folder)],
        capture_output=True, text=True, check=False, cwd=folder.parent, timeout=500,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    return done.returncode, done.stderr


@pytest.mark.system
def test_what_any_rank_skips_is_listed(photographs: Path, tmp_path: Path) -> None:
    code, said = in_two_processes(photographs, tmp_path / "run", "--set", "data.max_skipped=1.0")
    assert code == 0, said
    assert listed(tmp_path / "run") == broken(photographs)
    assert said.count("5 images skipped") == 1


@pytest.mark.system
def test_all_ranks_end_together_when_too_many_are_skipped(
    photographs: Path, tmp_path: Path
) -> None:
    code, said = in_two_processes(photographs, tmp_path / "run", "--set", "data.max_skipped=0.1")
    assert code == 1, said
    errors = [line for line in said.splitlines() if "Error" in line]
    assert len(errors) == 1, said
    # How many the other rank has met by then is a matter of chance: more than a tenth of 24.
    expected = r"[345] of 24 images could not be read, more than data\.max_skipped 0\.1 allows"
    assert re.search(expected, errors[0])
    assert "Traceback" not in said


def test_training_lists_exactly_the_unreadable_of_all_that_is_odd(
    train: Train, tmp_path: Path, odd_files: OddFiles
) -> None:
    names = [name for name in odd_files.sizes if Path(name).suffix.lower() in SUFFIXES]
    root = tmp_path / "data"
    unreadable = []
    for number, name in enumerate(names):
        # A good picture after each, because ten unreadable ones in a row end a run.
        folder = root / "train" / ("cat", "dog")[number % 2]
        draw(folder / f"{number:03}-good.png", number)
        target = folder / f"{number:03}-{Path(name).name}"
        shutil.copyfile(odd_files.folder / name, target)
        if name in odd_files.broken():
            unreadable.append(str(target))
    for number in range(-2 * len(names) % 4):  # no image is left over after the last batch
        draw(root / "train/cat" / f"more-{number}.png", number)
    for number in range(4):
        draw(root / "val" / ("cat", "dog")[number % 2] / f"{number}.png", number)
    directory = train("run", data__path=str(root), data__max_skipped=1.0, trainer__epochs=1)
    assert len(unreadable) > 10
    assert listed(directory.path) == sorted(unreadable)
    assert directory.weights.is_file()
