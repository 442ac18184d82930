"""`eval` leaves no image out unless it is told to, and then says so."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from inceptcli.data.pixels.shapes import CLASSES
from tests.cli.conftest import TINY, check_one_line, inceptcli, picture

pytestmark = pytest.mark.train


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on shapes."""
    folder = tmp_path_factory.mktemp("runs") / "shapes"
    done = inceptcli("train", *TINY, "--output", folder)
    assert done.exit_code == 0, done.output
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three pictures of two of the classes, and two files that are none."""
    for number in range(3):
        picture(tmp_path / "data" / CLASSES[number % 2] / f"{number}.png", number)
    (tmp_path / f"data/{CLASSES[0]}/0.jpg").write_text("<html>")
    (tmp_path / f"data/{CLASSES[1]}/5.jpg").write_text("")
    return tmp_path / "data"


def test_eval_names_the_first_image_that_cannot_be_read(run: Path, folder: Path) -> None:
    done = inceptcli("eval", run, "--data", folder)
    check_one_line(done, 1, f"{folder}/{CLASSES[0]}/0.jpg: not an image")
    assert "--skip-unreadable" in done.stderr


@pytest.mark.parametrize("batch_size", [1, 32])
def test_eval_skips_when_told_and_counts(run: Path, folder: Path, batch_size: int) -> None:
    flags = ["--skip-unreadable", "--quiet", "--batch-size", batch_size]
    done = inceptcli("eval", run, "--data", folder, "--format", "json", *flags)
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    assert result["images"] == 3
    assert [entry["path"] for entry in result["skipped"]] == [
        str(folder / f"{CLASSES[0]}/0.jpg"),
        str(folder / f"{CLASSES[1]}/5.jpg"),
    ]
    assert result["skipped"][1]["reason"] == "empty file"
    assert "2 of 5 images skipped" in done.stderr
    for name in (f"{CLASSES[0]}/0.jpg", f"{CLASSES[1]}/5.jpg"):
        (folder / name).unlink()
    clean = json.loads(inceptcli("eval", run, "--data", folder, "--format", "json").stdout)
    assert clean["skipped"] == []
    for key in ("top1", "top5", "loss"):
        assert result[key] == pytest.approx(clean[key], rel=1e-5)


def test_eval_of_nothing_readable_fails(run: Path, folder: Path) -> None:
    for path in folder.rglob("*.png"):
        path.write_text("")
    done = inceptcli("eval", run, "--data", folder, "--skip-unreadable")
    check_one_line(done, 1, "none of the 5 images can be read")
