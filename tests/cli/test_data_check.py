"""`data check` at the command line: what it prints, and its exit code."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
from io import BytesIO
from pathlib import Path

import pytest

from tests.cli.conftest import check_one_line, inceptcli, picture


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for seed, name in enumerate(("cat", "dog")):
        picture(tmp_path / "data" / name / "1.png", seed)
    return tmp_path / "data"


def test_a_clean_dataset_exits_with_zero(folder: Path) -> None:
    done = inceptcli("data", "check", folder, "--workers", "1")
    assert done.exit_code == 0, done.output
    assert "2 images can be read: 2 PNG" in done.stdout
    assert "width: 90 to 90 pixels, median 90" in done.stdout
    assert "No problems found." in done.stdout
    assert done.stderr == ""


def test_one_class_is_too_few_to_train_on(folder: Path) -> None:
    (folder / "dog" / "1.png").unlink()
    (folder / "dog").rmdir()
    done = inceptcli("data", "check", folder, "--workers", "1")
    assert done.exit_code == 1
    assert done.stdout.endswith("Only one class: training needs two\n\nProblems found.\n")
    listed = folder / "labels.csv"  # any number of labels for each image
    listed.write_text("path,labels\ncat/1.png,cat\n")
    assert inceptcli("data", "check", listed, "--workers", "1").exit_code == 0


def test_each_file_of_a_list_is_decoded_whatever_its_suffix(folder: Path) -> None:
    (folder / "dog" / "1.png").rename(folder / "dog" / "1.dat")
    (folder / "notes.txt").write_text("notes")
    listed = folder / "labels.csv"
    listed.write_text("path,label\ncat/1.png,cat\ndog/1.dat,dog\n")
    done = inceptcli("data", "check", listed, "--workers", "1")
    assert done.exit_code == 0, done.output
    assert "2 images can be read: 2 PNG" in done.stdout
    with listed.open("a") as file:
        file.write("notes.txt,dog\ngone.dat,cat\n")
    done = inceptcli("data", "check", listed, "--workers", "1")
    assert done.exit_code == 1
    assert f"Cannot be read: 2\n  {folder}/notes.txt: not an image" in done.stdout
    assert f"{folder}/gone.dat: No such file or directory" in done.stdout


def test_an_empty_field_of_labels_is_a_problem_and_a_row_or_column_of_zeros_is_none(
    folder: Path,
) -> None:
    listed = folder / "labels.csv"
    listed.write_text("path,labels\ncat/1.png,cat\ndog/1.png,\n")
    done = inceptcli("data", "check", listed, "--workers", "1")
    assert done.exit_code == 1
    assert "Images without a label: 1; training refuses them unless data.allow_un" in done.stdout
    listed.write_text("path,cat,owl\ncat/1.png,1,0\ndog/1.png,0,0\n")
    done = inceptcli("data", "check", listed, "--workers", "1")
    assert done.exit_code == 0, done.output
    assert "Classes without a readable image: 1\n  owl (all)" in done.stdout


def test_what_is_wrong_is_listed_and_exits_with_one(folder: Path) -> None:
    picture(folder / "dog" / "copy.png", 0)
    (folder / "cat" / "two\nlines.jpg").write_text("<html>")
    done = inceptcli("data", "check", folder, "--workers", "1")
    assert done.exit_code == 1
    assert "two\\nlines.jpg: not an image" in done.stdout
    assert "Duplicate images across classes or splits: 1\n  across classes: " in done.stdout
    assert "    2.0x  largest to smallest class" in done.stdout


def test_equal_files_within_a_class_are_named_and_clean(folder: Path) -> None:
    picture(folder / "dog" / "copy.png", 1)
    done = inceptcli("data", "check", folder, "--workers", "1")
    assert done.exit_code == 0, done.output
    files = f"{folder}/dog/1.png, {folder}/dog/copy.png"
    assert f"Duplicate images within a class: 1\n  {files}\n" in done.stdout


def test_shards_are_read_as_train_reads_them(folder: Path) -> None:
    for number in range(2, 6):
        picture(folder / "dog" / f"{number}.png", number)
    shards = folder.parent / "shards"
    made = inceptcli(
        "data", "shard", folder, "--output", f"{shards}/train-%06d.tar", "--count", "3"
    )
    assert made.exit_code == 0, made.output
    for data in (shards, f"{shards}/*.tar", f"{shards}/train-{{000000..000001}}.tar"):
        done = inceptcli("data", "check", data, "--workers", "1")
        assert done.exit_code == 0, done.output
        assert "6 images can be read: 6 PNG" in done.stdout
        assert "       1  cat\n       5  dog\n    5.0x  largest" in done.stdout
    for index in shards.glob("*.tar.json"):  # as of other programs
        index.unlink()
    with tarfile.open(shards / "train-000001.tar", "a") as tar:
        content_of = {
            "more/copy.png": (folder / "dog/2.png").read_bytes(),
            "more/copy.cls": b"0",
            "unlabeled/copy.jpg": (folder / "dog/2.png").read_bytes(),
            "more/broken.jpg": b"none",
            "more/broken.cls": b"1",
            "more/notes.txt": b"",
        }
        for name, content in content_of.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, BytesIO(content))
    done = inceptcli("data", "check", shards, "--workers", "2", "--format", "json")
    assert done.exit_code == 1
    found = json.loads(done.stdout)
    assert found["images"] == 7
    assert found["classes"] == [
        {"class": "cat", "images": {"train": 2}}, {"class": "dog", "images": {"train": 5}}
    ]  # fmt: skip
    reasons = {Path(entry["path"]).name: entry["reason"] for entry in found["unreadable"]}
    assert reasons["copy.jpg"] == "a sample without a label: neither .cls nor .json"
    assert reasons["broken.jpg"].startswith("not an image")
    assert len(reasons) == 2
    (group,) = found["duplicates"]
    assert group["across"] == ["classes"]
    assert {file["class"] for file in group["files"]} == {"cat", "dog"}
    assert found["width"] == {"min": 90, "median": 90, "max": 90}
    with (shards / "train-000001.tar").open("r+b") as file:
        file.truncate(2000)
    (shards / "classes.json").write_text('["cat", "dog", "owl"]')
    cut = inceptcli("data", "check", shards, "--workers", "1")
    assert cut.exit_code == 1
    assert "train-000001.tar: the shard ends early" in cut.stdout
    assert "Classes without a readable image: 2\n  cat (train)\n  owl (train)" in cut.stdout


def test_json_has_the_fields_that_the_help_names(folder: Path) -> None:
    picture(folder / "dog" / "copy.png", 0)
    (folder / "cat" / "broken.jpg").write_text("<html>")
    done = inceptcli("data", "check", folder, "--workers", "1", "--format", "json")
    assert done.exit_code == 1
    found = json.loads(done.stdout)
    assert set(found) == {
        "clean", "images", "classes", "formats", "width", "height", "unreadable", "overlooked",
        "wrong_suffix", "odd_format", "duplicates", "empty_classes", "one_split_only",
        "one_class", "unlabeled", "left_out",
    }  # fmt: skip
    assert found["classes"][1] == {"class": "dog", "images": {"all": 2}}
    assert found["height"] == {"min": 80, "median": 80, "max": 80}
    assert found["unreadable"][0]["path"] == str(folder / "cat/broken.jpg")
    (group,) = found["duplicates"]
    assert group["across"] == ["classes"]
    assert group["files"][1] == {"path": str(folder / "dog/copy.png"), "split": "all", "class": "dog"}  # fmt: skip  # noqa: E501
    described = " ".join(inceptcli("data", "check", "--help").stdout.split())
    for name in found:
        assert name in described


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["missing"], 2, "missing: no such folder"),
        (["."], 1, "no class folders"),
        (["no.tar"], 2, "Error: no.tar: no such file"),
        (["pipe:cat 0.tar"], 2, "Error: pipe:cat 0.tar: "),
        ([], 2, "DIR"),
        ([".", "--workers", "0"], 2, "--workers"),
    ],
)
def test_wrong_use_is_one_line(
    arguments: list[str], code: int, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    check_one_line(inceptcli("data", "check", *arguments), code, said)


def test_nothing_heavy_is_imported(folder: Path) -> None:
    program = (
        "import sys; from inceptcli.cli.app import app\n"
        "try: app(['data', 'check', sys.argv[1], '--workers', '1'])\n"
        "finally: assert 'torch' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(folder)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
