"""The picture of a run, whatever its length, its name and the state of its files."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from inceptcli.errors import UserError
from inceptcli.plots.canvas import shown
from inceptcli.plots.run_curves import DARK_AND_LIGHT, draw_run_curves
from tests.plots.runs import write_run


def darkness(folder: Path, box: tuple[int, int, int, int]) -> float:
    """Mean of what is not white in a part of curves.png; 0 is white, 255 black."""
    with Image.open(folder / "curves.png") as image:
        part = image.convert("L").crop(box)
        histogram = part.histogram()
    return 255 - sum(value * count for value, count in enumerate(histogram)) / sum(histogram)


LAST_STAGE = (1032, 755, 1360, 785)
"""Where the band of the last of six stages lies."""


@pytest.mark.parametrize("epochs", [0, 1, 2, 8, 500])
def test_a_run_of_any_length_is_drawn(tmp_path: Path, epochs: int) -> None:
    folder = write_run(tmp_path / "run", [20 + 50 / (1 + epoch) for epoch in range(epochs)])
    if not epochs:
        (folder / "metrics.csv").write_text("")
    draw_run_curves(folder, 10)
    with Image.open(folder / "curves.png") as image:
        assert image.format == "PNG"
        assert image.size == (1440, 864)
    assert not list(folder.glob(".*"))


def test_more_epochs_make_another_picture(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", [50, 40])
    draw_run_curves(folder, 10)
    before = (folder / "curves.png").read_bytes()
    draw_run_curves(folder, 10)
    assert (folder / "curves.png").read_bytes() == before
    with (folder / "metrics.csv").open("a") as file:
        file.write("2.5,300,5400,0.04,1,1,0.7,0.9,,,,,50,,0.01\n4,400,7200,0.04,1,1,0.")
    draw_run_curves(folder, 10)
    assert (folder / "curves.png").read_bytes() != before


@pytest.mark.parametrize("num_classes", [5, 6])
def test_top5_is_drawn_of_six_classes_or_more(tmp_path: Path, num_classes: int) -> None:
    folder = write_run(tmp_path / "run", [50, 40, 30])
    draw_run_curves(folder, num_classes)
    with Image.open(folder / "curves.png") as image:
        accuracy = np.asarray(image.convert("RGB").crop((740, 60, 1420, 420)))
    top5 = tuple(bytes.fromhex(DARK_AND_LIGHT[1].removeprefix("#")))
    assert (accuracy == top5).all(axis=2).any() == (num_classes == 6)


def test_a_dead_stage_is_a_dark_band(tmp_path: Path) -> None:
    alive, dead = write_run(tmp_path / "alive", [50, 40]), write_run(tmp_path / "dead", [50, 40])
    lines = (dead / "dead_units.csv").read_text().splitlines(keepends=True)
    (dead / "dead_units.csv").write_text(
        "".join(line.replace("inception_c,0.01", "inception_c,1.0") for line in lines)
    )
    for folder in (alive, dead):
        draw_run_curves(folder, 10)
    assert darkness(alive, LAST_STAGE) < 30
    assert darkness(dead, LAST_STAGE) > 200


def test_a_run_without_dead_units_or_with_gaps_is_drawn(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", [50, 40])
    (folder / "dead_units.csv").unlink()
    with (folder / "metrics.csv").open("a") as file:
        file.write("3,300,5400,0,nan,inf,,0.9,,,,,50,,\n")
    draw_run_curves(folder, 10)
    assert (folder / "curves.png").is_file()


@pytest.mark.parametrize("name", ["_hidden", "$x^{2$", "一二三", "a" * 200, "<b>\n\x1b[31m", "-"])
def test_a_folder_s_name_is_text(
    tmp_path: Path, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    draw_run_curves(write_run(tmp_path / name, [50, 40]), 10)
    assert (tmp_path / name / "curves.png").is_file()
    assert capfd.readouterr() == ("", "")


def test_a_name_is_one_short_line() -> None:
    assert shown("<b>\n\x1b[31m") == "<b>\\n\\x1b[31m"
    assert shown("a" * 44) == "a" * 44
    assert shown("a" * 100 + "b" * 100) == "a" * 21 + "…" + "b" * 21


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,b\n1,2\n", "has no column epoch"),
        ("epoch,step,seconds,val_loss\n1,100,x,2\n", "line 2: seconds must be a number, got 'x'"),
        ("epoch,step,seconds,val_loss\n1,100\n", "line 2: not as many fields as columns"),
        ("epoch,step,seconds,val_loss\n1,100,2,3,4\n", "line 2: not as many fields as columns"),
        ("epoch,step,seconds,val_loss\n1,,2,3\n", "a row has no epoch, step or seconds"),
    ],
)
def test_another_s_file_is_refused_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "metrics.csv").write_text(text)
    with pytest.raises(UserError, match=said):
        draw_run_curves(tmp_path, 10)
    assert not (tmp_path / "curves.png").exists()


def test_drawing_is_silent_and_leaves_matplotlib_as_it_was(tmp_path: Path) -> None:
    write_run(tmp_path, [50, 40])
    (tmp_path / "matplotlibrc").write_text("text.usetex: True\naxes.facecolor: red\n")
    code = (
        "import sys; from pathlib import Path; import inceptcli.plots.run_curves as c\n"
        "import inceptcli.plots.comparison\n"
        "assert 'matplotlib' not in sys.modules\n"
        "c.draw_run_curves(Path('.'), 10)\n"
        "import matplotlib\n"
        "assert matplotlib.rcParams['axes.facecolor'] == 'red'\n"
        "assert not {'torch', 'matplotlib.pyplot'} & set(sys.modules)\n"
    )
    environment = {**os.environ, "HOME": "/dev/null", "MPLCONFIGDIR": ""}
    environment |= {"XDG_CACHE_HOME": "/dev/null", "XDG_CONFIG_HOME": "/dev/null"}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    with Image.open(tmp_path / "curves.png") as image:
        pixels = np.asarray(image.convert("RGB"))
    assert pixels[5, 5].tolist() == [255, 255, 255]
    assert not (pixels == (255, 0, 0)).all(axis=-1).any()
