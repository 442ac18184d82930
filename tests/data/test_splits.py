"""train/valid/test, as others name them, are never classes."""

from __future__ import annotations

from pathlib import Path

import pytest

from inceptcli.data.check import check_dataset
from inceptcli.data.identity import DataIdentity
from inceptcli.data.open_data import (
    Measured,
    TrainedOn,
    open_for_training,
    open_split,
    training_places,
    validation_places,
)
from inceptcli.data.recorded_images import RecordedImages
from inceptcli.data.sources import ImageSource
from inceptcli.data.splits import NAMES, split_folders
from inceptcli.errors import UsageError, UserError
from tests.data.class_folders import CLASSES, draw, shard


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def make(*names: str, root: str = "data") -> None:
    for number, name in enumerate(names):
        draw(Path(root, name), 9, first=100 * number)


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (["train", "val"], ["train", "val"]),
        (["train", "valid", "test"], ["train", "val", "test"]),
        (["Training", "validation", "TESTING"], ["train", "val", "test"]),
        (["train", "test"], ["train", "test"]),
        (["train", "test", "backup"], ["train", "test"]),
        (["train"], ["train"]),
        (["val", "test"], ["val", "test"]),
    ],
)
def test_folders_named_as_splits_are_splits(
    root: Path, names: list[str], splits: list[str]
) -> None:
    make(*names)
    assert list(split_folders(Path("data"))) == splits


def test_a_class_may_be_called_train(root: Path) -> None:
    for number, name in enumerate(("bus", "train", "tram")):
        draw(Path("data", name), 3, first=10 * number)
        for path in sorted(Path("data", name).glob("*/*")):
            path.rename(Path("data", name, path.name))
    for name in CLASSES:
        for folder in Path("data").glob(f"*/{name}"):
            folder.rmdir()
    assert not split_folders(Path("data"))
    _, _, classes = open_for_training("data", None, 0.4)
    assert classes == ("bus", "train", "tram")


def test_pictures_to_be_named_are_a_test_split_without_classes(root: Path) -> None:
    make("train")
    draw(Path("flat"), 2)
    Path("flat/ant").rename("data/test")
    train, val, classes = open_for_training("data", None, 0.3)
    assert classes == CLASSES
    assert len(train) + len(val) == 9
    with pytest.raises(UserError, match="data/test: no class folders"):
        open_split("data", CLASSES, "test")


def opened(
    data: str, val_data: str | None, val_fraction: float | None
) -> tuple[list[str], list[str], tuple[str, ...]]:
    """Names of what trains and of what validates, and the classes."""
    train, val, classes = open_for_training(data, val_data, val_fraction)
    parts = [[part.name(index) for index in range(len(part))] for part in (train, val)]
    return parts[0], parts[1], classes


@pytest.mark.parametrize("val_data", ["data/val", "data/heldout", "data/more/heldout"])
def test_what_val_data_names_is_no_class(root: Path, val_data: str, notices: list[str]) -> None:
    draw(Path("data"), 9)
    draw(Path(val_data), 6, first=100)
    train, val, classes = opened("data", val_data, None)
    assert classes == CLASSES
    assert (len(train), len(val)) == (9, 6)
    assert not set(train) & set(val)
    more = "data/more: contains the images of --val-data, not a class"
    assert notices == [more] * ("more" in val_data)
    split: Measured = "train" if val_data == "data/val" else "all"
    assert len(open_split("data", CLASSES, split, TrainedOn("data", val_data)).source) == 9
    places = training_places(TrainedOn("data", val_data))
    assert places == [Path("data", name) for name in CLASSES]


@pytest.mark.parametrize("sheet", [False, True])
def test_a_test_split_beside_classes_is_left_out_and_said(
    root: Path, sheet: bool, notices: list[str]
) -> None:
    draw(Path("data"), 30)
    draw(Path("data/test"), 6, first=100)
    if sheet:
        Path("data/ant/0000.png").rename("data/test/sheet.png")
    train, val, classes = opened("data", None, 0.3)
    assert classes == CLASSES
    assert len(train) + len(val) == 30 - sheet
    assert not any("data/test" in name for name in (*train, *val))
    assert notices[0].startswith("data: test/ left out of training and validation; `inceptcli eval")
    assert len(open_split("data", CLASSES, "test").source) == 6
    report = check_dataset("data", 1, lambda done, total: None)
    assert (report.splits, [entry.name for entry in report.classes]) == (
        ("train", "test"),
        list(CLASSES),
    )
    sharded = shard(Path("data"), "shards")
    assert sharded.classes == CLASSES
    assert len(open_split("shards", CLASSES, "test").source) == 6


def test_a_validation_split_beside_classes_validates(root: Path, notices: list[str]) -> None:
    draw(Path("data"), 9)
    draw(Path("data/val"), 6, first=100)
    train, val, classes = opened("data", None, None)
    assert (len(train), len(val), classes, notices) == (9, 6, CLASSES, [])
    with pytest.raises(UsageError, match="data already has validation images"):
        opened("data", None, 0.3)


@pytest.mark.parametrize("name", ["eval", "heldout", "test1"])
def test_what_lies_beside_a_train_split_is_no_class(
    root: Path, name: str, notices: list[str]
) -> None:
    make("train")
    draw(Path("data", name), 6, first=100)
    if name == "test1":
        for path in sorted(Path("data/test1").glob("*/*")):
            path.rename(Path("data/test1", path.name))
            if not any(path.parent.iterdir()):
                path.parent.rmdir()
    train, val, classes = opened("data", None, 0.3)
    assert (len(train) + len(val), classes) == (9, CLASSES)
    assert notices == [f"data: {name}/ left out of training and validation"]
    notices.clear()
    report = check_dataset("data", 1, lambda done, total: None)
    assert [entry.name for entry in report.classes] == list(CLASSES)
    assert notices == [f"data: {name}/ left out, neither a split nor a class"]
    assert shard(Path("data"), "shards").classes == CLASSES


def test_a_class_called_train_may_lie_beside_a_split(root: Path) -> None:
    for parent, first in (("data", 0), ("data/val", 100)):
        for number, name in enumerate(("bus", "train")):
            draw(Path("drawn"), 3, first=first + 10 * number)
            for path in sorted(Path("drawn").glob("*/*")):
                Path(parent, name).mkdir(parents=True, exist_ok=True)
                path.rename(Path(parent, name, path.name))
    train, val, classes = opened("data", None, None)
    assert (len(train), len(val), classes) == (6, 6, ("bus", "train"))


def test_shards_that_validate_do_not_train(root: Path) -> None:
    draw(Path("data"), 9)
    draw(Path("held"), 6, first=100)
    shard(Path("data"), "shards/part-%d.tar")
    shard(Path("held"), "shards/heldout-%d.tar")
    train, val, _ = opened("shards", "shards/heldout-*.tar", None)
    assert (len(train), len(val)) == (9, 6)
    trained = TrainedOn("shards", "shards/heldout-*.tar")
    for data, count in (("shards", 9), ("shards/heldout-*.tar", 6), ("shards/heldout-0.tar", 4)):
        assert len(open_split(data, CLASSES, None, trained).source) == count


@pytest.mark.parametrize(
    ("data", "listed", "trained"),
    [
        ("data", ["ant/0000.png", "bee/0001.png"], 7),
        ("all.csv", ["ant/0000.png", "bee/0001.png"], 7),
        ("link/ant/..", ["ant/0000.png"], 8),
    ],
)
def test_an_image_that_validates_does_not_train(
    root: Path, data: str, listed: list[str], trained: int, notices: list[str]
) -> None:
    draw(Path("data"), 9)
    Path("link").symlink_to("data")
    names = [path.relative_to("data") for path in sorted(Path("data").rglob("*.png"))]
    for file, rows in (("all.csv", names), ("data/val.csv", listed)):
        place = "data/" if file == "all.csv" else ""
        lines = [f"{place}{name},{Path(name).parent}" for name in rows]
        Path(file).write_text("\n".join(["path,label", *lines]) + "\n")
    train, val, _ = opened(data, "data/val.csv", None)
    assert (len(train), len(val)) == (trained, len(listed))
    images = f"{len(listed)} images are also in --val-data data/val.csv, and are left out of train"
    assert any(images in line for line in notices)


def test_a_link_to_an_image_is_that_image(root: Path) -> None:
    draw(Path("data"), 9)
    for path in sorted(Path("data").rglob("*.png"))[::4]:
        link = Path("val", path.parent.name, path.name)
        link.parent.mkdir(parents=True)
        link.symlink_to(path.resolve())
    train, val, _ = opened("data", "val", None)
    assert (len(train), len(val)) == (6, 3)


def test_no_class_loses_all_training_images(root: Path) -> None:
    draw(Path("data"), 9)
    rows = [f"{path.relative_to('data')},bee" for path in sorted(Path("data/bee").iterdir())]
    Path("data/val.csv").write_text("\n".join(["path,label", *rows]) + "\n")
    with pytest.raises(UsageError, match="leaves no training images of 1 of 3 classes: bee"):
        opened("data", "data/val.csv", None)


def test_images_that_are_excluded_from_validation_may_train(root: Path) -> None:
    draw(Path("data"), 9)
    rows = ["ant/0000.png,ant", "bee/0001.png,bee"]
    Path("data/val.csv").write_text("\n".join(["path,label", *rows]) + "\n")
    Path("list.txt").write_text("ant/0000.png\n")
    train, val, _ = open_for_training("data", "data/val.csv", None, exclude="list.txt")
    assert (len(train), len(val)) == (8, 1)


@pytest.mark.parametrize(
    ("data", "val_data"),
    [("data", "data"), ("all.csv", "data"), ("shards", "shards/*.tar"), ("data", "all.csv")],
)
def test_nothing_trains_and_validates(root: Path, data: str, val_data: str) -> None:
    draw(Path("data"), 9)
    shard(Path("data"), "shards/part-%d.tar")
    lines = [f"{path},{path.parent.name}" for path in sorted(Path("data").rglob("*.png"))]
    Path("all.csv").write_text("\n".join(["path,label", *lines]) + "\n")
    with pytest.raises(UsageError, match="has all training images of"):
        opened(data, val_data, None)


def test_two_folders_for_one_split_are_refused(root: Path) -> None:
    make("train", "val", "valid")
    with pytest.raises(UsageError, match="data: val/ and valid/ are both the val images"):
        open_for_training("data", None, None)


def test_a_test_split_is_left_out_and_said_in_one_line(root: Path, notices: list[str]) -> None:
    make("train", "valid", "test", "backup")
    train, val, classes = open_for_training("data", None, None)
    assert classes == CLASSES
    assert (len(train), len(val)) == (9, 9)
    assert notices == [
        "data: backup/ and test/ left out of training and validation; `inceptcli eval RUN --split "
        "test` measures test images"
    ]
    assert train.name(0) == "data/train/ant/0000.png"
    assert val.name(0) == "data/valid/ant/0000.png"


def test_a_split_that_validates_is_not_left_out(root: Path, notices: list[str]) -> None:
    make("train", "test")
    _, val, _ = open_for_training("data", "data/test", None)
    assert (val.name(0), notices) == ("data/test/ant/0000.png", [])


@pytest.mark.parametrize(
    ("names", "fraction", "said"),
    [
        (["train", "test"], None, "train and test images but none to validate on; give --val-frac"),
        (["train"], None, "has train images but none to validate on; give --val-fraction 0.1"),
        (["val", "test"], 0.1, "nothing to train on, only val and test"),
        (["train", "valid"], 0.1, "--val-fraction 0.1: data already has validation images"),
    ],
)
@pytest.mark.parametrize("form", ["folders", "shards"])
def test_what_does_not_say_what_trains_and_validates_is_refused(
    root: Path, names: list[str], fraction: float | None, said: str, form: str
) -> None:
    make(*names)
    if form == "shards":
        for name in names:
            shard(Path("data", name), f"shards/{name}-%d.tar")
        Path("data").rename("folders")
        Path("shards").rename("data")
    with pytest.raises(UsageError, match=said):
        open_for_training("data", None, fraction)


def test_a_fraction_beside_other_validation_data_is_refused(root: Path) -> None:
    make("train", "test")
    with pytest.raises(UsageError, match="--val-data data/test already selects"):
        open_for_training("data/train", "data/test", 0.1)


def test_a_fraction_splits_train_where_there_is_a_test_split(root: Path) -> None:
    make("train", "test")
    train, val, _ = open_for_training("data", None, 0.3)
    names = {source.name(index) for source in (train, val) for index in range(len(source))}
    assert len(names) == len(train) + len(val) == 9
    assert all(name.startswith("data/train/") for name in names)


def test_shards_have_the_splits_of_their_folder(root: Path, notices: list[str]) -> None:
    make("train", "valid", "test")
    shard(Path("data"), "shards")
    assert {path.name.split("-")[0] for path in Path("shards").glob("*.tar")} == {
        "train", "val", "test"
    }  # fmt: skip
    train, val, _ = open_for_training("shards", None, None)
    expected = open_for_training("data", None, None)
    assert (len(train), len(val)) == (len(expected[0]), len(expected[1]))
    line, _ = notices
    assert line.startswith("shards: test-000000.tar/, ")
    for split in NAMES:
        ours, which, _ = open_split("shards", CLASSES, split)
        theirs, _, _ = open_split("data", CLASSES, split)
        assert which == split
        assert (ours.image(0) == theirs.image(0)).all()


def test_the_splits_of_shards_may_be_folders_of_any_name(root: Path) -> None:
    make("train", "valid", "test")
    for name in ("train", "validation", "test"):
        shard(Path("data", name.replace("idation", "id")), f"shards/{name}/%d.tar")
    train, val, _ = open_for_training("shards", None, None)
    assert (len(train), len(val)) == (9, 9)
    assert train.name(0).startswith("shards/train/")
    assert val.name(0).startswith("shards/validation/")


def test_a_run_beside_shards_is_no_class_folder(root: Path) -> None:
    make("train", "val")
    shard(Path("data"), "shards")
    for name in ("recipe.yaml", "train.log"):
        Path("shards/runs/a").mkdir(parents=True, exist_ok=True)
        Path("shards/runs/a", name).touch()
    assert len(open_for_training("shards", None, None)[0]) == 9


def test_evaluation_takes_the_split_that_is_named(root: Path) -> None:
    make("train", "valid", "test")
    places: list[tuple[Measured, str]]
    places = [("train", "train"), ("val", "valid"), ("test", "test")]
    for split, folder in places:
        source, which, _ = open_split("data", CLASSES, split)
        assert (source.name(0), which) == (f"data/{folder}/ant/0000.png", split)
    assert open_split("data", CLASSES)[1] == "val"
    assert open_split("data/test", CLASSES)[1] == "test"
    assert open_split("data/test", CLASSES, "all")[1] == "all"
    wrong: list[tuple[str, Measured, str]]
    wrong = [
        ("data", "all", "--split all: data has train and val and test; give --split train or val"),
        ("data/test", "val", "--split val: data/test has test; give --split test"),
    ]
    for data, split, said in wrong:
        with pytest.raises(UsageError, match=said):
            open_split(data, CLASSES, split)


def test_evaluation_does_not_guess_between_train_and_test(root: Path) -> None:
    make("train", "test")
    with pytest.raises(UsageError, match="--split val: data has train and test; give --split tr"):
        open_split("data", CLASSES)
    for name in ("train", "test"):
        shard(Path("data", name), f"shards/{name}-%d.tar")
    with pytest.raises(UsageError, match="shards has train and test; give --split train or test"):
        open_split("shards", CLASSES)
    assert open_split("shards/test-*.tar", CLASSES)[1] == "test"


def test_classes_that_were_trained_are_no_splits(root: Path) -> None:
    make("train", "test")
    source, which, _ = open_split("data", ["test", "train"])
    assert (len(source), which) == (18, "all")


@pytest.mark.parametrize("data", ["plain", "shards"])
def test_the_fraction_of_a_run_gives_its_own_two_parts(
    root: Path, data: str, notices: list[str]
) -> None:
    draw(Path("plain"), 30)
    shard(Path("plain"), "shards/part-%d.tar", 6)
    train, val, _ = open_for_training(data, None, 0.3)
    parts: list[tuple[Measured | None, ImageSource]]
    parts = [(None, val), ("val", val), ("train", train)]
    for split, part in parts:
        found, which, _ = open_split(data, CLASSES, split, TrainedOn(data, None, 0.3))
        assert [found.name(i) for i in range(len(found))] == [
            part.name(i) for i in range(len(part))
        ]
        assert which == (split or "val")
    (line,) = notices
    assert line.startswith(f"{data}: {len(val)} of 30 images, the run's valid")
    whole, which, _ = open_split(data, CLASSES, "all", TrainedOn(data, None, 0.3))
    assert (len(whole), which) == (30, "all")


def test_a_run_knows_its_data_as_shards_and_from_another_folder(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw(Path("data"), 30, side=40)
    shard(Path("data"), "shards/part-%d.tar")
    train, val, classes = open_for_training("data", None, 0.3)
    record = root / "data.jsonl.gz"
    DataIdentity(classes, train, val).write(record)
    trained = TrainedOn("data", None, 0.3, record=RecordedImages(record))
    (root / "elsewhere").mkdir()
    draw(Path("elsewhere/data"), 12, first=100)  # other images, at the path that the run recorded
    monkeypatch.chdir("elsewhere")
    for data in ("../data", str(root / "data"), "../shards"):
        found = open_split(data, CLASSES, None, trained)
        assert (len(found.source), found.split) == (len(val), "val")
    draw(Path("new"), 12, first=200)
    for path in sorted(Path("new").rglob("*.png")):
        path.rename(path.with_name(f"new-{path.name}"))
    assert open_split("new", CLASSES, None, trained)[1:] == ("all", None)


def test_check_knows_splits_and_what_the_program_wrote(root: Path, notices: list[str]) -> None:
    make("train", "valid", "test")
    draw(Path("data/test/dog"), 1)
    Path("data/train/runs/a").mkdir(parents=True)
    Path("data/train/runs/a/lock").touch()
    report = check_dataset("data", 1, lambda done, total: None)
    assert report.splits == ("train", "val", "test")
    assert [entry.name for entry in report.classes] == [*CLASSES, "dog"]
    assert report.one_split_only == [("test", "dog")]
    assert not report.clean
    assert len(notices) == 1


def test_unlabeled_images_of_a_list_validate_where_the_run_allowed_them(root: Path) -> None:
    draw(Path("data"), 3)
    Path("data/val.csv").write_text("path,labels\nant/0000.png,ant\nbee/0001.png,\n")
    trained = TrainedOn("data", "data/val.csv", allow_unlabeled=True)
    assert validation_places(trained) == [Path("data/ant/0000.png"), Path("data/bee/0001.png")]
