"""`data check` at the command line: what it prints, and its exit code."""

from __future__ import annotations

import json
import subprocess
import sys
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
    assert "Nothing would be skipped" in done.stdout
    assert done.stderr == ""


def test_what_is_wrong_is_listed_and_exits_with_one(folder: Path) -> None:
    picture(folder / "dog" / "copy.png", 0)
    (folder / "cat" / "two\nlines.jpg").write_text("<html>")
    done = inceptcli("data", "check", folder, "--workers", "1")
    assert done.exit_code == 1
    assert "two\\nlines.jpg: not an image" in done.stdout
    assert "Equal files in two classes or splits: 1\n  across classes: " in done.stdout
    assert "    2.0x  largest to smallest class" in done.stdout


def test_json_has_the_fields_that_the_help_names(folder: Path) -> None:
    picture(folder / "dog" / "copy.png", 0)
    (folder / "cat" / "broken.jpg").write_text("<html>")
    done = inceptcli("data", "check", folder, "--workers", "1", "--format", "json")
    assert done.exit_code == 1
    found = json.loads(done.stdout)
    assert set(found) == {
        "clean", "images", "classes", "formats", "width", "height", "unreadable", "overlooked",
        "wrong_suffix", "odd_format", "duplicates", "empty_classes", "one_split_only",
        "left_out",
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
