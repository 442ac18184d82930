"""A shard is there whole or not at all: stops, changes, and what cannot be read."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import numpy as np
import pytest

from inceptcli.data.check import check_dataset
from inceptcli.data.left_out import LeftOut
from inceptcli.data.open_data import open_for_training
from inceptcli.data.pixels.decode import UnreadableImage, decode
from inceptcli.data.shards import writer
from inceptcli.data.shards.source import ShardSource, TarImage, images_in
from inceptcli.errors import UserError
from inceptcli.files.atomic_file import replacing
from tests.data.class_folders import contents, draw, shard


def test_a_stopped_run_goes_on_and_writes_no_finished_shard_again(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard(folder, tmp_path / "whole")
    output = tmp_path / "out"
    original = writer._read_back
    with monkeypatch.context() as patch:
        calls: list[Path] = []

        def die_in_the_third(path: Path, *arguments: object) -> object:
            calls.append(path)
            if len(calls) == 3:
                (output / ".train-000002.tar.0badcafe.partial").write_bytes(path.read_bytes())
                raise KeyboardInterrupt
            return original(path, *arguments)  # type: ignore[arg-type]

        patch.setattr(writer, "_read_back", die_in_the_third)
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


def test_an_image_that_can_be_read_now_is_not_left_out_again(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = shard(folder, tmp_path / "whole").shards
    lacking = sorted(folder.rglob("*.png"))[0]

    def without_the_extra(path: Path) -> object:
        if path.name == lacking.name and path.parent.name == lacking.parent.name:
            raise UnreadableImage("HEIC needs pillow-heif")
        return decode(path)

    output = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(writer, "decode", without_the_extra)
        assert sum(each.images for each in shard(folder, output).shards) < sum(
            each.images for each in whole
        )
        kept = contents(output)
        shard(folder, output)
        assert contents(output) == kept
    shard(folder, output)
    assert contents(output) == contents(tmp_path / "whole")


def test_no_shard_ever_lies_beside_the_index_of_another(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "out"
    shard(folder, output, count=100)

    def die_before_the_index(path: Path) -> object:
        if path.suffix == ".json":
            raise KeyboardInterrupt
        return replacing(path)

    monkeypatch.setattr(writer, "replacing", die_before_the_index)
    with pytest.raises(KeyboardInterrupt):
        shard(folder, output, count=100, seed=1)  # as many bytes in another order
    assert (output / "train-000000.tar").is_file()
    assert not (output / "train-000000.tar.json").exists()
    train, _, _ = open_for_training(str(output), None, None)
    assert len(train) == 23


def test_a_shard_that_was_cut_keeps_its_length_and_says_what_is_gone(
    folder: Path, tmp_path: Path
) -> None:
    made = shard(folder, tmp_path / "out", count=100)
    whole, _, _ = open_for_training(str(tmp_path / "out"), None, None)
    assert isinstance(whole, ShardSource)
    last = int(whole.offsets.argmax())
    path, size = made.shards[0].path, int(whole.sizes[last])
    for bytes_left in (size - 1, 0):
        with path.open("r+b") as file:
            file.truncate(int(whole.offsets[last]) + bytes_left)
        cut, _, _ = open_for_training(str(tmp_path / "out"), None, None)
        assert len(cut) == len(whole)
        with pytest.raises(UnreadableImage, match=f"ends after {bytes_left} of its {size} bytes"):
            cut.image(last)
        for index in set(range(len(cut))) - {last}:
            assert np.array_equal(cut.image(index), whole.image(index))


@pytest.mark.parametrize("change", ["label", "name", "size"])
def test_a_sample_that_is_not_as_in_the_index_cannot_be_read(
    change: str, folder: Path, tmp_path: Path
) -> None:
    shard(folder, tmp_path / "out", count=100)
    whole, _, _ = open_for_training(str(tmp_path / "out"), None, None)
    assert isinstance(whole, ShardSource)
    offset, size = int(whole.offsets[5]), int(whole.sizes[5])
    at, new = {
        "label": (offset + size + -size % 512 + 512, b"1"),
        "name": (offset - 512, b"1"),
        "size": (offset - 512 + 124, b"%011o" % (size - 1)),
    }[change]
    path = tmp_path / "out/train-000000.tar"
    with path.open("r+b") as file:
        file.seek(at)
        file.write(new)
    said = r"not as in train-000000\.tar\.json; delete that file if the tar file was changed"
    with pytest.raises(UnreadableImage, match=said):
        whole.image(5)
    assert np.array_equal(whole.image(4), decode(whole.content(4)))
    bad = [image.name for image in images_in(path, LeftOut()) if not can_be_read(image)]
    assert bad == [] if change == "label" else [whole.name(5)]
    report = check_dataset(str(tmp_path / "out"), 1, lambda done, total: None)
    assert [(str(entry.path), entry.text[:9]) for entry in report.unreadable] == [
        (whole.name(5), "not as in")
    ]


def can_be_read(image: TarImage) -> bool:
    try:
        return bool(image.content())
    except UnreadableImage:
        return False


@pytest.mark.parametrize("change", ["content", "time", "cut", "label", "options"])
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
    elif change == "label":
        path = output / "train-000000.tar"
        content = bytearray(path.read_bytes())
        content[content.index(b".cls") - 8 + 512] = ord("9")
        path.write_bytes(content)
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


def test_a_name_in_which_a_long_text_follows_a_dot_is_no_suffix(
    folder: Path, tmp_path: Path
) -> None:
    image = folder / "train/ant/0000.png"
    image.rename(folder / f"train/ant/Photo of a cat. {'w' * 120}")
    shard(folder, tmp_path / "out", count=100)
    with tarfile.open(tmp_path / "out/train-000000.tar") as archive:
        assert {Path(name).suffix for name in archive.getnames()} == {".png", ".cls"}


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
