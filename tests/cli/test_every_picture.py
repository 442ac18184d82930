"""No picture is lost without a word, however files are called: rows and what is counted are all."""

from __future__ import annotations

import io
import json
import re
import tarfile
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as some
from PIL import Image

from inceptcli.data.left_out import LeftOut
from inceptcli.data.shards.source import open_shards
from inceptcli.prediction.inputs import find_sources
from tests.cli.conftest import TINY, inceptcli
from tests.odd_files import encoded
from tests.prediction.conftest import draw

STEMS = ["cat", "img.v2", "x.input", "2024.05.01", "a b", "é", "e\u0301", "-x", "x" * 90, ".", "#1"]
SUFFIXES = [
    ".jpg", ".JPG", ".png", ".jpeg", ".avif", ".jp2", ".webp", "", ".jpg_large", ".jpg?w=200", ".1",
    ".heic", ".jxl", ".txt", ".dat", ".tar.jpg", ". ", "\n",
]  # fmt: skip
FOLDERS = ["", "a/", "@eaDir/", "a/.thumbnails/", "album.jpg/", "__MACOSX/", "b c/"]

names = some.builds(
    lambda folder, stem, suffix: f"{folder}{stem}{suffix}",
    some.sampled_from(FOLDERS),
    some.one_of(
        some.sampled_from(STEMS),
        some.text(
            some.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1,
            max_size=12,
        ),
    ),
    some.sampled_from(SUFFIXES),
).filter(lambda name: name.rpartition("/")[2] not in ("", ".", ".."))  # fmt: skip

COLLIDING = ["cat.jpg", "cat.png", "img.v1.jpg", "img.v2.jpg", "x.input.jpg", "no_suffix"]
IN_FOLDERS = [
    "1.avif", "1.heic", "1.jp2", "1.jxl", "1.jpg_large", "1", "@eaDir/1.jpg", "__MACOSX/._1.jpg",
    "#recycle/1.jpg", "$RECYCLE.BIN/1.jpg", ".thumbnails/1.jpg", "notes.txt", "1.psd",
]  # fmt: skip

PASSED_OVER = {"@eaDir", "__MACOSX", "#recycle", "$RECYCLE.BIN", ".thumbnails"}

PNG = encoded(Image.effect_noise((9, 8), 64).convert("RGB"), "PNG")


def in_folder(root: Path, files: list[str]) -> Path:
    """The files of those names for which there is room beside the others."""
    for name in files:
        with suppress(OSError):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(PNG)
    return root


def in_tar(root: Path, files: list[str]) -> Path:
    with tarfile.open(root / "x.tar", "w", format=tarfile.PAX_FORMAT) as archive:
        for name in files:
            member = tarfile.TarInfo(name)
            member.size = len(PNG)
            archive.addfile(member, io.BytesIO(PNG))
    return root / "x.tar"


def found(place: Path) -> tuple[list[str], LeftOut]:
    left_out = LeftOut()
    sources = find_sources([str(place)], io.BytesIO(), left_out, null=False)
    return [source.path for source in sources if source.path != str(place)], left_out


def is_in_passed_over(path: Path) -> bool:
    return any(part in PASSED_OVER for part in path.parts)


drawn_names = some.lists(names, min_size=1, max_size=12, unique=True)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(drawn_names)
@example(COLLIDING)
@example(IN_FOLDERS)
def test_rows_and_what_is_counted_are_all_files_of_a_folder(files: list[str]) -> None:
    with TemporaryDirectory() as folder:
        root = in_folder(Path(folder), files)
        rows, left_out = found(root)
        paths = [path.relative_to(root) for path in root.rglob("*")]
        entered = [p for p in paths if (root / p).is_file() and not is_in_passed_over(p)]
        passed_over = [p for p in paths if p.name in PASSED_OVER and (root / p).is_dir()]
        assert len(rows) + left_out.files.total() == len(entered)
        assert left_out.folders.total() == len(passed_over)
        assert set(rows) <= {str(root / path) for path in entered}
        assert len(set(rows)) == len(rows)
        assert {str(root / p) for p in entered if is_surely_a_picture(p)} <= set(rows)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(drawn_names)
@example(COLLIDING)
@example(IN_FOLDERS)
def test_rows_and_what_is_counted_are_all_files_of_a_tar_file(files: list[str]) -> None:
    with TemporaryDirectory() as folder:
        shard = in_tar(Path(folder), files)
        rows, left_out = found(shard)
        assert len(rows) + left_out.files.total() == len(files)
        assert set(rows) <= {f"{shard}/{name}" for name in files}
        assert len(set(rows)) == len(rows)
        pictures = {f"{shard}/{name}" for name in files if is_surely_a_picture(Path(name))}
        assert pictures <= set(rows)


def is_surely_a_picture(path: Path) -> bool:
    if path.name.startswith(".") or is_in_passed_over(path):
        return False
    return path.suffix.lower() in (".jpg", ".png", ".avif", ".heic", ".jxl", "", ".jpg_large", ".1")


def test_predict_answers_every_picture_of_a_tar_file(tmp_path: Path, weights: Path) -> None:
    shard = in_tar(tmp_path, [*COLLIDING, "notes.txt"])
    done = inceptcli("predict", shard, "--weights", weights, "--format", "jsonl")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["path"] for row in rows] == [f"{shard}/{name}" for name in COLLIDING]
    assert all(row["predictions"] for row in rows)
    assert done.stderr.splitlines() == ["left out 1 file (1 .txt)"]
    assert done.exit_code == 0


def test_predict_says_in_one_line_what_it_leaves_out_of_a_folder(
    tmp_path: Path, weights: Path
) -> None:
    root = in_folder(tmp_path / "pictures", IN_FOLDERS)
    done = inceptcli("predict", root, "--weights", weights, "--format", "jsonl", "--quiet")
    answered = [Path(json.loads(line)["path"]).name for line in done.stdout.splitlines()]
    assert answered == ["1", "1.avif", "1.heic", "1.jp2", "1.jpg_large", "1.jxl"]
    (line,) = done.stderr.splitlines()
    assert line.startswith("left out 2 files (1 .psd, 1 .txt) and 5 folders (")
    assert sorted(re.findall(r"[^ ,()]+", line.rpartition("(")[2])) == sorted(PASSED_OVER)
    assert done.exit_code == 0


@pytest.mark.train
def test_training_leaves_out_thumbnails_and_counts_what_is_no_picture(tmp_path: Path) -> None:
    for name in ("cat/1.png", "cat/2.png", "dog/1.png", "dog/2.jpg_large", "dog/3"):
        draw(tmp_path / "pets/train" / name, len(name))
        draw(tmp_path / "pets/val" / name, len(name) + 9)
    in_folder(tmp_path / "pets/train", ["@eaDir/1.jpg", "cat/@eaDir/1.jpg", "cat/a.xml", "1.png"])
    words = ("--data", tmp_path / "pets", "--output", tmp_path / "run")
    done = inceptcli("train", *TINY, *words)
    assert done.exit_code == 0, done.output
    said = "train: left out 2 files (1 beside the class folders, 1 .xml) and 2 folders (@eaDir)"
    assert said in done.stderr.replace("\n", "")
    assert "classes=2" in done.stderr or "2 classes" in done.output
    checked = inceptcli("data", "check", tmp_path / "pets")
    assert "Left out 2 files (1 beside the class folders, 1 .xml)" in checked.stdout
    assert "10 images can be read: 10 PNG" in checked.stdout


def test_a_further_image_of_a_labeled_sample_is_counted(tmp_path: Path, notices: list[str]) -> None:
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    shard = tmp_path / "train.tar"
    with tarfile.open(shard, "w") as archive:
        for name in ("a.jpg", "a.seg.png", "a.cls", "b.v1.jpg", "b.v1.cls", "b.v2.jpg", "b.v2.cls"):
            content = b"1" if name.endswith("cls") else PNG
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    source = open_shards([shard], ("cat", "dog"))
    members = [Path(source.name(index)).name for index in range(len(source))]
    assert members == ["a.jpg", "b.v1.jpg", "b.v2.jpg"]
    assert notices == [f"{tmp_path}: left out 1 file (1 beside the image of a sample (seg.png))"]
