import os
from pathlib import Path

import pytest

from inceptcli.data.folders import (
    LabelledImages,
    class_folder,
    find_images,
    labelled_for,
    split_by_content,
    training_folders,
)
from inceptcli.errors import UsageError, UserError


def touch(root: Path, *names: str) -> None:
    """Files whose content is their path, since only their bytes matter here."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)


def names_in(images: LabelledImages, root: Path) -> list[tuple[str, str]]:
    return [
        (path.relative_to(root).as_posix(), images.classes[label])
        for path, label in zip(images.paths, images.labels, strict=True)
    ]


def many(root: Path, count: int = 60) -> LabelledImages:
    touch(root, *(f"{name}/{number}.png" for name in ("cat", "dog") for number in range(count)))
    return class_folder(root)


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


def test_a_folder_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="absent: cannot be read: No such file or directory"):
        find_images(tmp_path / "absent")


def test_class_folders_give_labels_in_the_order_of_their_names(tmp_path: Path) -> None:
    touch(tmp_path, "dog/1.jpg", "cat/2.jpg", "cat/indoors/1.jpg", "stray.jpg", ".cache/1.jpg")
    images = class_folder(tmp_path)
    assert images.classes == ("cat", "dog")
    assert images.labels == (0, 0, 1)
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
        for call in (
            lambda root=root: class_folder(root),
            lambda root=root: training_folders(root, 0.5),
            lambda root=root: labelled_for(root, ["cat"]),
        ):
            with pytest.raises(UsageError, match=f"{root.name}: {message}"):
                call()


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


def test_a_split_takes_about_the_fraction_and_every_image_once(tmp_path: Path) -> None:
    images = many(tmp_path)
    train, val = split_by_content(images, 0.25)
    assert train.classes == val.classes == images.classes
    assert 15 <= len(val.paths) <= 45
    parts = names_in(train, tmp_path) + names_in(val, tmp_path)
    assert sorted(parts) == names_in(images, tmp_path)


def test_a_split_depends_on_content_only(tmp_path: Path) -> None:
    train, val = split_by_content(many(tmp_path / "one"), 0.25)
    for number, path in enumerate((*train.paths, *val.paths)):
        copy = tmp_path / "two" / path.parent.name / f"{1000 - number}.jpg"
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    again = split_by_content(class_folder(tmp_path / "two"), 0.25)
    for part, part_again in zip((train, val), again, strict=True):
        contents = {path.read_bytes() for path in part.paths}
        assert contents == {path.read_bytes() for path in part_again.paths}


def test_equal_files_never_part(tmp_path: Path) -> None:
    many(tmp_path)
    for path in find_images(tmp_path):
        (path.parent / f"copy-of-{path.name}").write_bytes(path.read_bytes())
    train, val = split_by_content(class_folder(tmp_path), 0.25)
    assert not {p.read_bytes() for p in train.paths} & {p.read_bytes() for p in val.paths}


def test_a_larger_fraction_only_adds_validation_images(tmp_path: Path) -> None:
    images = many(tmp_path)
    less, more = (split_by_content(images, fraction)[1].paths for fraction in (0.2, 0.5))
    assert set(less) < set(more)


def test_what_cannot_be_read_stays_with_training(tmp_path: Path) -> None:
    many(tmp_path)
    gone = tmp_path / "cat/gone.jpg"
    gone.symlink_to(tmp_path / "absent")
    train, _ = split_by_content(class_folder(tmp_path), 0.9)
    assert gone in train.paths


def test_a_split_that_leaves_a_class_empty_names_class_and_fraction(tmp_path: Path) -> None:
    touch(tmp_path, "cat/1.jpg", "dog/1.jpg")
    images = class_folder(tmp_path)
    with pytest.raises(UserError, match="class cat has no validation images with val_fraction 1e-"):
        split_by_content(images, 1e-9)
    with pytest.raises(
        UserError, match=r"class cat has no training images with val_fraction 0\.99"
    ):
        split_by_content(images, 0.999999)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, float("nan")])
def test_a_fraction_outside_0_and_1_is_refused(tmp_path: Path, fraction: float) -> None:
    with pytest.raises(UsageError, match="val_fraction must be between 0 and 1, got"):
        split_by_content(many(tmp_path, 1), fraction)


def test_train_and_val_are_matched_by_name(tmp_path: Path) -> None:
    touch(tmp_path, "train/ant/1.jpg", "train/bee/1.jpg", "train/cat/1.jpg", "val/cat/2.jpg")
    touch(tmp_path, "val/bee/2.jpg")
    train, val = training_folders(tmp_path, None)
    assert train.classes == val.classes == ("ant", "bee", "cat")
    assert train.labels == (0, 1, 2)
    assert val.labels == (1, 2)
    assert names_in(val, tmp_path) == [("val/bee/2.jpg", "bee"), ("val/cat/2.jpg", "cat")]
    assert training_folders(tmp_path, 0.5) == (train, val)


def test_a_class_of_val_that_train_lacks_is_named(tmp_path: Path) -> None:
    touch(tmp_path, "train/ant/1.jpg", "train/bee/1.jpg", "val/ant/2.jpg", "val/cow/2.jpg")
    with pytest.raises(UserError, match="val/cow: val must not have a class that train lacks"):
        training_folders(tmp_path, None)


def test_val_without_images_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "train/ant/1.jpg", "train/bee/1.jpg", "val/ant/notes.txt")
    with pytest.raises(UserError, match="val: no images in the class folders"):
        training_folders(tmp_path, None)


def test_class_folders_are_split_by_the_fraction(tmp_path: Path) -> None:
    images = many(tmp_path)
    assert training_folders(tmp_path, 0.25) == split_by_content(images, 0.25)
    with pytest.raises(UsageError, match=r"train/ and val/, .* or give --val-fraction"):
        training_folders(tmp_path, None)


def test_evaluation_matches_folders_to_the_weights_by_name(tmp_path: Path) -> None:
    touch(tmp_path, "bee/1.jpg", "ant/1.jpg")
    (tmp_path / "cow").mkdir()
    images = labelled_for(tmp_path, ["dog", "cow", "bee", "ant"])
    assert images.classes == ("dog", "cow", "bee", "ant")
    assert images.labels == (3, 2)
    assert names_in(images, tmp_path) == [("ant/1.jpg", "ant"), ("bee/1.jpg", "bee")]


def test_evaluation_takes_val_where_train_and_val_exist(tmp_path: Path) -> None:
    touch(tmp_path, "train/ant/1.jpg", "val/ant/2.jpg")
    assert labelled_for(tmp_path, ["ant"]).paths == (tmp_path / "val/ant/2.jpg",)


def test_folders_unknown_to_the_weights_are_named(tmp_path: Path) -> None:
    touch(tmp_path, "bee/1.jpg", "yak/1.jpg", "zebra/1.jpg")
    with pytest.raises(UserError, match=r"yak: not one of the 1 classes trained \(2 of 3 folders"):
        labelled_for(tmp_path, ["bee"])


def test_evaluation_needs_an_image(tmp_path: Path) -> None:
    (tmp_path / "bee").mkdir()
    with pytest.raises(UserError, match="no images in the class folders"):
        labelled_for(tmp_path, ["bee"])
