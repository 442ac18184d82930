"""The confusion matrix of a report: a table of few classes, a drawing of many."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.evaluation.made_results import made_results, opened
from tests.pages.browser import ENTER, Page


def test_the_matrix_of_few_classes_is_a_table_that_leads_to_the_images(
    page: Page, tmp_path: Path
) -> None:
    result = made_results(6, 300)
    opened(page, tmp_path, result)
    cells = {
        (pair.label, pair.predicted): str(pair.images) for pair in result.confusion if pair.images
    }
    for label in range(6):
        row = f"#matrix-table tbody tr:nth-child({label + 1}) td"
        shown = [element.text for element in page.driver.find_elements("css selector", row)]
        assert shown == [cells.get((label, predicted), "") for predicted in range(6)]
    (label, predicted), images = next(item for item in cells.items() if len(set(item[0])) == 2)
    page.click(f'td[data-label="{label}"][data-predicted="{predicted}"] button')
    assert set(page.column("#image-table", 1)) == {f"class {label}"}
    assert set(page.column("#image-table", 2)) == {f"class {predicted}"}
    assert len(page.column("#image-table", 0)) == int(images)
    page.check_quiet()


def test_the_drawn_matrix_is_searched_zoomed_and_read_by_key(page: Page, tmp_path: Path) -> None:
    result = made_results(60, 3000)
    opened(page, tmp_path, result)
    drawn = """
        const canvas = document.querySelector("#matrix");
        const {width, height} = canvas;
        const often = {willReadFrequently: true};
        const copy = new OffscreenCanvas(width, height).getContext("2d", often);
        copy.drawImage(canvas, 0, 0);
        const pixels = copy.getImageData(0, 0, width, height).data;
        let blue = 0;
        for (let at = 0; at < pixels.length; at += 4) blue += pixels[at + 2] > pixels[at] + 60;
        return blue;"""
    whole = page.run(drawn)
    assert whole > 60
    pair = max(
        (p for p in result.confusion if p.predicted == p.label + 1), key=lambda pair: pair.images
    )
    page.press("#matrix-class", f"class {pair.label}", ENTER)
    assert page.run(drawn) > 1.5 * whole  # it is nearer now
    total = result.per_class[pair.label].images
    right = result.per_class[pair.label].right
    readout = f"class {pair.label}: {right} of {total} images correct"
    assert page.texts("#matrix-cell") == [readout]
    page.press("#matrix", "\ue014")  # right
    readout = (
        f"class {pair.label}: {pair.images} of {total} images predicted as class {pair.predicted}"
    )
    assert page.texts("#matrix-cell") == [readout]
    page.press("#matrix", ENTER)
    assert len(page.column("#image-table", 0)) == pair.images
    page.click("[data-zoom=reset]")
    assert page.run(drawn) == pytest.approx(whole, rel=0.05)
    page.check_quiet()
