from __future__ import annotations

from pathlib import Path

import pytest

from inceptcli.data.exclusion import Remaining, exclude_from
from inceptcli.data.file_paths import FilePaths
from inceptcli.data.folders import LabeledImages
from inceptcli.data.label_files import evaluation_images
from inceptcli.errors import UsageError, UserError
from inceptcli.weights.imagenet_classes import imagenet_classes

ROOT = Path("data")
IMAGES = LabeledImages(
    ("a", "b"),
    FilePaths.of(
        (
            ROOT / "a/ILSVRC2012_val_00000036.JPEG",
            ROOT / "a/ILSVRC2012_val_00000360.JPEG",
            ROOT / "b/36.jpg",
            ROOT / "b/käse.jpg",
        )
    ),
    (0, 0, 1, 1),
)


def without(folder: Path, text: str) -> Remaining:
    (folder / "list.txt").write_bytes(text.encode())
    return exclude_from(IMAGES, folder / "list.txt", [ROOT])


@pytest.mark.parametrize(
    ("text", "left", "unknown"),
    [
        ("36\n", [1, 2, 3], 0),
        ("\ufeff00000360\r\n\r\n36", [2, 3], 0),
        ("b/36.jpg\n", [0, 1, 3], 0),
        ("data/b/36.jpg\n./b/käse.jpg", [0, 1], 0),
        ("b/36.jpg\ndata/b/36.jpg\n36", [1, 3], 0),
        ("36.jpg\n50000\n1\n360", [0, 2, 3], 3),
        ("", [0, 1, 2, 3], 0),
    ],
)
def test_images_are_left_out_by_number_and_by_path(
    text: str, left: list[int], unknown: int, tmp_path: Path
) -> None:
    found = without(tmp_path, text)
    assert list(found.images.paths) == [IMAGES.paths[index] for index in left]
    assert list(found.images.labels) == [IMAGES.labels[index] for index in left]
    assert found.excluded == 4 - len(left)
    assert found.notes[0].startswith(f"{4 - len(left)} of 4 images left out by ")
    assert len(found.notes) == 1 + bool(unknown)
    if unknown:
        assert found.notes[1].startswith(f"{unknown} of 4 entries of ")
        assert found.notes[1].endswith("match no image; the first is 36.jpg")


def test_absolute_paths_are_known(tmp_path: Path) -> None:
    images = LabeledImages(("a",), FilePaths.of([tmp_path / "1.jpg", tmp_path / "2.jpg"]), (0, 0))
    (tmp_path / "list.txt").write_text(f"{tmp_path}/x/../1.jpg\n")
    assert exclude_from(images, tmp_path / "list.txt", [tmp_path]).images.paths == images.paths[1:]


@pytest.mark.parametrize("number", ["0", "50001"])
def test_a_number_that_no_image_has_is_named_by_its_line(number: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"line 2: the number .* must be 1 to 50000, got {number}"):
        without(tmp_path, f"36\n{number}\n")


def test_nothing_left_and_no_such_file_are_errors(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="excludes all 4 images"):
        without(tmp_path, "36\n360\nb/36.jpg\nb/käse.jpg")
    with pytest.raises(UsageError, match=r"--exclude .*missing: No such file"):
        exclude_from(IMAGES, tmp_path / "missing", [ROOT])


@pytest.mark.given_data
def test_the_organizers_blacklist_leaves_83_of_120(given_data: Path) -> None:
    folder = given_data / "imagenet-val"
    ids, names = zip(*imagenet_classes(), strict=True)
    images, notes, _ = evaluation_images(folder, ids, names)
    assert len(images.paths) == 120
    assert notes == ()
    left = exclude_from(images, folder / "blacklist.txt", [folder, folder / "images"])
    assert len(left.images.paths) == 83
    assert left.excluded == 37
    assert "1725 of 1762 entries" in left.notes[1]
