"""`eval --report` and `predict --gallery` from the command line to the browser."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from inceptcli.data.pixels.preprocessing import Preprocessing
from inceptcli.weights.metadata import ClassName
from tests.cli.conftest import check_one_line, inceptcli, picture
from tests.cli.test_evaluate_protocols import network
from tests.pages.browser import Page

HOSTILE = "<img src=x onerror=alert(1)>"
CLASSES = tuple(ClassName(f"n{number}", name) for number, name in enumerate((HOSTILE, "dog")))


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("weights") / "a.safetensors"
    return network(file, 0, CLASSES, Preprocessing((75, 75)))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Pictures of both classes, one with markup for a name, and a file that is none."""
    for number in range(6):
        picture(tmp_path / "data" / f"n{number % 2}" / f"{number}.png", number)
    picture(tmp_path / "data" / "n1" / f"{HOSTILE}.png", 7)
    (tmp_path / "data/n0/empty.jpg").touch()
    return tmp_path / "data"


def test_the_report_has_what_json_has(
    page: Page, weights: Path, folder: Path, tmp_path: Path
) -> None:
    html = tmp_path / "report.html"
    flags = ("--data", folder, "--skip-unreadable", "--device", "cpu", "--format", "json")
    done = inceptcli("eval", weights, *flags, "--report", html)
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    page.open(html)
    assert page.texts(".figures .value")[0] == f"{found['top1']:.2%}"
    assert "top5" in found  # for programs; of two classes the page has none
    assert page.texts(".figures h2") == ["Top-1", "Loss", "Calibration error"]
    facts = [str(weights), str(folder), "all", "7, 1 unreadable"]
    assert page.texts(".facts dd")[:4] == facts
    names = [cell.split("\n")[0].split(" n")[0] for cell in page.column("#per-class", 0)]
    assert names == [entry["name"] for entry in found["per_class"]] == [HOSTILE, "dog"]
    precision = [entry["precision"] for entry in found["per_class"]]
    shown = ["–" if share is None else f"{share:.2%}" for share in precision]
    assert page.column("#per-class", 4) == shown
    bins = [str(entry["images"]) for entry in found["calibration"]]
    assert page.column("#calibration ~ .pair table", 1) == bins
    page.click("#image-filters [name=wrong]")
    assert f"n1/{HOSTILE}.png" in page.column("#image-table", 0)
    assert page.column("#unread", 0) == ["n0/empty.jpg"]
    assert page.column("#unread", 1) == ["empty file"]
    assert page.run("return document.querySelectorAll('[onerror], img[src=x]').length") == 0
    page.check_quiet()


def test_the_gallery_has_what_the_results_have(
    page: Page, weights: Path, folder: Path, tmp_path: Path
) -> None:
    html = tmp_path / "gallery.html"
    flags = ("--weights", weights, "--device", "cpu", "--format", "json", "--quiet")
    plain = inceptcli("predict", folder, *flags)
    done = inceptcli("predict", folder, *flags, "--gallery", html)
    assert done.exit_code == plain.exit_code == 1  # one cannot be read
    assert done.stdout == plain.stdout
    page.open(html)
    rows = [row for row in json.loads(done.stdout) if row["error"] is None]
    folder_and_path = [page.texts(".facts dd")[1] + path for path in page.texts(".card .path")]
    assert folder_and_path == [row["path"] for row in rows]
    shown = [text.split("\n") for text in page.texts(".card .answer")]
    assert shown == [
        [entry["class"], f"{entry['probability']:.1%}"]
        for row in rows
        for entry in row["predictions"]
    ]
    assert page.run("return document.images.length") == 7
    assert page.column("#unread", 0) == ["n0/empty.jpg"]
    page.check_quiet()


@pytest.mark.parametrize("command", ["eval", "predict"])
def test_a_page_that_cannot_be_written_is_wrong_use(
    command: str, weights: Path, folder: Path
) -> None:
    flags = {
        "eval": (weights, "--data", folder, "--skip-unreadable", "--report"),
        "predict": (folder / "n1", "--weights", weights, "--gallery"),
    }[command]
    done = inceptcli(command, *flags, folder / "missing/page.html")
    check_one_line(done, 2, f"{flags[-1]} {folder}/missing/page.html: No such file or directory")
    done = inceptcli(command, *flags, folder)
    check_one_line(done, 2, f"{flags[-1]} {folder}: not a regular file")
