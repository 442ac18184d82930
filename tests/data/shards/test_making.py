"""Class folders to shards: what lies where, and outputs that cannot be."""

from __future__ import annotations

import gc
import hashlib
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest

from inceptcli.data.open_data import open_for_training
from inceptcli.errors import UsageError, UserError
from inceptcli.files.file_lock import lock
from tests.data.class_folders import CLASSES, contents, shard


def test_a_sample_is_the_file_as_it_is_and_its_label(folder: Path, tmp_path: Path) -> None:
    made = shard(folder, tmp_path / "out")
    assert made.classes == CLASSES
    assert json.loads((tmp_path / "out/classes.json").read_text()) == list(CLASSES)
    assert [entry.images for entry in made.shards] == [4, 4, 4, 4, 4, 3, 4, 3]
    files = sorted((folder / "train").rglob("*.png"))
    found: dict[str, bytes] = {}
    for entry in made.shards[:6]:
        with tarfile.open(entry.path) as archive:
            found |= {name: archive.extractfile(name).read() for name in archive.getnames()}  # type: ignore[union-attr]
        assert hashlib.sha256(entry.path.read_bytes()).hexdigest() == entry.sha256
        assert entry.path.stat().st_size == entry.bytes
    assert len(found) == 46
    for position, path in enumerate(files):
        assert found[f"{position:08}.png"] == path.read_bytes()
        assert CLASSES[int(found[f"{position:08}.cls"])] == path.parent.name


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_webdataset_library_reads_them(folder: Path, tmp_path: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    made = shard(folder, tmp_path / "out")
    pattern = str(tmp_path / "out/train-{000000..000005}.tar")
    read = list(webdataset.WebDataset(pattern, shardshuffle=False))
    gc.collect()  # it leaves closing its last file to chance
    assert len(read) == 23
    files = sorted((folder / "train").rglob("*.png"))
    for sample in read:
        path = files[int(sample["__key__"])]
        assert sample["png"] == path.read_bytes()
        assert made.classes[int(sample["cls"])] == path.parent.name


def test_shards_have_the_order_of_the_folder_however_they_were_cut(
    folder: Path, tmp_path: Path
) -> None:
    plain = open_for_training(str(folder), None, None)
    for number, (count, seed) in enumerate(((4, 0), (1, 7), (1000, 0))):
        shard(folder, tmp_path / str(number), count=count, seed=seed)
        opened = open_for_training(str(tmp_path / str(number)), None, None)
        assert opened[2] == plain[2]
        for ours, theirs in zip(opened[:2], plain[:2], strict=True):
            assert len(ours) == len(theirs)
            for index in range(len(ours)):
                assert np.array_equal(ours.image(index), theirs.image(index))
                assert ours.label(index) == theirs.label(index)


def test_training_images_are_shuffled_by_the_seed_and_those_of_val_are_not(
    folder: Path, tmp_path: Path
) -> None:
    def order(output: str, seed: int, split: str) -> list[str]:
        shard(folder, tmp_path / output, seed=seed, count=100)
        with tarfile.open(tmp_path / output / f"{split}-000000.tar") as archive:
            return archive.getnames()[::2]

    assert order("a", 0, "train") != order("b", 1, "train")
    assert order("a", 0, "train") != sorted(order("a", 0, "train"))
    assert order("a", 0, "val") == sorted(order("a", 0, "val"))


def test_neither_workers_nor_the_time_change_a_byte(folder: Path, tmp_path: Path) -> None:
    shard(folder, tmp_path / "one")
    shard(folder, tmp_path / "two", workers=2)
    one, two = contents(tmp_path / "one"), contents(tmp_path / "two")
    assert one == two
    assert len(one) == 17


def test_no_shard_is_larger_than_it_may_be_unless_one_image_is(
    folder: Path, tmp_path: Path
) -> None:
    made = shard(folder, tmp_path / "out", size=20_480, count=None)
    assert all(entry.bytes <= 20_480 for entry in made.shards)
    assert max(entry.images for entry in made.shards) > 3
    made = shard(folder, tmp_path / "small", size=1, count=None)
    assert all(entry.images == 1 for entry in made.shards)


@pytest.mark.parametrize(
    ("root", "output", "said"),
    [
        ("data", "out/train-%06d.tar", "has train/ and val/, so give a folder"),
        ("data/train", "out/train.tar", "must be a folder or a pattern such as"),
        ("data/train", "out/%s-%06d.tar", "must be a folder or a pattern"),
        ("data/train", "out-%d/0.tar", "must be a folder or a pattern"),
        ("data", "data/shards", "must lie outside data"),
        ("missing", "out", "missing: no such folder"),
        ("data", "taken", r"train-000099\.tar: not one of the 6 shards"),
        ("data", "others", r"classes\.json: lists different classes than the 3 here"),
        ("data", "deep", r"classes\.json: lists different classes than the 3 here"),
    ],
)
def test_outputs_that_cannot_be_are_named(
    root: str, output: str, said: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.parent)
    files = {
        "taken/train-000099.tar": "",
        "others/classes.json": '["a", "b"]',
        "deep/classes.json": "[" * 200_000,
    }
    for name, text in files.items():
        Path(name).parent.mkdir()
        Path(name).write_text(text)
    with pytest.raises(UsageError, match=said):
        shard(Path(root), output)


def test_a_pattern_and_the_name_of_a_folder_say_what_shards_are_called(
    folder: Path, tmp_path: Path
) -> None:
    shard(folder / "train", tmp_path / "a/train-%03d.tar", count=12)
    shard(folder / "val", tmp_path / "a/val-%03d.tar", count=12)
    assert sorted(path.name for path in (tmp_path / "a").glob("*.tar")) == [
        "train-000.tar", "train-001.tar", "val-000.tar"
    ]  # fmt: skip
    made = shard(folder / "val", tmp_path / "b", count=12)
    assert [entry.path.name for entry in made.shards] == ["val-000000.tar"]


def test_shards_that_another_process_writes_are_left_alone(folder: Path, tmp_path: Path) -> None:
    shard(folder, tmp_path / "out")
    before = contents(tmp_path / "out")
    with (tmp_path / "out/.val-000000.tar.lock").open("w") as file:
        lock(file)
        with pytest.raises(UsageError, match=r"val-000000\.tar: another process is writing it"):
            shard(folder, tmp_path / "out", seed=1)
        shard(folder / "train", tmp_path / "out/more-%06d.tar")
    after = contents(tmp_path / "out")
    assert {name: after[name] for name in before} == before


def test_a_folder_that_cannot_be_written_is_named(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"train-000000\.tar: cannot be written: Not a directory"):
        shard(folder, tmp_path / "file" / "out")
