"""`predict --shard` and `merge`, from folders, lists and tar shards to one file."""

from __future__ import annotations

import errno
import json
import os
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TextIO

import pytest
from pyarrow.parquet import read_table

from inceptcli.cli import merge, predict
from inceptcli.prediction.predict import Answer
from inceptcli.prediction.recorded_options import RecordedOptions
from tests.cli.conftest import check_one_line, inceptcli
from tests.cli.test_predict import invoke, rows_of
from tests.data.class_folders import pack, shard
from tests.prediction.conftest import draw, save_small_network


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_small_network(tmp_path_factory.mktemp("run") / "model.safetensors")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven pictures and a file of text, all of them with the suffix of pictures."""
    root = tmp_path_factory.mktemp("pictures")
    for number in range(7):
        draw(root / f"n{number % 2}/{number}.png", number)
    (root / "n0/text.png").write_text("no image")
    return root


@pytest.fixture(scope="module")
def alone(folder: Path, weights: Path) -> list[dict[str, Any]]:
    """What one process says."""
    return rows_of(invoke(folder, "--weights", weights, "--format", "jsonl")[1])


def in_shards(count: int, output: Path, *arguments: object, stdin: bytes = b"") -> list[int]:
    flags = ("--output", output, "--quiet")
    return [
        invoke(*arguments, "--shard", f"{number}/{count}", *flags, stdin=stdin)[0]
        for number in range(count)
    ]


@pytest.mark.parametrize("output_format", ["jsonl", "parquet"])
def test_parts_merge_to_what_one_process_says(
    output_format: str, folder: Path, weights: Path, alone: list[dict[str, Any]], tmp_path: Path
) -> None:
    arguments = (folder, "--weights", weights, "--format", output_format)
    codes = in_shards(3, tmp_path / "parts", *arguments)
    assert codes == [int(any(row["error"] for row in alone[n::3])) for n in range(3)]
    assert sum(codes) == 1
    names = sorted(path.name for path in (tmp_path / "parts").iterdir())
    assert names == [f"part-0000{number}-of-00003" for number in range(3)]
    done = inceptcli("merge", tmp_path / "parts")
    assert (done.exit_code, rows_of(done.stdout)) == (0, alone)
    assert done.stderr == "8 rows, 1 with an error\n"


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet"])
def test_merge_writes_what_the_suffix_says(
    suffix: str, folder: Path, weights: Path, alone: list[dict[str, Any]], tmp_path: Path
) -> None:
    in_shards(2, tmp_path / "parts", folder, "--weights", weights)
    output = tmp_path / f"parts/all.{suffix}"
    assert inceptcli("merge", tmp_path / "parts", "--output", output, "--quiet").exit_code == 0
    if suffix == "parquet":
        assert read_table(output).to_pylist() == alone
        return
    expected = invoke(folder, "--weights", weights, "--format", suffix)[1]
    assert output.read_text() == expected  # both with plain line ends


def test_the_same_command_goes_on_and_loads_no_network_when_all_is_done(
    folder: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inceptcli.prediction.shares.part.ROWS", 1)
    part = tmp_path / "parts/part-00000-of-00002"
    command = (folder, "--weights", weights, "--shard", "0/2", "--output", tmp_path / "parts")
    assert invoke(*command)[0] == 1
    whole = {path: path.read_bytes() for path in part.iterdir()}
    record = json.loads((part / "_part.json").read_text())
    (part / "_part.json").write_text(json.dumps({**record, "finished": None}))
    for path in sorted(part.glob("rows-*.jsonl"))[1:]:
        path.unlink()
    code, _, errors = invoke(*command)
    assert (code, {path: path.read_bytes() for path in part.iterdir()}) == (1, whole)
    assert f"{part}: 1 row already written" in errors
    monkeypatch.setattr("inceptcli.prediction.ensemble.EnsembleFiles.load", None)
    code, _, errors = invoke(*command)
    assert (code, {path: path.read_bytes() for path in part.iterdir()}) == (1, whole)
    assert errors == f"{part}: 4 rows already written\n"


def test_a_full_disk_is_one_line_and_the_same_command_goes_on(
    folder: Path, weights: Path, alone: list[dict[str, Any]], tmp_path: Path
) -> None:
    output = tmp_path / "parts"
    flags = ("--weights", weights, "--device", "cpu", "--quiet")
    command = ("predict", folder, *flags, "--shard", "0/1", "--output", output)
    part = output / "part-00000-of-00001"

    def full(answers: Iterable[Answer], stream: TextIO, recorded: RecordedOptions) -> None:
        stream.write("half a r")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("inceptcli.prediction.shares.part.WRITERS", {"jsonl": full})
        done = inceptcli(*command)
    assert done.exit_code == 1
    last = f"Error: --output {part}: No space left on device"
    assert done.stderr.splitlines()[-1] == last
    assert {path.name for path in part.iterdir()} == {".lock", "_part.json"}
    assert inceptcli(*command).exit_code == 1  # the file of text
    assert rows_of(inceptcli("merge", output).stdout) == alone


def test_a_list_is_shared_like_a_folder(
    folder: Path, weights: Path, alone: list[dict[str, Any]], tmp_path: Path
) -> None:
    stdin = "".join(f"{row['path']}\0" for row in alone).encode()
    in_shards(3, tmp_path / "parts", "-", "-0", "--weights", weights, stdin=stdin)
    assert rows_of(inceptcli("merge", tmp_path / "parts").stdout) == alone


@pytest.mark.parametrize("named_as", ["folder", "pattern", "files"])
def test_tar_shards_are_pictures_too(
    named_as: str, folder: Path, weights: Path, alone: list[dict[str, Any]], tmp_path: Path
) -> None:
    good = tmp_path / "good"
    shutil.copytree(folder, good, ignore=lambda _, names: {"text.png"} & set(names))
    made = shard(good, tmp_path / "tar", 3)
    files = [entry.path for entry in made.shards]
    assert len(files) == 3
    (tmp_path / "tar/images-000001.tar.json").unlink()
    arguments = {"folder": [tmp_path / "tar"], "pattern": [tmp_path / "tar/*.tar"], "files": files}
    in_shards(2, tmp_path / "parts", *arguments[named_as], "--weights", weights)
    found = rows_of(inceptcli("merge", tmp_path / "parts").stdout)
    assert [row["path"].split(".tar/")[0] for row in found] == [
        str(file.with_suffix("")) for file in files for _ in range(3)
    ][:7]
    readable = [row["predictions"] for row in alone if not row["error"]]
    expected = {f"{position:08}.png": row for position, row in enumerate(readable)}
    assert {Path(row["path"]).name: row["predictions"] for row in found} == expected


def test_a_broken_tar_shard_is_rows_with_errors(weights: Path, tmp_path: Path) -> None:
    picture = draw(tmp_path / "a.png", 1).read_bytes()
    path = pack(tmp_path / "tar/0.tar", [("a.png", picture), ("b.cls", b"1"), ("c.png", picture)])
    path.write_bytes(path.read_bytes()[:-4096])
    rows = rows_of(invoke(tmp_path / "tar", "--weights", weights, "--format", "jsonl")[1])
    assert [row["path"] for row in rows][:2] == [f"{path}/a.png", f"{path}/b.cls"]
    assert [row["error"] is None for row in rows] == [True, False, *[False] * (len(rows) - 2)]
    assert rows[1]["error"] == "a sample without an image"


def test_a_folder_of_pictures_with_an_archive_beside_them_is_pictures(
    weights: Path, tmp_path: Path
) -> None:
    draw(tmp_path / "a.png", 1)
    pack(tmp_path / "backup.tar", [("b.png", (tmp_path / "a.png").read_bytes())])
    rows = rows_of(invoke(tmp_path, "--weights", weights, "--format", "jsonl")[1])
    assert [row["path"] for row in rows] == [str(tmp_path / "a.png")]


def test_parquet_goes_to_a_file_or_a_pipe(
    folder: Path, weights: Path, alone: list[dict[str, Any]], tmp_path: Path
) -> None:
    output = tmp_path / "answers.parquet"
    arguments = ("predict", folder, "--weights", weights, "--device", "cpu", "--format", "parquet")
    assert inceptcli(*arguments, "--output", output).exit_code == 1
    assert read_table(output).to_pylist() == alone
    assert inceptcli(*arguments).stdout_bytes == output.read_bytes()


WRONG = {
    "--shard must be I/N": ["--shard", "2/2", "--output", "OUT/parts"],
    "--shard auto: SLURM did not start": ["--shard", "auto", "--output", "OUT/parts"],
    "--shard needs --output": ["--shard", "0/2"],
    "--shard needs --format jsonl or parquet, got csv": [
        "--shard", "0/2", "--format", "csv", "--output", "OUT/parts",
    ],
    "must be a folder with --shard": ["--shard", "0/2", "--output", "OUT/a.csv"],
    "--explain, --embeddings and --gallery cannot be combined with --shard": [
        "--shard", "0/2", "--output", "OUT/parts", "--gallery", "OUT/a.html",
    ],
    "was started with --top-k 5, not 3": [
        "--shard", "0/2", "--output", "OUT/begun", "--top-k", "3",
    ],
    "contains files but no record of a part": ["--shard", "0/2", "--output", "OUT/mine"],
    "cannot be written: ": ["--shard", "0/2", "--output", "OUT/file"],
}  # fmt: skip


@pytest.mark.parametrize("said", WRONG)
def test_wrong_use_is_one_line(said: str, folder: Path, weights: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "mine/part-00000-of-00002").mkdir(parents=True)
    (tmp_path / "mine/part-00000-of-00002/rows-000000000-000000000.jsonl").write_text("{}\n")
    begun = ("--shard", "0/2", "--output", tmp_path / "begun")
    assert invoke("none.png", "--weights", weights, *begun)[0] == 1
    arguments = [word.replace("OUT", str(tmp_path)) for word in WRONG[said]]
    done = inceptcli("predict", folder, "--weights", weights, "--device", "cpu", *arguments)
    check_one_line(done, 2, said)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["OUT"], 1, "1 of 2 shards are incomplete (missing: 1)"),
        (["OUT/none"], 2, "none: no such folder; give parts of predict --shard"),
        (["OUT", "--output", "OUT/all.xml"], 2, "unknown extension .xml; must end in .csv"),
    ],
)
def test_what_cannot_be_merged_is_one_line_and_writes_nothing(
    arguments: list[str], code: int, said: str, weights: Path, tmp_path: Path
) -> None:
    draw(tmp_path / "a.png", 1)
    invoke(tmp_path / "a.png", "--weights", weights, "--shard", "0/2", "--output", tmp_path)
    words = [word.replace("OUT", str(tmp_path)) for word in arguments]
    output = [] if "--output" in words else ["--output", tmp_path / "all.jsonl"]
    check_one_line(inceptcli("merge", *words, *output), code, said)
    assert not (tmp_path / "all.jsonl").exists()


@pytest.mark.parametrize("command", ["predict", "merge"])
def test_without_pyarrow_one_line_names_the_extra(
    command: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    done = inceptcli(command, folder, "--format", "parquet", "--output", tmp_path / "a.parquet")
    said = "--format parquet needs pyarrow; pip install 'inceptcli[parquet]'"
    check_one_line(done, 1, said)


@pytest.mark.parametrize("module", [predict, merge], ids=["predict", "merge"])
def test_every_example_names_options_that_exist(module: Any) -> None:
    name = module.__name__.rpartition(".")[2]
    shown = inceptcli(name, "--help").stdout
    options = {word for word in module.EPILOG.split() if word.startswith("--")}
    assert options
    assert all(option in shown for option in options - {"--shard"} if name == "merge")
