"""What `--data` opens: folders and shards give the same images under the same labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from inceptcli.data.open_data import open_for_evaluation, open_for_training
from inceptcli.data.sources import ImageSource
from inceptcli.errors import UsageError, UserError
from tests.data.class_folders import CLASSES, draw, pack, samples, shard


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with its shards beside it, and the training part of either alone."""
    monkeypatch.chdir(tmp_path)
    draw(Path("data/train"), 40)
    draw(Path("data/val"), 7, first=100)
    shard(Path("data"), "shards", 6)
    shard(Path("data/train"), "alone/part-%d.tar", 6)
    return tmp_path


def same(ours: ImageSource, theirs: ImageSource) -> bool:
    return len(ours) == len(theirs) and all(
        np.array_equal(ours.image(index), theirs.image(index))
        and ours.label(index) == theirs.label(index)
        for index in range(len(ours))
    )


@pytest.mark.parametrize(
    ("data", "val_data"),
    [
        ("shards", None),
        ("shards/*.tar", None),
        ("shards/{train,val}-*.tar", None),
        ("shards/{train-{000000..000006},val-{000000..000001}}.tar", None),
        ("shards/train-*.tar", "shards/val-*.tar"),
        ("shards/train-*.tar", "shards"),
        ("shards", "data"),
        ("data", "shards"),
        ("data/train", "data/val"),
    ],
)
def test_every_way_to_say_it_opens_the_same(root: Path, data: str, val_data: str | None) -> None:
    expected = open_for_training("data", None, None)
    found = open_for_training(data, val_data, None)
    assert found[2] == expected[2] == CLASSES
    assert same(found[0], expected[0])
    assert same(found[1], expected[1])


def test_a_split_by_content_is_that_of_the_folder(root: Path) -> None:
    train, val, _ = open_for_training("alone", None, 0.3)
    expected = open_for_training("data/train", None, 0.3)
    assert 4 < len(val) < 20
    assert same(train, expected[0])
    assert same(val, expected[1])


def test_the_tiniest_fraction_leaves_an_image_of_each_class(root: Path) -> None:
    _, val, _ = open_for_training("alone", None, 1e-9)
    assert sorted(val.label(index) for index in range(len(val))) == [0, 1, 2]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("alone", "no validation images; give a folder with train/ and val/"),
        ("shards/val-*.tar", "nothing to train on, only val"),
        ("shards/train-{000000..000099}.tar", "no such file"),
        ("pipe:cat shards/train-000000.tar", "no command is run"),
        ("missing", "no such folder"),
    ],
)
def test_data_that_cannot_be_trained_on_is_named(root: Path, data: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        open_for_training(data, None, None)


def test_evaluation_takes_val_and_matches_classes_by_name(root: Path) -> None:
    classes = ["cat", "yak", "ant", "bee"]
    expected = open_for_evaluation("data", classes)
    for data in ("shards", "shards/val-*.tar", "shards/*.tar"):
        assert same(open_for_evaluation(data, classes), expected)
    assert len(open_for_evaluation("shards/train-*.tar", classes)) == 40


def test_shards_of_another_data_set_are_refused(root: Path) -> None:
    with pytest.raises(UserError, match=r"class ant is not one of the 2 .* of the same classes"):
        open_for_evaluation("shards", ["cat", "bee"])


def test_val_shards_may_list_their_classes_in_another_order(root: Path) -> None:
    pack(Path("mixed/train/0.tar"), samples(6))
    pack(Path("mixed/val/0.tar"), samples(3))
    Path("mixed/val/classes.txt").write_text("cat\nbee\nant\n")
    train, val, classes = open_for_training("mixed", None, None)
    assert classes == CLASSES
    assert [train.label(index) for index in range(3)] == [0, 1, 2]
    assert [val.label(index) for index in range(3)] == [2, 1, 0]
    Path("mixed/val/classes.txt").write_text("cat\nbee\nyak\n")
    with pytest.raises(UserError, match="its class yak is not one of the 3 trained classes"):
        open_for_training("mixed", None, None)
