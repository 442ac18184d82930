import os
from pathlib import Path

import pytest

from inceptcli.data.folders import (
    LabeledImages,
    class_folder,
    find_images,
    labeled_for,
    positions,
)
from inceptcli.errors import UsageError, UserError


def touch(root: Path, *names: str) -> None:
    """Files whose content is their path, since only their bytes matter here."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)


def names_in(images: LabeledImages, root: Path) -> list[tuple[str, str]]:
    return [
        (path.relative_to(root).as_posix(), images.classes[place])
        for path, label in zip(images.paths, images.labels, strict=True)
        for place in positions(label)
    ]


def test_images_are_found_at_any_depth_in_the_order_of_their_paths(tmp_path: Path) -> None:
    touch(tmp_path, "b.jpg", "a/2.PNG", "a/10.Jpeg", "a-b/1.webp", "a/deep/er/x.tif", "c.gif")
    touch(tmp_path, "notes.txt", "jpg", ".hidden.jpg", ".hidden/x.jpg", "a/.Trash/x.png")
    found = [path.relative_to(tmp_path).as_posix() for path in find_images(tmp_path)]
    assert found == ["a/10.Jpeg", "a/2.PNG", "a/deep/er/x.tif", "a-b/1.webp", "b.jpg", "c.gif"]


def test_a_folder_named_like_an_image_is_entered(tmp_path: Path) -> None:
    touch(tmp_path, "album.jpg/1.jpg")
    assert find_images(tmp_path) == [tmp_path / "album.jpg/1.jpg"]


def test_loops_of_links_end_and_linked_folders_are_entered_once(tmp_path: Path) -> None:
    touch(tmp_path, "photos/a/1.jpg", "elsewhere/2.jpg")
    photos = tmp_path / "photos"
    (photos / "a/up").symlink_to(photos)
    (photos / "self.jpg").symlink_to(photos / "self.jpg")
    (photos / "one").symlink_to(tmp_path / "elsewhere")
    (photos / "two").symlink_to(tmp_path / "elsewhere")
    found = [path.relative_to(photos).as_posix() for path in find_images(photos)]
    assert found == ["a/1.jpg", "one/2.jpg", "self.jpg"]


def test_a_link_to_nowhere_is_listed_and_a_pipe_is_not(tmp_path: Path) -> None:
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "absent.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    assert find_images(tmp_path) == [tmp_path / "gone.jpg"]


@pytest.mark.parametrize("name", ["b.png", "b"])
def test_a_link_to_a_pipe_or_a_device_is_no_image(name: str, tmp_path: Path) -> None:
    touch(tmp_path, "photos/a.png")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "photos" / name).symlink_to("../pipe")
    (tmp_path / "photos" / f"c{name}").symlink_to("/dev/zero")
    assert find_images(tmp_path / "photos") == [tmp_path / "photos/a.png"]


def test_a_folder_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="absent: cannot be read: No such file or directory"):
        find_images(tmp_path / "absent")


def test_class_folders_give_labels_in_the_order_of_their_names(tmp_path: Path) -> None:
    touch(tmp_path, "dog/1.jpg", "cat/2.jpg", "cat/indoors/1.jpg", "stray.jpg", ".cache/1.jpg")
    images = class_folder(tmp_path)
    assert images.classes == ("cat", "dog")
    assert tuple(images.labels) == (0, 0, 1)
    assert names_in(images, tmp_path) == [
        ("cat/2.jpg", "cat"),
        ("cat/indoors/1.jpg", "cat"),
        ("dog/1.jpg", "dog"),
    ]


def test_a_missing_root_and_a_file_are_usage_errors(tmp_path: Path) -> None:
    touch(tmp_path, "file")
    for root, message in (
        (tmp_path / "absent", "no such folder"),
        (tmp_path / "file", "not a folder"),
    ):
        with pytest.raises(UsageError, match=f"{root.name}: {message}"):
            class_folder(root)
        with pytest.raises(UsageError, match=f"{root.name}: {message}"):
            labeled_for(root, ["cat"])


def test_folders_that_make_no_classes_are_refused(tmp_path: Path) -> None:
    touch(tmp_path, "1.jpg")
    with pytest.raises(UserError, match="no class folders; put each class's images"):
        class_folder(tmp_path)
    touch(tmp_path, "cat/1.jpg")
    with pytest.raises(UserError, match="at least two class folders are needed, got only cat"):
        class_folder(tmp_path)
    (tmp_path / "dog").mkdir()
    with pytest.raises(UserError, match="dog: a class folder needs images"):
        class_folder(tmp_path)


def test_messages_stay_on_one_line_whatever_a_folder_is_called(tmp_path: Path) -> None:
    touch(tmp_path, "a\nb\x1b/1.jpg")
    with pytest.raises(UserError) as caught:
        class_folder(tmp_path)
    assert str(caught.value).isprintable()


def test_what_the_program_wrote_is_no_class(tmp_path: Path, notices: list[str]) -> None:
    touch(tmp_path, "cat/1.jpg", "dog/1.jpg", "dog/maps/explanations.csv", "dog/maps/1.png")
    touch(tmp_path, "runs/a/recipe.yaml", "runs/a/lock", "runs/a/pictures/1.png", "runs/b/lock")
    images = class_folder(tmp_path)
    assert names_in(images, tmp_path) == [("cat/1.jpg", "cat"), ("dog/1.jpg", "dog")]
    assert notices == [
        f"left out {tmp_path}/dog/maps and 2 more: written by inceptcli, not a class"
    ]
    touch(tmp_path, "study/study.png", "study/a-seed-0/lock", "study/a-seed-0/train.log")
    assert class_folder(tmp_path).classes == ("cat", "dog")
    touch(tmp_path, "runs/photo.jpg")
    assert class_folder(tmp_path).classes == ("cat", "dog", "runs")


def test_a_photograph_beside_one_file_of_a_run_stays(tmp_path: Path) -> None:
    touch(tmp_path, "cat/1.jpg", "cat/train.log", "dog/1.jpg", "dog/lock")
    assert len(class_folder(tmp_path).paths) == 2


def test_evaluation_matches_folders_to_the_weights_by_name(tmp_path: Path) -> None:
    touch(tmp_path, "bee/1.jpg", "ant/1.jpg")
    (tmp_path / "cow").mkdir()
    images = labeled_for(tmp_path, ["dog", "cow", "bee", "ant"])
    assert images.classes == ("dog", "cow", "bee", "ant")
    assert tuple(images.labels) == (3, 2)
    assert names_in(images, tmp_path) == [("ant/1.jpg", "ant"), ("bee/1.jpg", "bee")]


def test_folders_unknown_to_the_weights_are_named(tmp_path: Path) -> None:
    touch(tmp_path, "bee/1.jpg", "yak/1.jpg", "zebra/1.jpg")
    with pytest.raises(UserError, match=r"yak: not one of the 1 classes \(2 of 3 folders"):
        labeled_for(tmp_path, ["bee"])


def test_evaluation_needs_an_image(tmp_path: Path) -> None:
    (tmp_path / "bee").mkdir()
    with pytest.raises(UserError, match="no images in the class folders"):
        labeled_for(tmp_path, ["bee"])


def test_a_name_in_two_forms_of_unicode_is_one_class(tmp_path: Path) -> None:
    composed, decomposed = "k\u00e4se", "ka\u0308se"
    touch(tmp_path, f"train/{composed}/1.jpg", f"train/{decomposed}/2.jpg", "train/dog/1.jpg")
    touch(tmp_path, f"val/{decomposed}/3.jpg")
    images = class_folder(tmp_path / "train")
    assert images.classes == ("dog", composed)
    assert sorted(images.labels) == [0, 1, 1]
    assert tuple(labeled_for(tmp_path / "val", images.classes).labels) == (1,)
    assert tuple(labeled_for(tmp_path / "val", ["dog", decomposed]).labels) == (1,)
