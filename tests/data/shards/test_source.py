"""Samples in tar files: found, read where they lie, and what is broken among them."""

from __future__ import annotations

import io
import json
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from inceptcli.data.pixels.decode import UnreadableImage, decode
from inceptcli.data.shards import source as source_module
from inceptcli.data.shards.source import ShardSource, open_shards
from inceptcli.errors import UserError
from tests.data.class_folders import CLASSES, pack, png, samples


def names(source: ShardSource) -> list[str]:
    return [Path(source.name(index)).name for index in range(len(source))]


def problems(source: ShardSource) -> dict[str, str]:
    found = {}
    for index in range(len(source)):
        try:
            source.image(index)
        except UnreadableImage as error:
            found[source.name(index)] = str(error)
    return found


def test_samples_are_read_where_they_lie(tmp_path: Path) -> None:
    shards = [pack(tmp_path / "0.tar", samples(4)), pack(tmp_path / "1.tar", samples(3, 4))]
    source = open_shards(shards, CLASSES)
    assert len(source) == 7
    assert [source.label(index) for index in range(7)] == [0, 1, 2, 0, 1, 2, 0]
    assert source.name(5) == f"{shards[1]}/0005.png"
    for index in (6, 0, 3, 5):
        assert np.array_equal(source.image(index), decode(png(index)))


def test_names_of_a_shard_are_split_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[bytes] = []

    class Names(bytes):
        def split(self, *arguments: Any) -> list[bytes]:
            calls.append(self)
            return super().split(*arguments)

    def counted(names: bytes) -> NDArray[np.int64]:
        calls.append(names)
        return nuls_around(names)

    nuls_around = source_module._nuls_around
    monkeypatch.setattr(source_module, "_nuls_around", counted)
    shards = [pack(tmp_path / "0.tar", samples(5)), pack(tmp_path / "1.tar", samples(4, 5))]
    source = open_shards(shards, CLASSES)
    source = replace(source, members=tuple(map(Names, source.members)))
    assert names(source) == [f"{number:04}.png" for number in range(9)]
    assert len(calls) <= len(shards)


def test_shards_of_the_webdataset_library_are_read(tmp_path: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    pattern = str(tmp_path / "train-%06d.tar")
    with webdataset.ShardWriter(pattern, maxcount=3, verbose=0) as writer:
        for number in range(8):
            writer.write(
                {"__key__": f"n{number}/x", "cls": number % 3, "jpg": png(number), "json": {"a": 1}}
            )
    source = open_shards(sorted(tmp_path.glob("*.tar")), CLASSES)
    assert [source.label(index) for index in range(len(source))] == [0, 1, 2, 0, 1, 2, 0, 1]
    assert np.array_equal(source.image(7), decode(png(7)))
    assert source.name(7) == f"{tmp_path}/train-000002.tar/n7/x.jpg"


def test_labels_are_in_cls_or_json(tmp_path: Path) -> None:
    members = [
        ("a.json", b'{"label": 2}'), ("a.JPG", png(0)),
        ("b.json", b'{"label": "bee"}'), ("b.png", png(1)),
        ("c.png", png(2)), ("c.seg.png", png(3)), ("c.cls", b" 0\n"), ("c.json", b'{"label": 9}'),
    ]  # fmt: skip
    source = open_shards([pack(tmp_path / "0.tar", members)], CLASSES)
    assert names(source) == ["a.JPG", "b.png", "c.png"]
    assert source.labels.tolist() == [2, 1, 0]


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ([("x.png", b"<html>"), ("x.cls", b"1")], "not an image of a known format"),
        ([("x.png", b""), ("x.cls", b"1")], "empty file"),
        ([("x.png", png(9))], "neither .cls nor .json"),
        ([("x.cls", b"1"), ("x.txt", b"hello")], "without an image"),
        (
            [("x.png", png(9)), ("x.cls", b"bee")],
            "its .cls must be a number of at least 0, got b'bee'",
        ),
        ([("x.png", png(9)), ("x.cls", b"-1")], "its .cls must be a number"),
        ([("x.png", png(9)), ("x.json", b"[")], "its .json must have a label"),
        ([("x.png", png(9)), ("x.json", b"[1]")], "its .json must have a label"),
        ([("x.png", png(9)), ("x.json", b'{"label": 1.5}')], "must be a class, got '1.5'"),
        ([("x.png", png(9)), ("x.json", b'{"label": "yak"}')], "must be a class, got 'yak'"),
    ],
)
def test_a_broken_sample_is_one_that_cannot_be_read(
    members: list[tuple[str, bytes]], said: str, tmp_path: Path
) -> None:
    shard = pack(tmp_path / "0.tar", [*samples(2), *members, *samples(2, 2)])
    source = open_shards([shard], CLASSES)
    assert len(source) == 5
    ((name, reason),) = problems(source).items()
    assert name == f"{shard}/{members[0][0]}"
    assert said in reason
    assert [source.label(index) for index in (0, 1, 3, 4)] == [0, 1, 2, 0]


def test_a_label_that_the_list_lacks_is_refused(tmp_path: Path) -> None:
    shard = pack(tmp_path / "0.tar", [("x.png", png(0)), ("x.cls", b"3")])
    with pytest.raises(UserError, match=r"label 3, but the list of classes .* has 3"):
        open_shards([shard], CLASSES)


def test_links_folders_and_devices_are_no_samples_and_nothing_is_extracted(tmp_path: Path) -> None:
    shard = tmp_path / "inner" / "0.tar"
    pack(shard, samples(1))
    with tarfile.open(shard, "a") as archive:
        for name, kind in (("l.png", tarfile.SYMTYPE), ("h.png", tarfile.LNKTYPE),
                           ("d.png", tarfile.DIRTYPE), ("c.png", tarfile.CHRTYPE)):  # fmt: skip
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            archive.addfile(member)
        for name in ("../../up", "/tmp/root"):
            for suffix, content in ((".png", png(1)), (".cls", b"1")):
                member = tarfile.TarInfo(name + suffix)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    before = sorted(tmp_path.rglob("*"))
    source = open_shards([shard], CLASSES)
    assert problems(source) == {
        f"{shard}/{name}.png": "a link to /etc/passwd in the tar file; write it with tar -h "
        "--hard-dereference"
        for name in ("l", "h")
    }
    source = source.where(np.array([0, 3, 4]))
    assert source.name(1) == f"{shard}/../../up.png"
    assert problems(source) == {}
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("cut", range(1, 9 * 512, 300))
def test_a_truncated_shard_gives_what_is_whole_and_names_the_rest(cut: int, tmp_path: Path) -> None:
    whole = pack(tmp_path / "0.tar", samples(5))
    third = int(open_shards([whole], CLASSES).offsets[2]) - 512
    whole.write_bytes(whole.read_bytes()[: third + cut])
    other = pack(tmp_path / "1.tar", samples(2, 5))
    source = open_shards([whole, other], CLASSES)
    found = problems(source)
    assert {f"{whole}/000{number}.png" for number in (0, 1)}.isdisjoint(found)
    assert names(source)[:2] == ["0000.png", "0001.png"]
    assert names(source)[-3:] == ["0.tar", "0005.png", "0006.png"]
    assert "ends early" in found.pop(str(whole))
    assert len(found) <= 1  # the sample that the cut goes through


def test_garbage_after_samples_is_named(tmp_path: Path) -> None:
    shard = pack(tmp_path / "0.tar", samples(3))
    content = bytearray(shard.read_bytes())
    start = int(open_shards([shard], CLASSES).offsets[1]) - 512
    content[start : start + 512] = b"\xff" * 512
    shard.write_bytes(content)
    source = open_shards([shard], CLASSES)
    assert names(source) == ["0000.png", "0.tar"]
    assert problems(source)[str(shard)] == f"no tar header at byte {start}; what follows is lost"


def test_a_negative_size_ends_a_shard(tmp_path: Path) -> None:
    shard = pack(tmp_path / "0.tar", samples(2))
    content = bytearray(shard.read_bytes())
    start = int(open_shards([shard], CLASSES).offsets[1]) - 512
    header = content[start : start + 512]
    header[124:136] = b"\xff" * 11 + b"\x00"
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    content[start : start + 512] = header
    shard.write_bytes(content)
    assert names(open_shards([shard], CLASSES)) == ["0000.png", "0.tar"]


def test_shards_without_any_image_are_refused(tmp_path: Path) -> None:
    shard = pack(tmp_path / "0.tar", samples(1))
    for content in (b"", b"<html>", b"\0" * 10_240):
        shard.write_bytes(content)
        with pytest.raises(UserError, match=r"0\.tar: no image in the shards"):
            open_shards([shard], CLASSES)


def test_classes_are_matched_by_name(tmp_path: Path) -> None:
    source = open_shards([pack(tmp_path / "0.tar", samples(3))], CLASSES)
    matched = source.labeled_for(["cat", "yak", "bee", "ant"])
    assert [matched.label(index) for index in range(3)] == [3, 2, 0]
    with pytest.raises(UserError, match=r"its class bee is not one of the 2 .*\(1 of 3 unknown\)"):
        source.labeled_for(["cat", "ant"])


def test_an_index_of_another_shard_is_not_believed(tmp_path: Path) -> None:
    shard = pack(tmp_path / "0.tar", samples(3))
    wrong = {
        "inceptcli_shard": 1, "bytes": shard.stat().st_size - 1, "members": ["x.png"],
        "positions": [0], "offsets": [512], "sizes": [1], "labels": [0],
    }  # fmt: skip
    index = tmp_path / "0.tar.json"
    changes: list[dict[str, object]] = [
        {}, {"inceptcli_shard": 2}, {"sizes": [-1]}, {"labels": ["a"]}, {"labels": []}
    ]  # fmt: skip
    for change in changes:
        index.write_text(json.dumps(wrong | ({"bytes": 10**6} if change else {}) | change))
        assert len(open_shards([shard], CLASSES)) == 3
    index.write_text(json.dumps(wrong | {"bytes": 10**6}))
    assert len(open_shards([shard], CLASSES)) == 3  # as more follows than is in it
    index.write_text(json.dumps(wrong | {"bytes": 10**6, "offsets": [10**5]}))
    assert len(open_shards([shard], CLASSES)) == 1  # it is its own, and the shard was cut
