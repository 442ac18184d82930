"""curves.png is there after every epoch, and no trouble with it ends a run."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from inceptcli.plots import run_curves
from tests.plots.runs import rows
from tests.training.conftest import Train
from tests.training.test_resume import stop_at


@pytest.fixture(autouse=True)
def undrawn() -> None:
    """Curves are drawn here."""


def test_a_picture_of_all_epochs_is_drawn_after_each(
    train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, drawn = run_curves.draw_run_curves, []

    def draw(folder: Path, num_classes: int) -> None:
        original(folder, num_classes)
        drawn.append([row["epoch"] for row in rows(folder / "metrics.csv")])

    monkeypatch.setattr(run_curves, "draw_run_curves", draw)
    with monkeypatch.context() as patch:
        stop_at(7, patch)
        with pytest.raises(SystemExit):
            train()
    assert drawn == [["1"]]
    directory = train()
    assert drawn == [["1"], ["1", "2"]]
    with Image.open(directory.path / "curves.png") as image:
        assert image.format == "PNG"
    assert not list(directory.path.glob(".*"))


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), MemoryError()])
def test_a_picture_that_cannot_be_drawn_is_said_once(
    train: Train,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    notices: list[str],
) -> None:
    def fail(folder: Path, num_classes: int) -> None:
        raise error

    monkeypatch.setattr(run_curves, "draw_run_curves", fail)
    directory = train("run")
    (line,) = [line for line in notices if "curves.png" in line]
    assert "could not be drawn: " in line
    assert (directory.path / "train.log").read_text().count(line) == 1
    assert len(rows(directory.path / "metrics.csv")) == 2
