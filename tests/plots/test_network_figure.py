"""The figure shows what the table shows, fits its page, and is the same file every time."""

from __future__ import annotations

import gc
from itertools import combinations
from pathlib import Path
from xml.etree import ElementTree

import pytest
from matplotlib import rc_context
from PIL import Image

from inceptcli.networks.registry import NETWORKS, network_options
from inceptcli.networks.summary import summarize
from inceptcli.plots.network_figure import STYLE, draw_network, figure_rows, network_figure

TEXT = "{http://www.w3.org/2000/svg}text"


def draw(name: str, file: Path, title: str = "title") -> None:
    options = network_options(name)
    draw_network(summarize(options, (299, 299)), options, title, file, file.suffix[1:])


def texts(file: Path) -> list[str]:
    return ["".join(node.itertext()).strip() for node in ElementTree.parse(file).iter(TEXT)]


def test_the_boxes_of_inception_v4_are_those_of_figure_9(tmp_path: Path) -> None:
    options = network_options("iv4")
    rows = figure_rows(summarize(options, (299, 299)), options)
    assert [(row.title, row.figure, row.output_shape) for row in rows] == [
        ("Stem", "Figure 3", (384, 35, 35)),
        ("4 x Inception-A", "Figure 4", (384, 35, 35)),
        ("Reduction-A", "Figure 7", (1024, 17, 17)),
        ("7 x Inception-B", "Figure 5", (1024, 17, 17)),
        ("Reduction-B", "Figure 8", (1536, 8, 8)),
        ("3 x Inception-C", "Figure 6", (1536, 8, 8)),
        ("Average Pooling", "Figure 9", (1536,)),
        ("Dropout (keep 0.8)", "Figure 9", (1536,)),
        ("Softmax", "Figure 9", (1000,)),
    ]
    file = tmp_path / "iv4.svg"
    draw("iv4", file)
    shown = texts(file)
    assert [text for text in shown if text in {row.title for row in rows}] == [
        row.title for row in rows
    ]
    for text in ("1024×17×17", "3×299×299", "Output, C×H×W", "20,553,792", "5,930.9 M", "Input"):
        assert text in shown


def test_residual_networks_have_the_names_of_figure_15() -> None:
    options = network_options("irv1", repeats=(5, 1, 2), dropout=0.5)
    titles = [row.title for row in figure_rows(summarize(options, (75, 75)), options)]
    assert titles[1:6:2] == [
        "5 x Inception-resnet-A",
        "Inception-resnet-B",
        "2 x Inception-resnet-C",
    ]
    assert "Dropout (keep 0.5)" in titles


def test_modules_of_several_widths_are_one_box() -> None:
    options = network_options("iv3")
    rows = {row.title: row for row in figure_rows(summarize(options, (299, 299)), options)}
    assert list(rows)[1:6:2] == ["3 x Inception-A", "4 x Inception-B", "2 x Inception-C"]
    middle = rows["4 x Inception-B"]
    assert (middle.figure, middle.output_shape) == ("Rethinking, Figure 6", (768, 17, 17))
    assert middle.parameters == 6_821_376  # of widths 128, 160, 160 and 192
    assert "Dropout (keep 0.5)" in rows


@pytest.mark.parametrize("name", NETWORKS)
def test_the_rows_sum_to_the_network(name: str) -> None:
    options = network_options(name)
    summary = summarize(options, (299, 299))
    rows = figure_rows(summary, options)
    assert sum(row.parameters for row in rows) == summary.parameters
    assert sum(row.multiply_adds for row in rows) == summary.multiply_adds


@pytest.mark.parametrize("name", NETWORKS)
def test_every_text_lies_on_the_page_and_on_no_other(name: str) -> None:
    options = network_options(name)
    with rc_context(STYLE):
        figure = network_figure(summarize(options, (1024, 1024)), options, f"{name}: a title")
        boxes = [text.get_window_extent() for text in figure.axes[0].texts if text.get_text()]
    page = figure.bbox.frozen()
    del figure
    gc.collect()  # its page takes 300 MB
    assert len(boxes) > 30
    for box in boxes:
        assert page.x0 < box.x0 < box.x1 < page.x1
        assert page.y0 < box.y0 < box.y1 < page.y1
    assert not [pair for pair in combinations(boxes, 2) if pair[0].overlaps(pair[1])]


def test_data_flows_upwards_from_the_input() -> None:
    options = network_options("irv1")
    figure = network_figure(summarize(options, (299, 299)), options, "title")
    heights = {text.get_text(): text.get_position()[1] for text in figure.axes[0].texts}
    order = ["Input", "Stem", "5 x Inception-resnet-A", "Reduction-A", "Softmax"]
    assert [heights[name] for name in order] == sorted(heights[name] for name in order)


def test_a_title_is_text_never_markup(tmp_path: Path) -> None:
    file = tmp_path / "figure.svg"
    title = "<img src=x onerror=alert(1)> & $\\frac{1}{2}$"
    draw("irv1", file, title)
    assert title in texts(file)
    assert "<img" not in file.read_text()


@pytest.mark.parametrize("suffix", [".svg", ".png", ".pdf"])
def test_the_same_network_gives_the_same_file(suffix: str, tmp_path: Path) -> None:
    first, second = tmp_path / f"first{suffix}", tmp_path / f"second{suffix}"
    draw("irv1", first)
    draw("irv1", second)
    assert first.read_bytes() == second.read_bytes()
    if suffix == ".png":
        with Image.open(first) as image:
            assert image.width == 1400
