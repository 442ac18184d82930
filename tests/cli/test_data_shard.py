"""`data shard` at the command line, and `eval` of what it wrote."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import TINY, check_one_line, inceptcli, picture


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(12):
        picture(tmp_path / "data/train" / ("cat", "dog")[number % 2] / f"{number}.png", number)
        if number < 5:
            picture(
                tmp_path / "data/val" / ("cat", "dog")[number % 2] / f"{number}.png", 90 + number
            )
    return tmp_path / "data"


def test_shards_are_listed_and_nothing_is_left_out(folder: Path, tmp_path: Path) -> None:
    done = inceptcli("data", "shard", folder, "--output", tmp_path / "out", "--count", "5", "--workers", "1")  # fmt: skip  # noqa: E501
    assert done.exit_code == 0, done.output
    assert done.stderr == f"wrote {tmp_path}/out, 4 shards, 17 images\n"
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines[1:5]] == ["5", "5", "2", "5"]
    assert lines[-1] == "17 images of 2 classes in 4 shards"


@pytest.mark.parametrize("flags", [[], ["--skip-unreadable"]])
def test_unreadable_images_are_named_and_the_rest_is_done(
    flags: list[str], folder: Path, tmp_path: Path
) -> None:
    (folder / "train/cat/two\nlines.jpg").write_text("<html>")
    arguments = ["data", "shard", folder, "--output", tmp_path / "out", "--workers", "1"]
    done = inceptcli(*arguments, "--format", "json", *flags)
    assert done.exit_code == (0 if flags else 1)
    assert "two\\nlines.jpg: not an image" in done.stderr
    found = json.loads(done.stdout)
    assert set(found) == {"classes", "images", "shards", "left_out"}
    assert found["images"] == 17
    assert set(found["shards"][0]) == {"path", "images", "bytes", "sha256"}
    ((entry),) = found["left_out"]
    assert entry["path"] == str(folder / "train/cat/two\nlines.jpg")
    described = " ".join(inceptcli("data", "shard", "--help").stdout.split())
    for name in (*found, *found["shards"][0], *entry):
        assert name in described


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["missing", "--output", "out"], 2, "missing: no such folder"),
        (["data"], 2, "--output"),
        (["data", "--output", "out", "--size", "5T"], 2, "--size 5T: must be bytes such as"),
        (["data", "--output", "out", "--size", "0"], 2, "--size 0: must be"),
        (["data", "--output", "out", "--count", "0"], 2, "--count"),
        (["data", "--output", "out-%d.tar"], 2, "has train/ and val/, so give a folder"),
        (["data/train/cat", "--output", "out"], 1, "no class folders"),
    ],
)
def test_wrong_use_is_one_line(
    arguments: list[str], code: int, said: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.parent)
    check_one_line(inceptcli("data", "shard", *arguments), code, said)


def test_no_torch_is_imported(folder: Path, tmp_path: Path) -> None:
    program = (
        "import sys; from inceptcli.cli.app import app\n"
        "try: app(['data', 'shard', sys.argv[1], '--output', sys.argv[2], '--workers', '1'])\n"
        "finally: assert not {'torch', 'webdataset'} & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(folder), str(tmp_path / "out")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.train
def test_training_and_evaluation_take_shards(folder: Path, tmp_path: Path) -> None:
    shards, run = tmp_path / "out", tmp_path / "run"
    inceptcli("data", "shard", folder, "--output", shards, "--count", "5", "--workers", "1")
    done = inceptcli("train", *TINY, "--data", f"{shards}/train-{{000000..000002}}.tar",
                     "--val-data", f"{shards}/val-*.tar", "--output", run)  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "2 classes, 12 training and 5 validation images" in done.stderr

    def evaluated(data: object, *flags: str) -> object:
        done = inceptcli("eval", run, "--data", data, "--format", "json", *flags)
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    expected = evaluated(folder)
    assert evaluated(f"{shards}/val-*.tar") == evaluated(shards) == expected
    check_one_line(
        inceptcli("eval", run, "--data", f"pipe:cat {shards}/val-000000.tar"),
        2,
        "no command is run",
    )
    (shards / "classes.json").write_text('["cat", "fish"]')
    check_one_line(
        inceptcli("eval", run, "--data", shards), 1, "its class fish is not one of the 2"
    )
    (shards / "classes.json").write_text('["cat", "dog"]')

    cut = shards / "val-000000.tar"
    cut.write_bytes(cut.read_bytes()[:70_000])  # in the fourth image
    check_one_line(
        inceptcli("eval", run, "--data", shards), 1, f"{cut}/00000003.png: the shard ends"
    )
    result = evaluated(shards, "--skip-unreadable", "--quiet")
    assert isinstance(result, dict)
    assert result["images"] == 3
    assert [entry["path"] for entry in result["skipped"]] == [
        f"{cut}/00000003.png", f"{cut}/00000004.png"
    ]  # fmt: skip
