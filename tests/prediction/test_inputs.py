from __future__ import annotations

import os
from io import BytesIO
from pathlib import Path

import pytest

from inceptcli.data.left_out import LeftOut
from inceptcli.files.remote.address import Address
from inceptcli.prediction.inputs import Source, find_sources
from tests.data.class_folders import pack, samples


def paths(*arguments: str | Path, stdin: bytes = b"", null: bool = False) -> list[str]:
    return [source.path for source in sources(*arguments, stdin=stdin, null=null)]


def sources(*arguments: str | Path, stdin: bytes = b"", null: bool = False) -> list[Source]:
    return list(find_sources([str(a) for a in arguments], BytesIO(stdin), null=null))


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_arguments_keep_their_order_and_spelling() -> None:
    assert paths("./b.jpg", "a.txt", "x//y.png") == ["./b.jpg", "a.txt", "x//y.png"]


def test_a_folder_stands_for_the_images_in_it_and_below_sorted(tmp_path: Path) -> None:
    touch(tmp_path, "b.PNG", "a/z.jpg", "a/notes.txt", "c.jpg")
    assert paths(tmp_path) == [str(tmp_path / name) for name in ("a/z.jpg", "b.PNG", "c.jpg")]


def test_a_folder_without_images_is_named_and_the_rest_is_found(tmp_path: Path) -> None:
    touch(tmp_path, "notes.txt")
    empty, file = sources(tmp_path, "cat.jpg")
    assert empty.path == str(tmp_path)
    assert empty.problem is not None
    assert empty.problem.startswith("no images in this folder; known suffixes: .avif ")
    assert file == Source("cat.jpg")


def test_a_pattern_that_the_shell_left_is_expanded_sorted(tmp_path: Path) -> None:
    touch(tmp_path, "b.jpg", "a.jpg", "c.png", "below/d.jpg")
    assert paths(tmp_path / "*.jpg") == [str(tmp_path / "a.jpg"), str(tmp_path / "b.jpg")]
    assert str(tmp_path / "below/d.jpg") in paths(f"{tmp_path}/**/*.jpg")


def test_a_file_with_a_patterns_characters_is_that_file(tmp_path: Path) -> None:
    touch(tmp_path, "[a].jpg", "a.jpg")
    assert paths(tmp_path / "[a].jpg") == [str(tmp_path / "[a].jpg")]


def test_a_pattern_without_matches_is_named() -> None:
    assert sources("none*.jpg") == [Source("none*.jpg", "no file matches this pattern")]


def test_lines_of_standard_input_are_files_and_empty_ones_are_ignored() -> None:
    assert paths("-", stdin=b"a.jpg\n\nb*.jpg\r\n\r\nlast c.jpg") == [
        "a.jpg",
        "b*.jpg",
        "last c.jpg",
    ]


def test_nul_separated_paths_keep_line_ends() -> None:
    assert paths("-", stdin=b"a\nb.jpg\0\0c.jpg\r\0", null=True) == ["a\nb.jpg", "c.jpg\r"]


def test_nul_characters_without_the_flag_name_the_flag() -> None:
    (source,) = sources("-", stdin=b"a.jpg\0b.jpg\0\n")
    assert source.problem == "contains a NUL character; use --null for NUL-separated paths"


def test_a_name_that_is_not_utf_8_keeps_its_bytes() -> None:
    (path,) = paths("-", stdin=b"k\xe4se.jpg\n")
    assert os.fsencode(path) == b"k\xe4se.jpg"


def test_a_path_split_between_two_reads_is_one_path(tmp_path: Path) -> None:
    class Slow(BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            return super().read(3)

    assert [s.path for s in find_sources(["-"], Slow(b"one.jpg\ntwo.jpg\n"), null=False)] == [
        "one.jpg",
        "two.jpg",
    ]


def test_standard_input_is_read_only_as_far_as_paths_are_asked_for() -> None:
    class Endless(BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            return b"again.jpg\n"

    found = find_sources(["-"], Endless(), null=False)
    assert [next(found).path for _ in range(3)] == ["again.jpg"] * 3


def test_a_tar_file_in_a_list_stands_for_its_images(tmp_path: Path) -> None:
    shard = pack(tmp_path / "x.tar", samples(2))
    given, listed = sources(shard), sources("-", stdin=f"{shard}\n".encode())
    assert [source.path for source in listed] == [source.path for source in given]
    assert len(listed) == 2
    assert all(source.in_tar for source in listed)


def test_a_folder_of_shards_counts_its_other_files(tmp_path: Path) -> None:
    shard, left_out = pack(tmp_path / "train" / "x.tar", [*samples(2), ("a.txt", b"")]), LeftOut()
    touch(tmp_path, "classes.json", "notes.txt", ".hidden", "train/x.tar.json")
    found = [s.path for s in find_sources([str(tmp_path)], BytesIO(), left_out, null=False)]
    assert found == paths(shard)
    assert left_out.files == {".txt": 2, "hidden": 1}


def test_a_remote_folder_without_images_stands_for_its_shards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard, folder, left_out = pack(tmp_path / "x.tar", samples(2)), "s3://bucket/shards", LeftOut()
    there = [Address("s3", f"{folder}/{name}") for name in ("a.txt", "x.tar", "x.tar.json")]
    monkeypatch.setattr("inceptcli.files.remote.object_store.files_at", lambda _: there)
    monkeypatch.setattr("inceptcli.data.shards.fetching.fetch_shards", lambda _: [shard])
    found = [source.path for source in find_sources([folder], BytesIO(), left_out, null=False)]
    assert found == [path.replace(str(tmp_path), folder) for path in paths(shard)]
    assert left_out.files == {".txt": 1}
