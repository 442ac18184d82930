"""The report in a browser: what it shows, that it sorts, and that names stay text."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from inceptcli.evaluation import report
from inceptcli.evaluation.comparison import EnsembleMember, compare
from inceptcli.evaluation.measures import ImageResult, evaluation_of, image_result
from inceptcli.evaluation.report import FLIPS, MISTAKES, class_labels
from inceptcli.weights.metadata import ClassName
from tests.evaluation.made_results import HOSTILE, made_results, opened, written
from tests.pages.browser import ENTER, NARROW, SPACE, WIDE, Page


def test_top5_of_five_classes_is_left_out(page: Page, tmp_path: Path) -> None:
    result = made_results(5, 50)
    opened(page, tmp_path, result)
    assert page.texts(".figures h2") == ["Top-1", "Loss", "Calibration error"]


def test_the_figures_are_those_of_the_results(page: Page, tmp_path: Path) -> None:
    result = made_results(6, 300)
    opened(page, tmp_path, result)
    shown = page.texts(".figures .value")
    assert shown == [
        f"{result.top1:.2%}",
        f"{result.top5:.2%}",
        f"{result.loss:.4f}",
        f"{result.calibration_error:.4f}",
    ]
    low, high = result.top1_interval
    assert f"95 %: {low:.2%} to {high:.2%}" in page.texts(".figure p")
    facts = dict(zip(page.texts(".facts dt"), page.texts(".facts dd"), strict=True))
    assert facts == {
        "Weights": "a.safetensors, b.safetensors",
        "Data": "flowers",
        "Split": "all",
        "Images": "300, 3 excluded",
        "Classes": "6",
        "Crops": "12",
    }
    bins = page.column("#calibration ~ .pair table", 1)
    assert [int(cell) for cell in bins] == [entry.images for entry in result.calibration]
    drawn = page.run("return document.querySelectorAll('.plot .whisker').length")
    assert drawn == sum(b.images > 0 for b in result.calibration)
    page.check_quiet()


def test_the_table_of_classes_sorts_by_click_and_by_key(page: Page, tmp_path: Path) -> None:
    result = made_results(30, 900)
    opened(page, tmp_path, result)
    header = "#per-class th:nth-child(3)"
    page.click(f"{header} button")
    assert page.one(header).get_attribute("aria-sort") == "ascending"
    worst_first = sorted(e.top1 for e in result.per_class if e.top1 is not None)
    assert page.column("#per-class", 2) == [f"{top1:.2%}" for top1 in worst_first]
    page.press(f"{header} button", ENTER)
    assert page.one(header).get_attribute("aria-sort") == "descending"
    assert page.column("#per-class", 2) == [f"{top1:.2%}" for top1 in worst_first[::-1]]
    page.press("#per-class th:nth-child(1) button", SPACE)
    assert page.one(header).get_attribute("aria-sort") is None
    names = [cell.split()[1] for cell in page.column("#per-class", 0)]
    assert names == [str(number) for number in range(30)]  # 2 before 10
    page.press("#class-part", "class 2")
    assert len(page.column("#per-class", 0)) == 11  # 2 and 20 to 29
    assert page.texts("#per-class-count") == ["11 of 30"]
    page.check_quiet()


def test_members_and_the_images_that_changed_are_shown_and_filtered(
    page: Page, tmp_path: Path
) -> None:
    ours, theirs = made_results(4, 100), made_results(4, 200, 0.6).images[::2]
    found = compare(ours.images, theirs)
    members = (EnsembleMember(0.6, 1.25, 0.1), EnsembleMember(0.7, 1.5, -0.05))
    opened(page, tmp_path, replace(ours, members=members, against=found))
    assert page.column("#member-table", 0) == ["a.safetensors", "b.safetensors"]
    assert page.column("#member-table", 2) == ["+10.00", "-5.00"]
    shown = page.texts("#against ~ .figures .value")
    assert shown[0] == f"{100 * found.difference:+.2f}"
    assert shown[2] == f"p = {found.mcnemar_p:.3g}"
    assert page.texts("#against") == ["Against c.safetensors"]
    page.click("#changed th:nth-child(2) button")
    assert [int(cell) for cell in page.column("#changed", 1)] == sorted(
        (change.gained for change in found.per_class), reverse=True
    )
    assert found.gained > FLIPS > found.lost > 0
    cards = page.run(
        "return [...document.querySelectorAll('#against ~ .cards')].map((c) => c.children.length)"
    )
    assert cards == [FLIPS, found.lost]
    for number, count in ((1, found.gained), (2, found.lost)):
        page.choose("#image-filters [name=flip]", number)
        assert page.texts("#image-count") == [f"{count} image{'s' * (count > 1)}"]
    page.check_quiet()


def test_names_that_are_markup_stay_text(page: Page, tmp_path: Path) -> None:
    opened(page, tmp_path, made_results(2, 40, 0.5, hostile=True))
    page.check_quiet()
    assert page.run("return document.images.length") == len(page.texts("#mistakes ~ .cards .card"))
    assert page.run("return document.querySelectorAll('[onerror], img[src=x]').length") == 0
    assert page.run("return document.scripts.length") == 2
    for selector in ("#per-class tbody th", "#pairs tbody th, #pairs td", "#matrix-table th"):
        assert any(text.startswith(HOSTILE) for text in page.texts(selector))
    assert any(HOSTILE in text for text in page.texts("#mistakes ~ .cards .class"))
    assert [HOSTILE in text for text in page.texts("#unread td")] == [True, True]
    page.click("#image-filters [name=wrong]")
    paths = page.column("#image-table", 0)
    assert f"{HOSTILE}.jpg" in [path.removeprefix("data/") for path in paths]
    assert any("</script><script>alert(2)</script>.jpg" in path for path in paths)
    assert HOSTILE in page.column("#image-table", 1)
    page.check_quiet()


def test_images_are_filtered_sorted_and_shown_by_the_hundred(page: Page, tmp_path: Path) -> None:
    result = made_results(5, 400)
    opened(page, tmp_path, result)
    wrong = [image for image in result.images if image.rank != 1]
    shown = [float(cell.rstrip("%")) for cell in page.column("#image-table", 3)]
    assert shown == sorted((round(100 * i.probability, 2) for i in wrong), reverse=True)[:100]
    page.click("#image-filters [name=wrong]")
    assert page.texts("#image-count") == ["100 of 400 images shown"]
    page.click("#more-images")
    assert len(page.column("#image-table", 0)) == 200
    page.click("#image-table th:nth-child(1) button")
    first = page.column("#image-table", 0)[0]
    assert first.endswith("ILSVRC2012_val_00000001.JPEG")
    page.press("#image-filters [name=path]", "IMAGENET/val/n00000004/ILSVRC2012_val_0000039")
    assert page.texts("#image-count") == ["10 images"]
    page.check_quiet()


def test_mistakes_are_sorted_by_confidence(page: Page, tmp_path: Path) -> None:
    result = made_results(5, 400)
    wrong = sorted((i for i in result.images if i.rank != 1), key=lambda i: -i.probability)
    opened(page, tmp_path, result, damaged=wrong[1].path)
    page.run("document.querySelector('.card:last-child').scrollIntoView()")
    cards = "#mistakes ~ .cards .card"
    paths = [image.path.removeprefix("imagenet/val/") for image in wrong[:MISTAKES]]
    assert page.texts(f"{cards} .path") == paths  # without the data's folder
    assert "Paths are relative to imagenet/val/" in page.texts("#image-table caption")[0]
    first = page.texts(f"{cards}:first-child .answer")
    own = math.exp(-wrong[0].loss)
    assert [line.split("\n")[-1] for line in first] == [
        f"{wrong[0].probability:.1%}",
        f"{own:.1%}",
    ]
    widths = "return [...document.images].map((image) => image.naturalWidth)"
    assert page.run(widths) == [224] * (MISTAKES - 1)
    assert page.texts(".missing") == ["no longer readable"]
    page.check_quiet()


def test_a_network_without_mistakes_has_a_page_too(page: Page, tmp_path: Path) -> None:
    classes = [ClassName("a", "a"), ClassName("b", "b")]
    image, probabilities = ImageResult("a.jpg", 0, 0, 1.0, 0.0, 1), np.array([[1.0, 0.0]])
    opened(page, tmp_path, evaluation_of([image], probabilities, classes, []))
    assert "Every prediction is correct." in page.texts("#mistakes ~ p")
    assert page.texts("#pairs caption") == ["No class was mistaken for another."]
    assert page.column("#per-class", 2) == ["100.00%", "–"]
    page.check_quiet()


def test_several_accepted_labels_are_shown_with_the_sum_of_their_probabilities(
    tmp_path: Path,
) -> None:
    classes = [ClassName(name, name) for name in "abc"]
    probabilities = np.array([[0.4, 0.35, 0.25], [0.5, 0.3, 0.2]])
    accepted = [(1, 2), (0,)]
    pairs = zip(probabilities, accepted, strict=True)
    images = [
        image_result(f"{labels}.jpg", labels[0], row, labels[1:] and labels)
        for row, labels in pairs
    ]
    text = written(tmp_path, evaluation_of(images, probabilities, classes, [])).read_text()
    assert '<span class="class">labeled b or c</span> <span>60.0%</span>' in text
    assert "Accepted labels&#39; probability" in text
    assert f"p(accepted labels), nats; random guessing: {math.log(3 * 3 / 2) / 2:.4f}" in text


@pytest.mark.parametrize("size", [NARROW, WIDE])
def test_the_page_never_scrolls_sideways_and_everything_is_labeled(
    page: Page, tmp_path: Path, size: tuple[int, int]
) -> None:
    for number, classes in enumerate((2, 16, 60)):
        result = made_results(classes, 300, hostile=number == 0)
        if number < 2:
            against = compare(result.images, made_results(classes, 300, 0.5).images)
            members = (EnsembleMember(0.5, 1.25, 0.1), EnsembleMember(0.75, 1.5, 0.0))
            result = replace(result, members=members, against=against)
        opened(page, tmp_path, result)
        page.resize(*size)
        assert page.run("return document.documentElement.scrollWidth") == size[0]
        nameless = "return [...document.querySelectorAll('table')].filter((t) => !t.caption).length"
        assert page.run(nameless) == 0
        assert page.run("return document.querySelectorAll('img:not([alt])').length") == 0
        inputs = (
            "return [...document.querySelectorAll('input, select')].filter((i) => !i.labels[0])"
        )
        assert page.run(inputs) == []
        page.check_quiet()


@pytest.mark.system
def test_a_thousand_classes_and_50_000_images_stay_small_and_sort(
    page: Page, tmp_path: Path
) -> None:
    result = made_results(1000, 50_000)
    file = written(tmp_path, result)
    assert file.stat().st_size < 15_000_000
    page.resize(*WIDE)
    page.open(file)
    page.click("#per-class th:nth-child(3) button")
    worst = min(e.top1 for e in result.per_class if e.top1 is not None)
    assert page.column("#per-class", 2)[0] == f"{worst:.2%}"
    page.click("#image-filters [name=wrong]")
    assert page.texts("#image-count") == ["100 of 50,000 images shown"]
    page.click("#image-table th:nth-child(1) button")
    assert page.column("#image-table", 0)[0].endswith("val_00000001.JPEG")
    page.check_quiet()


def test_of_too_many_images_the_mistakes_are_listed(
    page: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "LISTED_IMAGES", 60)
    result = made_results(5, 200)
    opened(page, tmp_path, result)
    assert page.texts("#image-table caption")[0].startswith("60 of 200 images, mistakes first")
    wrong = sum(image.rank != 1 for image in result.images)
    assert page.texts("#image-count") == [f"{min(60, wrong)} images"]


def test_classes_of_one_name_are_told_apart_by_their_ids() -> None:
    classes = [ClassName("n1", "crane"), ClassName("n2", "crane"), ClassName("n3", "yak\x07")]
    assert class_labels(classes) == ["crane (n1)", "crane (n2)", "yak\\x07"]
