"""Class folders to shards: what lies where, stops, changes, and what cannot be read."""

from __future__ import annotations

import gc
import hashlib
import json
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest

from inceptcli.data import shard_writer
from inceptcli.data.decode import decode
from inceptcli.data.open_data import open_for_training
from inceptcli.data.sharding import Sharded, shard_folder
from inceptcli.errors import UsageError, UserError
from tests.data.class_folders import CLASSES, draw


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    draw(tmp_path / "data/train", 23)
    draw(tmp_path / "data/val", 7, first=100)
    return tmp_path / "data"


def shard(root: Path, output: Path | str, size: int = 10**9, count: int | None = 4, seed: int = 0, workers: int = 1) -> Sharded:  # fmt: skip  # noqa: E501
    return shard_folder(root, str(output), size, count, seed, workers, lambda done, total: None)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


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


def test_a_stopped_run_goes_on_and_writes_no_finished_shard_again(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard(folder, tmp_path / "whole")
    output = tmp_path / "out"
    original = shard_writer._read_back
    with monkeypatch.context() as patch:
        calls: list[Path] = []

        def die_in_the_third(path: Path, *arguments: object) -> object:
            calls.append(path)
            if len(calls) == 3:
                (output / ".train-000002.tar.dead.partial").write_bytes(path.read_bytes())
                raise KeyboardInterrupt
            return original(path, *arguments)  # type: ignore[arg-type]

        patch.setattr(shard_writer, "_read_back", die_in_the_third)
        with pytest.raises(KeyboardInterrupt):
            shard(folder, output)
    assert {path.name for path in output.glob("*.tar")} == {"train-000000.tar", "train-000001.tar"}
    # One that was renamed and has no index yet is not finished.
    (output / "train-000001.tar.json").unlink()
    before = {path.name: path.stat().st_ino for path in output.iterdir()}
    shard(folder, output)
    after = {path.name: path.stat().st_ino for path in output.iterdir()}
    assert after["train-000000.tar"] == before["train-000000.tar"]
    assert after["train-000001.tar"] != before["train-000001.tar"]
    assert contents(output) == contents(tmp_path / "whole")


@pytest.mark.parametrize("change", ["content", "time", "cut", "options"])
def test_a_shard_of_other_files_is_written_again(change: str, folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    shard(folder, output, count=100)
    first = folder / "train/ant/0000.png"
    if change == "content":
        draw(folder / "train", 1, first=50)
        os.utime(first, ns=(1, 1))
    elif change == "time":
        os.utime(first, ns=(1, 1))
    elif change == "cut":
        path = output / "train-000000.tar"
        path.write_bytes(path.read_bytes()[:-10_240])
    shard(folder, output, count=100, seed=1 if change == "options" else 0)
    expected = tmp_path / "expected"
    shard(folder, expected, count=100, seed=1 if change == "options" else 0)
    assert contents(output) == contents(expected)
    train, _, _ = open_for_training(str(output), None, None)
    assert np.array_equal(train.image(0), decode(first))


def test_unreadable_images_are_left_out_and_named_each_time(folder: Path, tmp_path: Path) -> None:
    (folder / "train/ant/0003.png").write_text("<html>")
    (folder / "train/bee/gone.jpg").symlink_to(tmp_path / "nowhere")
    for _ in range(2):
        made = shard(folder, tmp_path / "out")
        assert sum(entry.images for entry in made.shards) == 29
        reasons = {Path(path).name: reason for path, reason in made.left_out}
        assert reasons["0003.png"].startswith("not an image")
        assert reasons["gone.jpg"] == "No such file or directory"
        assert {path for path, _ in made.left_out} == {
            str(folder / "train/ant/0003.png"), str(folder / "train/bee/gone.jpg")
        }  # fmt: skip


def test_what_does_not_read_back_is_not_kept(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = tarfile.TarFile.addfile

    def addfile(self: tarfile.TarFile, member: tarfile.TarInfo, file: object = None) -> None:
        if member.name == "00000005.png":
            member.name = "00000005.txt"
        original(self, member, file)  # type: ignore[arg-type]

    monkeypatch.setattr(tarfile.TarFile, "addfile", addfile)
    with pytest.raises(UserError, match="does not read back as it was written"):
        shard(folder, tmp_path / "out", count=100)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["classes.json"]


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
        ("data", "others", r"classes\.json: lists other classes than the 3 here"),
    ],
)
def test_outputs_that_cannot_be_are_named(
    root: str, output: str, said: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.parent)
    for name, text in (("taken/train-000099.tar", ""), ("others/classes.json", '["a", "b"]')):
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


def test_a_folder_that_cannot_be_written_is_named(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"classes\.json: cannot be written: Not a directory"):
        shard(folder, tmp_path / "file" / "out")
