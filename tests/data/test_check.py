"""What a dataset holds that training would skip, and what is filed twice."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from inceptcli.data import check as module
from inceptcli.data.check import CheckedFile, Inspected, Report, Spread, check_dataset
from inceptcli.errors import UserError


def draw(path: Path, seed: int, size: tuple[int, int] = (12, 10), kind: str = "PNG") -> None:
    """A picture of noise, (width, height); `kind` is its format whatever the suffix says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3)).astype(np.uint8)
    Image.fromarray(noise).save(path, kind)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes of three images in train/ and two in val/; all is well."""
    for split, count in (("train", 3), ("val", 2)):
        for place, name in enumerate(("cat", "dog")):
            for number in range(count):
                seed = 100 * (split == "val") + 10 * place + number
                draw(tmp_path / split / name / f"{number}.png", seed)
    return tmp_path


def look(folder: Path, workers: int | None = 1) -> Report:
    return check_dataset(str(folder), workers, lambda done, total: None)


def test_a_good_dataset_is_clean(folder: Path) -> None:
    report = look(folder)
    assert report.clean
    assert report.images == 10
    assert [(entry.name, entry.images) for entry in report.classes] == [
        ("cat", {"train": 3, "val": 2}),
        ("dog", {"train": 3, "val": 2}),
    ]
    assert (report.width, report.height) == (Spread(12, 12, 12), Spread(10, 10, 10))
    assert report.formats == {"PNG": 10}


def test_several_processes_find_what_one_finds(folder: Path) -> None:
    draw(folder / "train/dog/copy.png", 0)
    (folder / "train/dog/broken.png").write_text("nothing")
    done: list[tuple[int, int]] = []
    assert check_dataset(str(folder), 2, lambda *counts: done.append(counts)) == look(folder)
    assert done == [(number, 12) for number in range(1, 13)]


def test_unreadable_files_are_named_with_the_reason(folder: Path) -> None:
    path = folder / "train/cat/broken.jpg"
    path.write_text("<html>")
    (folder / "train/cat/nowhere.jpg").symlink_to("nothing")
    os.mkfifo(folder / "train/cat/waiting.jpg")
    report = look(folder)
    assert not report.clean
    assert [entry.path.name for entry in report.unreadable] == ["broken.jpg", "nowhere.jpg"]
    assert "not an image" in report.unreadable[0].text
    assert report.images == 10


def test_images_with_the_suffix_of_something_else_are_found(folder: Path) -> None:
    draw(folder / "train/cat/picture.dat", 50, kind="JPEG")
    draw(folder / "train/cat/bare", 51)
    (folder / "train/cat/notes.txt").write_text("notes")
    report = look(folder)
    assert [(entry.path.name, entry.text) for entry in report.overlooked] == [
        ("picture.dat", "JPEG"),
    ]
    assert not report.clean
    assert report.images == 11
    assert not report.wrong_suffix
    assert report.left_out.files == {".dat": 1, ".txt": 1}


def test_a_suffix_of_another_format_is_listed_only(folder: Path) -> None:
    draw(folder / "train/cat/wrong.JPG", 50)
    draw(folder / "train/cat/right.JPE", 51, kind="JPEG")
    report = look(folder)
    assert [(entry.path.name, entry.text) for entry in report.wrong_suffix] == [
        ("wrong.JPG", "PNG")
    ]
    assert report.clean


def test_a_format_of_less_than_one_image_in_a_hundred_is_listed_only(folder: Path) -> None:
    draw(folder / "train/cat/placeholder.gif", 50, kind="GIF")
    for number in range(89):
        draw(folder / f"train/cat/more-{number}.png", 200 + number, (4, 4))
    assert not look(folder).odd_format
    draw(folder / "train/cat/one more.png", 300)
    report = look(folder)
    assert [(entry.path.name, entry.text) for entry in report.odd_format] == [
        ("placeholder.gif", "GIF")
    ]
    assert report.clean


@pytest.mark.parametrize(
    ("copies", "across"),
    [
        (["train/dog/a.png"], ("classes",)),
        (["val/cat/a.png"], ("splits",)),
        (["val/dog/a.png", "train/cat/b.png"], ("classes", "splits")),
        (["train/cat/a.png"], ()),
    ],
)
def test_equal_files_are_one_group(folder: Path, copies: list[str], across: tuple[str]) -> None:
    for copy in copies:
        draw(folder / copy, 0)
    (group,) = look(folder).duplicates
    assert group.across == across
    found = {str(place.path.relative_to(folder)) for place in group.places}
    assert found == {"train/cat/0.png", *copies}
    assert look(folder).clean == (not across)


def test_sizes_have_a_smallest_a_middle_and_a_largest(folder: Path) -> None:
    draw(folder / "train/cat/wide.png", 50, (90, 8))
    report = look(folder)
    assert (report.width, report.height) == (Spread(12, 12, 90), Spread(8, 10, 10))


def test_empty_and_one_sided_classes_are_named(folder: Path) -> None:
    (folder / "train/fish").mkdir()
    draw(folder / "train/owl/1.png", 50)
    report = look(folder)
    assert report.empty_classes == [("train", "fish")]
    assert report.one_split_only == [("train", "fish"), ("train", "owl")]
    (folder / "train/fish").rmdir()
    assert look(folder).clean
    draw(folder / "val/bee/1.png", 51)
    assert not look(folder).clean


def test_a_folder_without_splits_is_all_one(folder: Path) -> None:
    report = look(folder / "train")
    assert report.clean
    assert report.splits == ("all",)
    assert [entry.images for entry in report.classes] == [{"all": 3}, {"all": 3}]


def end_this_process(place: CheckedFile) -> Inspected:
    os._exit(1)


def test_a_reader_that_dies_is_one_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "inspect", end_this_process)
    with pytest.raises(UserError, match="--workers 1"):
        look(folder, workers=2)


@pytest.mark.given_data
def test_flowers_has_four_files_filed_under_two_classes(given_data: Path) -> None:
    report = look(given_data / "flowers", workers=None)
    crossing = [group for group in report.duplicates if group.across]
    assert len(crossing) == 4
    for group in crossing:
        assert group.across == ("classes",)
        assert {place.class_name for place in group.places} == {"rose", "tulip"}
        assert len(group.places) == 2
    assert not report.clean
    assert not report.unreadable


@pytest.mark.given_data
def test_hymenoptera_has_a_placeholder_filed_as_an_ant(given_data: Path) -> None:
    report = look(given_data / "hymenoptera", workers=None)
    (odd,) = report.odd_format
    assert (odd.path.name, odd.text) == ("imageNotFound.gif", "GIF")
    assert report.clean
