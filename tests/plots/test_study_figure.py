"""The figure of a study: which panels it has, what they show, and that it is legible."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray
from PIL import Image

from inceptcli.plots.canvas import COLORS, heat_colors
from inceptcli.plots.study_figure import draw_study, lay_out

CAPTION = ["dead-units of two higher than one: supported (+50.0 points)", "a second line"]


def run(arm: str, seed: int, errors: list[float], dead: float = 0.1, size: int = 10**9) -> Any:
    return {
        "arm": arm, "seed": seed, "multiply_adds": size, "parameters": size // 500,
        "filters": 2144, "errors": errors, "mean_error": statistics.fmean(errors),
        "last_error": errors[-1], "best_error": min(errors), "dead_units": dead, "failure": None,
    }  # fmt: skip


def result(runs: list[Any], **changes: Any) -> dict[str, Any]:
    arms: dict[str, list[float]] = {}
    for each in runs:
        arms.setdefault(each["arm"], []).append(each["last_error"])
    return {
        "question": "Does the second arm die, whatever else is tried in its place?",
        "measure": "last-error", "arms": arms, "runs": runs, "verdicts": [], "trends": [],
        "grid": None, "threshold": None, **changes,
    }  # fmt: skip


def ordinary(epochs: int) -> dict[str, Any]:
    errors = {"one": 0.5, "two": 0.3, "three": 0.7}
    return result(
        [
            run(arm, seed, [error + 0.05 * seed - 0.01 * epoch for epoch in range(epochs)])
            for arm, error in errors.items()
            for seed in (0, 1)
        ]
    )


def grid(dead: float = 1.0, found: bool = True) -> dict[str, Any]:
    axes = [
        {"key": "network.width", "label": "width", "values": [0.5, 1.0], "names": ["0.5", "1.0"]},
        {"key": "network.scale", "label": "scale", "values": [1, 0.1], "names": ["1", "0.1"]},
    ]
    cells: list[Any] = [{"arm": f"{at}", "at": at} for at in ([0, 0], [0, 1], [1, 0], [1, 1])]
    runs = [
        run(cell["arm"], seed, [0.5], dead if cell["at"] == [1, 0] else 0.0)
        for cell in cells
        for seed in (0, 1)
    ]
    entry = {"at": {"network.scale": 1}, "arm": "[1, 0]" if found else None}
    threshold = {"along": "network.width", "measure": "dead-units", "above": 0.5, "found": [entry]}
    return result(
        runs, measure="dead-units", grid={"axes": axes, "cells": cells}, threshold=threshold
    )


def trend() -> dict[str, Any]:
    sizes = {"small": 10**9, "middle": 2 * 10**9, "large": 4 * 10**9}
    runs = [
        run(arm, seed, [0.5 - 0.05 * number + 0.01 * seed], 0.1, size)
        for number, (arm, size) in enumerate(sizes.items())
        for seed in (0, 1)
    ]
    entry = {"over": "multiply-adds", "arms": list(sizes), "measure": "last-error"}
    return result(runs, trends=[{**entry, "slopes": [-0.05, -0.05]}])


def at(line: Line2D) -> list[list[float]]:
    """The points of a line."""
    points: list[list[float]] = np.asarray(line.get_xydata()).tolist()
    return points


def drawn(values: dict[str, Any]) -> Figure:
    figure = Figure(layout="constrained")
    lay_out(figure, values, CAPTION)
    return figure


def pixels(path: Path, values: dict[str, Any]) -> NDArray[np.uint8]:
    draw_study(path, values, CAPTION)
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def share(image: NDArray[np.uint8], color: Any) -> float:
    return float((np.abs(image.astype(int) - color).max(axis=2) <= 2).mean())


KINDS = {"one epoch": ordinary(1), "epochs": ordinary(3), "grid": grid(), "trend": trend()}


@pytest.mark.parametrize("kind", KINDS)
def test_the_title_is_the_question_and_the_caption_the_verdicts(kind: str, tmp_path: Path) -> None:
    figure = drawn(KINDS[kind])
    assert figure.get_suptitle().replace("\n", " ") == KINDS[kind]["question"]
    assert figure.get_supxlabel().splitlines() == CAPTION
    first, second = tmp_path / "a.png", tmp_path / "b.png"
    width = pixels(first, KINDS[kind]).shape[1]
    assert width == 1056
    pixels(second, KINDS[kind])
    assert first.read_bytes() == second.read_bytes()


def test_every_arm_has_a_row_with_a_point_for_each_seed_in_its_own_color(tmp_path: Path) -> None:
    (axes,) = drawn(ordinary(1)).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["one", "two", "three"]
    points = [at(line) for line in axes.lines]
    assert points[0] == pytest.approx(np.array([[50, 0], [55, 0]]))
    assert [line.get_color() for line in axes.lines] == list(COLORS[:3])
    image = pixels(tmp_path / "study.png", ordinary(1))
    for color in COLORS[:3]:
        assert share(image, list(bytes.fromhex(color[1:]))) > 0


def test_several_epochs_have_curves_of_seeds_and_their_mean() -> None:
    curves, points = drawn(ordinary(3)).axes
    assert len(points.lines) == 3
    assert [len(at(line)) for line in curves.lines] == [3] * 9
    assert [y for _, y in at(curves.lines[2])] == pytest.approx([52.5, 51.5, 50.5])
    assert curves.lines[2].get_linewidth() > curves.lines[0].get_linewidth()


def test_a_run_without_an_epoch_counts_as_wrong_and_dead() -> None:
    values = ordinary(3)
    failed = values["runs"][0]
    failed |= {"errors": [], "failure": "the loss is not finite at step 3"}
    curves, points = drawn(values).axes
    assert [x for x, _ in at(points.lines[0])] == pytest.approx([100, 53])
    assert at(curves.lines[0]) == at(curves.lines[2]) == []


def test_a_grid_is_a_map_in_colors_for_every_color_vision(tmp_path: Path) -> None:
    dead, error = drawn(grid()).axes
    assert dead.get_title() == "Dead units in the last stage, %"
    assert error.get_title() == "Top-1 validation error, last epoch, %"
    assert [text.get_text() for text in dead.texts] == ["0", "100", "0", "0"]  # row by row
    assert (dead.get_xlabel(), dead.get_ylabel()) == ("width", "scale")
    hottest = heat_colors()[-1]
    assert share(pixels(tmp_path / "a.png", grid()), hottest) > 0.03
    assert share(pixels(tmp_path / "b.png", grid(dead=0.9, found=False)), hottest) < 0.005


def test_the_threshold_is_a_line_before_the_first_cell_above_it() -> None:
    dead, error = drawn(grid()).axes
    (line,) = dead.lines
    assert at(line) == [[1, 0], [1, 1]]
    assert not error.lines
    assert not drawn(grid(found=False)).axes[0].lines
    descending = grid()
    descending["grid"]["axes"][0] |= {"values": [1.0, 0.5], "names": ["1.0", "0.5"]}
    (descending["threshold"]["found"][0]) |= {"arm": "[0, 0]"}
    (line,) = drawn(descending).axes[0].lines
    assert at(line) == [[1, 0], [1, 1]]
    descending["threshold"]["along"] = "network.scale"
    (line,) = drawn(descending).axes[0].lines
    assert at(line) == [[0, 1], [1, 1]]


def test_arms_that_are_compared_outside_of_a_map_or_beside_a_trend_have_rows() -> None:
    runs = [*grid()["runs"], run("longer", 0, [0.5, 0.4], 0.3), run("longer", 1, [0.5, 0.4], 0.5)]
    beside = result(runs, **{key: grid()[key] for key in ("measure", "grid", "threshold")})
    assert len(drawn(beside).axes) == 2
    points = drawn(beside | {"verdicts": [{}]}).axes[2]
    assert [label.get_text() for label in points.get_yticklabels()] == ["longer"]
    assert at(points.lines[0]) == [[30, 0], [50, 0]]
    points = drawn(trend() | {"verdicts": [{}]}).axes[1]
    assert [label.get_text() for label in points.get_yticklabels()] == ["small", "middle", "large"]


def test_a_trend_lies_on_a_logarithmic_axis_with_the_mean_slope() -> None:
    (axes,) = drawn(trend()).axes
    assert axes.get_xscale() == "log"
    assert axes.get_xlabel() == "G multiply-adds"
    *arms, line = axes.lines
    assert [arm.get_label() for arm in arms] == ["small", "middle", "large"]
    assert at(arms[2]) == pytest.approx(np.array([[4, 40], [4, 41]]))
    assert at(line) == pytest.approx(np.array([[1, 50.5], [4, 40.5]]))
    low, high = axes.get_xlim()
    assert sum(low <= tick <= high for tick in axes.get_xticks()) >= 3


def test_words_of_a_study_are_text(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    values = ordinary(1) | {"question": "Is $x^{2$ 一 <b>\n\x1b[31m more? " + "word " * 100}
    image = pixels(tmp_path / "study.png", values)
    assert image.shape[0] < 1000
    assert capfd.readouterr() == ("", "")


def test_a_study_of_many_arms_with_long_names_is_drawn(tmp_path: Path) -> None:
    names = [f"scale-{number}-width-0.5-with-a-long-name-{'x' * 30}" for number in range(300)]
    values = result([run(name, 0, [0.5]) for name in names])
    image = pixels(tmp_path / "study.png", values)
    assert image.shape[0] < 10_000
    looks = {
        (line.get_color(), line.get_marker())
        for line in drawn(result([run(name, 0, [0.5]) for name in names[:49]])).axes[0].lines
    }
    assert len(looks) == 49
