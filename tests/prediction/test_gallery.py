"""The gallery in a browser; the answers pass through it unchanged."""

from __future__ import annotations

import re
import tarfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from inceptcli.cli.app import app
from inceptcli.data.pixels.decode import UnreadableImage
from inceptcli.prediction.inputs import Source
from inceptcli.prediction.outputs import gallery
from inceptcli.prediction.outputs.gallery import Gallery
from inceptcli.prediction.predict import Answer, Prediction
from tests.pages.browser import NARROW, WIDE, Page
from tests.prediction.conftest import draw, save_small_network

HOSTILE = "<img src=x onerror=alert(1)>"
NAMES = (HOSTILE, "tulip", "rose")


@pytest.fixture
def answers(tmp_path: Path) -> list[Answer]:
    """Of six pictures, and of two files that have none."""
    found = []
    for number in range(6):
        path = draw(tmp_path / f"{number}{HOSTILE if number == 0 else ''}.png", number, (400, 200))
        sure = (0.5, 0.9, 0.4, 0.8, 0.7, 0.6)[number]
        first, second = number % 3, (number + 1) % 3
        answer = (Prediction(NAMES[first], first, sure), Prediction(NAMES[second], second, 0.1))
        found.append(Answer(str(path), answer))
    broken = Answer(f"b/{HOSTILE}</script>.png", error=f"not an image {HOSTILE}")
    return [*found[:2], broken, *found[2:], Answer("a.png", error="empty file")]


def written(folder: Path, answers: list[Answer]) -> Path:
    with Gallery() as collected, (folder / "gallery.html").open("w", encoding="utf-8") as stream:
        for answer in answers:
            collected.keep(Source(answer.path, answer.error), UnreadableImage(), answer)
        collected.write(stream, ["pets.safetensors"], 1)
    return folder / "gallery.html"


def test_every_answer_has_a_card_with_its_picture_and_probabilities(
    page: Page, tmp_path: Path, answers: list[Answer]
) -> None:
    page.resize(*WIDE)
    page.open(written(tmp_path, answers))
    read = [answer for answer in answers if answer.error is None]
    assert page.texts(".card .path") == [answer.path for answer in read]  # with nothing in common
    assert [text.split("\n") for text in page.texts(".card:first-child .answer")] == [
        [HOSTILE, "50.0%"],
        ["tulip", "10.0%"],
    ]
    sizes = "return [...document.images].map((i) => [i.naturalWidth, i.naturalHeight])"
    assert page.run(sizes) == [[160, 80]] * 6
    assert page.column("#unread", 0) == [f"b/{HOSTILE}</script>.png", "a.png"]
    page.click("#unread th:first-child button")
    assert page.column("#unread", 1) == ["empty file", f"not an image {HOSTILE}"]
    page.check_quiet()


def test_paths_are_shown_from_the_folder_that_they_share(
    page: Page, tmp_path: Path, answers: list[Answer]
) -> None:
    page.resize(*WIDE)
    broken = Answer(f"{tmp_path}/b/broken.png", error="empty file")
    page.open(written(tmp_path, [broken, *(answer for answer in answers if not answer.error)]))
    assert page.texts(".facts dd")[1] == f"{tmp_path}/"
    assert page.texts(".card .path") == [f"0{HOSTILE}.png", *(f"{n}.png" for n in range(1, 6))]
    assert page.column("#unread", 0) == ["b/broken.png"]
    for part, count in ((f"{tmp_path}/5.PNG", "1 of 6 images"), ("/B/", "0 of 6 images")):
        page.click("#card-filters [type=reset]")
        page.press("[name=path]", part)
        assert page.texts("#card-count") == [count]
    page.check_quiet()


def test_cards_are_filtered_and_ordered(page: Page, tmp_path: Path, answers: list[Answer]) -> None:
    page.resize(*WIDE)
    page.open(written(tmp_path, answers))
    assert page.texts("#card-filters option")[:4] == [
        "any class",
        f"{HOSTILE} (2)",
        "rose (2)",
        "tulip (2)",
    ]
    sure = ".card .answer:not(.answer ~ .answer) span:last-child"
    page.choose("[name=order]", 1)
    assert page.texts(sure) == ["90.0%", "80.0%", "70.0%", "60.0%", "50.0%", "40.0%"]
    page.choose("[name=order]", 2)
    assert page.texts(sure) == ["40.0%", "50.0%", "60.0%", "70.0%", "80.0%", "90.0%"]
    page.choose("[name=answer]", 2)
    assert page.texts(sure) == ["40.0%", "60.0%"]
    assert page.texts("#card-count") == ["2 of 6 images"]
    page.press("[name=path]", "5.png")
    assert page.texts("#card-count") == ["1 of 6 images"]
    page.click("#card-filters [type=reset]")
    assert page.texts(sure) == ["50.0%", "90.0%", "40.0%", "80.0%", "70.0%", "60.0%"]
    page.check_quiet()


def test_names_that_are_markup_stay_text(page: Page, tmp_path: Path, answers: list[Answer]) -> None:
    page.resize(*NARROW)
    page.open(written(tmp_path, answers))
    assert page.run("return document.querySelectorAll('[onerror], img[src=x]').length") == 0
    assert page.run("return document.scripts.length") == 2
    assert page.run("return document.documentElement.scrollWidth") == NARROW[0]
    page.check_quiet()


def test_a_page_holds_so_many_images_and_says_so(
    page: Page, tmp_path: Path, answers: list[Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gallery, "LARGEST", 1)
    page.open(written(tmp_path, answers))
    assert page.texts(".limit") == [
        "This page holds the first 1 of 6 answers; the output of the command has all."
    ]
    assert len(page.texts(".card")) == 1
    assert page.texts("#unread caption") == [
        "2 unreadable images, which count nowhere else; the first 1 are listed."
    ]
    assert page.texts(".facts dd")[1] == "8, 2 unreadable"


def test_a_picture_that_is_gone_leaves_its_answer(
    page: Page, tmp_path: Path, answers: list[Answer]
) -> None:
    Path(answers[0].path).unlink()
    page.open(written(tmp_path, answers))
    assert page.texts(".missing") == ["no longer readable"]
    assert len(page.texts(".card")) == 6


def test_pictures_in_tar_files_have_their_thumbnails_too(tmp_path: Path) -> None:
    pictures = [draw(tmp_path / f"{number}.png", number, (400, 200)) for number in range(3)]
    (tmp_path / "shards").mkdir()
    with tarfile.open(tmp_path / "shards/0.tar", "w") as archive:
        for picture in pictures:
            archive.add(picture, picture.name)
    run = save_small_network(tmp_path / "model.safetensors")
    pages: list[list[str]] = []
    for sources in ([f"{tmp_path / 'shards'}/"], [tmp_path / "shards/0.tar"], pictures):
        page = tmp_path / f"{len(pages)}.html"
        arguments = ["predict", *sources, "--weights", run, "--gallery", page]
        done = CliRunner().invoke(app, list(map(str, arguments)))
        assert done.exit_code == 0, done.output
        pages.append(re.findall('data:image/jpeg;base64,[^"]+', page.read_text()))
    assert len(pages[0]) == 3
    assert pages[0] == pages[1] == pages[2]
