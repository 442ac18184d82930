"""The report of multi-label data in a browser."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from inceptcli.data.pixels.decode import UnreadableImage
from inceptcli.evaluation.label_report import WRONG_LABELS, write_label_report
from inceptcli.evaluation.measures import Origin
from inceptcli.evaluation.multi_label import (
    MultiLabelEvaluation,
    evaluation_of_labels,
    with_intervals,
)
from inceptcli.evaluation.report import MISTAKES
from inceptcli.weights.metadata import ClassName
from tests.evaluation.made_results import HOSTILE
from tests.pages.browser import NARROW, WIDE, Page

CARDS = "#mistakes ~ .cards .card"


@dataclass(frozen=True)
class MadeImages:
    """Gray images under the names of results; `damaged` cannot be read."""

    results: MultiLabelEvaluation
    damaged: str = ""

    def __len__(self) -> int:
        return len(self.results.images)

    def image(self, index: int, shorter_side: int | None = None) -> NDArray[np.uint8]:
        if self.name(index) == self.damaged:
            raise UnreadableImage("it is gone")
        return np.full((30, 40, 3), index % 256, np.uint8)

    def label(self, index: int) -> tuple[int, ...]:
        return self.results.images[index].labels

    def name(self, index: int) -> str:
        return self.results.images[index].path


def made(
    rows: list[tuple[list[int], list[float]]], names: list[str], *, hostile: bool = False
) -> MultiLabelEvaluation:
    images = [(f"data/{number}.jpg", labels) for number, (labels, _) in enumerate(rows)]
    skipped = []
    if hostile:
        images[0] = (f"data/</script>{HOSTILE}.jpg", rows[0][0])
        skipped = [(f"data/{HOSTILE}", f"not an image {HOSTILE}")]
    classes = [ClassName(f"n{number}", name) for number, name in enumerate(names)]
    probabilities = np.array([row for _, row in rows])
    return evaluation_of_labels(images, probabilities, np.full(len(names), 0.5), classes, skipped)


def opened(page: Page, folder: Path, result: MultiLabelEvaluation, damaged: str = "") -> None:
    file = folder / "report.html"
    with file.open("w", encoding="utf-8") as stream:
        origin = Origin(["run"], "data/labels.csv", 1, 2)
        source = MadeImages(result, damaged)
        write_label_report(result, stream, source=source, origin=origin)
    page.resize(*WIDE)
    page.open(file)


def test_figures_classes_and_the_most_wrong_images_are_shown(page: Page, tmp_path: Path) -> None:
    rows = [
        ([0], [0.9, 0.2, 0.1]),  # right
        ([0, 1], [0.8, 0.3, 0.1]),  # lacks cat
        ([0, 2], [0.1, 0.7, 0.4]),  # lacks ant and owl, and has cat
        ([], [0.1, 0.6, 0.1]),  # has cat
    ]
    result = made(rows, ["ant", "cat", "owl"])
    opened(page, tmp_path, result, damaged="data/3.jpg")
    assert page.texts(".figures h2") == ["mAP", "Micro F1", "Macro F1", "AUROC", "Loss"]
    values = (result.average_precision, result.micro_f1, result.macro_f1, result.auroc)
    assert page.texts(".figures .value") == [*(f"{v:.2%}" for v in values), f"{result.loss:.4f}"]
    facts = dict(zip(page.texts(".facts dt"), page.texts(".facts dd"), strict=True))
    assert facts["Images"] == "4, 2 excluded"
    assert page.texts(f"{CARDS} .path") == ["2.jpg", "1.jpg", "3.jpg"]
    assert [text.split("\n") for text in page.texts(f"{CARDS}:first-child .answer")] == [
        ["missing: ant", "10.0%"],
        ["missing: owl", "40.0%"],
        ["additional: cat", "70.0%"],
    ]
    assert page.texts(".missing") == ["no longer readable"]
    assert page.texts("#mistakes ~ p")[0].startswith("3 of 4 images lack a label or have an addit")
    page.click("#per-class th:nth-child(7) button")
    assert page.column("#per-class", 0) == ["cat n1", "owl n2", "ant n0"]
    assert page.column("#per-class", 5) == ["0.0000", "0.0000", "0.6667"]
    page.press("#class-part", "ca")
    assert page.texts("#per-class-count") == ["1 of 3"]
    page.check_quiet()


@pytest.mark.parametrize("size", [NARROW, WIDE])
def test_names_stay_text_and_many_mistakes_are_limited(
    page: Page, tmp_path: Path, size: tuple[int, int]
) -> None:
    count = WRONG_LABELS + 5
    names = [HOSTILE, *(f"class {number}" for number in range(1, count))]
    probabilities = [0.99 - 0.01 * place for place in range(count)]
    rows: list[tuple[list[int], list[float]]] = [([], probabilities)] * (MISTAKES + 2)
    result = with_intervals(made(rows, names, hostile=True), 100, None, None)
    opened(page, tmp_path, result)
    page.resize(*size)
    assert page.run("return document.documentElement.scrollWidth") == size[0]
    assert len(page.texts(CARDS)) == MISTAKES
    shown = page.texts(f"{CARDS}:first-child .answer")
    assert shown[0].startswith(f"additional: {HOSTILE}")
    assert shown[WRONG_LABELS:] == ["5 more additional"]
    assert page.run("return document.querySelectorAll('[onerror], img[src=x]').length") == 0
    assert page.run("return document.scripts.length") == 2
    assert [HOSTILE in text for text in page.texts("#unread td")] == [True, True]
    assert page.texts(f"{CARDS}:first-child .path") == [f"</script>{HOSTILE}.jpg"]
    page.check_quiet()


def test_weights_without_mistakes_have_a_page_too(page: Page, tmp_path: Path) -> None:
    opened(page, tmp_path, made([([0], [0.9, 0.1])], ["ant", "cat"]))
    assert "Every image has exactly its labels." in page.texts("#mistakes ~ p")
    assert "one image only" in page.texts(".figure p")
    assert page.column("#per-class", 7) == ["–", "–"]
    page.check_quiet()
