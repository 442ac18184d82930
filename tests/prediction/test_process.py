"""`inceptcli predict` as a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from inceptcli.data.pixels.image_formats import SUFFIXES
from tests.odd_files import OddFiles

pytestmark = pytest.mark.system

HEAVY = ("torch", "torchvision", "lightning", "torchmetrics")
NEEDLESS = (*HEAVY, "ssl", "jinja2", "pyarrow", "matplotlib", "captum")
REPORT = f"""
import sys
from pathlib import Path
from inceptcli.__main__ import main
try:
    main()
finally:
    print("modules:", *(name for name in {HEAVY} if name in sys.modules), file=sys.stderr)
    print("needless:", *(name for name in {NEEDLESS} if name in sys.modules), file=sys.stderr)
    status = Path("/proc/self/status").read_text()
    print("peak:", status.split("VmHWM:")[1].split()[0], "KiB", file=sys.stderr)
"""


@pytest.fixture
def folder(pictures: list[Path]) -> Path:
    return pictures[0].parent


@pytest.fixture
def run_directory(weights: Path) -> Path:
    return weights.parent


def rows_of(output: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines()]


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-c", REPORT, "predict", *map(str, arguments)]


def test_a_reader_that_leaves_early_ends_it_quietly(
    tmp_path: Path, pictures: list[Path], run_directory: Path
) -> None:
    names = "\n".join([str(pictures[0])] * 300)
    (tmp_path / "names.txt").write_text(names)
    words = [sys.executable, "-m", "inceptcli", "predict", "-", "--quiet", "--format", "csv"]
    words += ["--weights", str(run_directory), "--device", "cpu"]
    with (
        (tmp_path / "names.txt").open() as listed,
        subprocess.Popen(
            words, stdin=listed, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process,
    ):
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(timeout=600) == 141


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_one_line(folder: Path, run_directory: Path) -> None:
    with Path("/dev/full").open("w") as full:
        words = command(folder, "--weights", run_directory, "--device", "cpu")
        done = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert "Error: standard output: No space left on device" in done.stderr
    assert "Traceback" not in done.stderr


def test_answers_stream_and_a_closed_pipe_ends_quietly(folder: Path, run_directory: Path) -> None:
    words = command("-", "--weights", run_directory, "--device", "cpu", "--format", "jsonl")
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        for number in (0, 1):
            process.stdin.write(f"{folder}/{number}.png\n".encode())
            process.stdin.flush()
            # Standard input stays open: the answer has to come before the next path does.
            assert json.loads(process.stdout.readline())["path"] == f"{folder}/{number}.png"
        process.stdout.close()
        process.stdin.write(f"{folder}/2.png\n".encode())
        process.stdin.flush()
        assert process.wait(timeout=600) == 141
        errors = process.stderr.read().decode().splitlines()
    assert [line.split(":")[0] for line in errors] == ["modules", "needless", "peak"]


@pytest.mark.parametrize(
    ("form", "pictures_read"),
    [("weights", "0.png"), ("weights", ""), ("run_directory", ""), ("onnx_weights", "")],
)
def test_predict_loads_only_what_it_takes(
    form: str, pictures_read: str, folder: Path, request: pytest.FixtureRequest
) -> None:
    words = command(
        folder / pictures_read, "--weights", request.getfixturevalue(form), "--device", "cpu"
    )
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert "needless:\n" in done.stderr


@pytest.mark.parametrize("quiet", [False, True])
def test_progress_is_shown_on_a_terminal_unless_quiet(
    quiet: bool, folder: Path, run_directory: Path
) -> None:
    options = ("--weights", run_directory, "--device", "cpu", "--format", "jsonl")
    ours, theirs = os.openpty()
    done = subprocess.run(
        command(folder, *options, *(["--quiet"] if quiet else [])),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm"},
        check=True,
    )
    os.close(theirs)
    shown = os.read(ours, 65536).decode()
    os.close(ours)
    assert len(rows_of(done.stdout.decode())) == 7
    assert ("7/7" in shown) == (not quiet)


def test_a_closed_standard_input_is_an_empty_one(folder: Path, run_directory: Path) -> None:
    script = 'exec "$@" <&-'
    words = command("-", folder / "0.png", "--weights", run_directory, "--format", "jsonl")
    done = subprocess.run(["sh", "-c", script, "sh", *words], capture_output=True, check=True)
    assert len(rows_of(done.stdout.decode())) == 1


def usage_errors() -> dict[str, tuple[list[str], str]]:
    """By name: arguments, where RUN is a run directory, FOLDER a folder; and what is said."""
    return {
        "no paths": (["--weights", "RUN"], "no PATHS; give image files, folders, patterns, or -"),
        "missing weights": (["a.jpg", "--weights", "none.st"], "none.st: no such weights file"),
        "empty run": (["a.jpg", "--weights", "FOLDER"], "no model.safetensors"),
        "no classes": (["a.jpg", "--weights", "RUN", "--top-k", "0"], "--top-k"),
        "no batch": (["a.jpg", "--weights", "RUN", "--batch-size", "0"], "--batch-size"),
        "format": (["a.jpg", "--weights", "RUN", "--format", "xml"], "--format"),
        "device": (
            ["a.jpg", "--weights", "RUN", "--device", "gpu"],
            "--device must be auto, cpu, cuda, cuda:N or mps, got gpu",
        ),
        "no folder for output": (
            ["a.jpg", "--weights", "RUN", "--output", "FOLDER/none/a.csv"],
            "none/a.csv: No such file or directory",
        ),
        "folder as output": (
            ["a.jpg", "--weights", "RUN", "--output", "FOLDER"],
            "not a regular file",
        ),
    }


SEVERAL = f"""
import json, sys
from inceptcli.cli.app import app
for arguments in json.load(sys.stdin):
    print("next", file=sys.stderr)
    try:
        app(["predict", *arguments], prog_name="inceptcli")
    except SystemExit as left:
        print("code:", left.code, file=sys.stderr)
    print("modules:", *(name for name in {HEAVY} if name in sys.modules), file=sys.stderr)
"""


def test_a_usage_error_is_one_line_exits_with_2_and_loads_no_torch(
    folder: Path, run_directory: Path
) -> None:
    wrong, messages = zip(*usage_errors().values(), strict=True)
    asked = json.dumps(wrong).replace("RUN", str(run_directory)).replace("FOLDER", str(folder))
    done = subprocess.run(
        [sys.executable, "-c", SEVERAL], input=asked, capture_output=True, text=True, check=True
    )
    assert done.stdout == ""
    for message, said in zip(messages, done.stderr.split("next\n")[1:], strict=True):
        assert message in said
        assert said.count("Error") == 1
        assert said.endswith("code: 2\nmodules:\n")


@pytest.mark.parametrize("way", ["standard input", "folder"])
def test_every_odd_file_is_answered_in_bounded_memory(
    way: str, run_directory: Path, odd_files: OddFiles
) -> None:
    folder = odd_files.folder
    readable = {name: size is not None for name, size in odd_files.sizes.items()}
    options = ("--weights", run_directory, "--device", "cpu", "--format", "jsonl")
    if way == "folder":
        readable = {
            name: readable[name] for name in readable if Path(name).suffix.lower() in SUFFIXES
        }
        arguments, stdin = [folder], ""
    else:
        arguments, stdin = [Path("-")], "".join(f"{folder / name}\n" for name in readable)
    done = subprocess.run(
        command(*arguments, *options), input=stdin, capture_output=True, text=True, check=False
    )
    rows = {str(Path(row["path"]).relative_to(folder)): row for row in rows_of(done.stdout)}
    assert done.returncode == 1
    assert list(rows) == (sorted(readable, key=Path) if way == "folder" else list(readable))
    assert {name: row["error"] is None for name, row in rows.items()} == readable
    assert {name: len(row["predictions"]) == 5 for name, row in rows.items()} == readable
    # libtiff complains on standard error by itself, too.
    errors = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    failed = [f"Error: {row['path']}: {row['error']}" for row in rows.values() if row["error"]]
    assert errors == failed
    assert "Traceback" not in done.stderr
    assert int(done.stderr.split("peak: ")[1].split()[0]) < 2 * 1024**2
