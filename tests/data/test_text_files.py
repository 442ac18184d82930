"""Lists and labels as people save them: each is read, or refused in one line."""

from __future__ import annotations

import random
from io import BytesIO
from pathlib import Path

import pytest

from inceptcli.data.exclusion import exclude_from
from inceptcli.data.file_paths import FilePaths
from inceptcli.data.folders import LabeledImages
from inceptcli.data.label_files import evaluation_images
from inceptcli.data.shards.files import class_list
from inceptcli.errors import UserError
from inceptcli.prediction.inputs import find_sources

ENCODINGS = ["utf-8", "utf-8-sig", "utf-16"]
IDS = ("n01", "n02", "käse")


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_lists_in_the_encodings_of_windows(tmp_path: Path, encoding: str, line_end: str) -> None:
    def save(name: str, *lines: str) -> Path:
        (tmp_path / name).write_bytes(line_end.join([*lines, ""]).encode(encoding))
        return tmp_path / name

    (tmp_path / "é").mkdir()
    (tmp_path / "é/1.jpg").touch()
    table = save("list.csv", "path,label", "é\\1.jpg,käse", "b.jpg,n02")
    images = evaluation_images(table, IDS, IDS).images
    assert images.paths == (tmp_path / "é/1.jpg", tmp_path / "b.jpg")
    assert tuple(images.labels) == (2, 1)
    left = exclude_from(images, save("exclude.txt", "é\\1.jpg"), [tmp_path])
    assert left.images.paths == (tmp_path / "b.jpg",)
    save("classes.txt", "cat", "käse", "")
    assert class_list([tmp_path / "0.tar"]) == ("cat", "käse")
    paths = save("paths.txt", f"{tmp_path}\\é\\1.jpg", "gone\\2.jpg").read_bytes()
    sources = find_sources(["-"], BytesIO(paths), null=False)
    assert [source.path for source in sources] == [f"{tmp_path}/é/1.jpg", "gone\\2.jpg"]


def test_utf_16_without_a_mark_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("path,label\n".encode("utf-16-le"))
    with pytest.raises(UserError, match="has NUL characters; save it as UTF-8"):
        evaluation_images(tmp_path / "a.csv", IDS, IDS)


def test_200_hostile_label_files_are_read_or_refused_in_one_line(tmp_path: Path) -> None:
    draw = random.Random(0)
    whole = 'path,label\r\na.jpg,n01\r\n"b,c.jpg",käse\r\nd\\e.jpg,1\r\n'
    images = LabeledImages(IDS, FilePaths.of([tmp_path / "a.jpg", tmp_path / "b.jpg"]), (0, 1))
    read, reasons = 0, list[str]()
    for number in range(200):
        content = bytearray(whole.encode(draw.choice([*ENCODINGS, "utf-16-be", "latin-1"])))
        for _ in range(number % 5):
            at = draw.randrange(len(content))
            content[at : at + draw.randrange(4)] = draw.choice(
                [b"", b"\0", b'"', b"\r", b"\xff", b"\x1b[31m", b",", b"../" * 9, b"9" * 5000]
            )
        for name in ("list.csv", "classes.txt", "exclude.txt"):
            (tmp_path / name).write_bytes(content)
        for work in (
            lambda: evaluation_images(tmp_path / "list.csv", IDS, IDS),
            lambda: class_list([tmp_path / "0.tar"]),
            lambda: exclude_from(images, tmp_path / "exclude.txt", [tmp_path]),
            lambda content=bytes(content): list(find_sources(["-"], BytesIO(content), null=False)),
        ):
            try:
                work()
                read += 1
            except UserError as error:
                reasons.append(str(error))
    assert all(map(str.isprintable, reasons))
    assert min(read, len(reasons)) > 100
