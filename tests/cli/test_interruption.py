"""Ctrl-C in a terminal and a signal to the group end a command in one line; nothing is half there.

The commands run as users run them: their own process group, default workers, real pictures to read.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from typer import Exit

from inceptcli.cli.interruption import interruptible, noted
from inceptcli.prediction.shares.part import rows_files
from tests.cli.conftest import picture
from tests.terminal import Terminal, shown_lines

pytestmark = pytest.mark.system

COUNT = 3000
"""Pictures; reading them takes longer than a test waits for the first answers."""


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """COUNT pictures in two class folders, links to a few files."""
    root = tmp_path_factory.mktemp("many")
    for number in range(2):
        picture(root / f"original-{number}.png", number)
        folder = root / "data" / f"class-{number}"
        folder.mkdir(parents=True)
        for copy in range(COUNT // 2):
            os.link(root / f"original-{number}.png", folder / f"{copy:04}.png")
    return root / "data"


def command(*arguments: object, program: str = "inceptcli") -> list[str]:
    return [sys.executable, "-m", program, *map(str, arguments)]


def wait_for(ready: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while not ready():
        assert process.poll() is None, "it ended before it could be interrupted"
        assert time.monotonic() < deadline
        time.sleep(0.02)


def grows(file: Path) -> Callable[[], bool]:
    return lambda: file.exists() and file.stat().st_size > 0


def check_said(line: str, code: int, expected: int) -> None:
    assert code == expected
    assert line.startswith("interrupted after "), line


def check_nothing_half_written(folder: Path, names: Sequence[str]) -> None:
    assert sorted(path.name for path in folder.iterdir()) == sorted(names)


def test_ctrl_c_in_a_terminal_says_how_far_predict_got(
    pictures: Path, weights: Path, tmp_path: Path
) -> None:
    (tmp_path / "page.html").write_text("old")
    shell = shutil.which("sh")
    assert shell
    predict = command(
        "predict", pictures, "--weights", weights, "--format", "jsonl", "--gallery",
        tmp_path / "page.html",
    )  # fmt: skip
    rows = tmp_path / "rows.jsonl"
    terminal = Terminal([shell, "-c", 'exec "$@" > "$0"', str(rows), *predict], 100)
    wait_for(grows(rows), terminal.process)
    terminal.type("\x03")
    code = terminal.finish()
    line = shown_lines(terminal.written)[-1].removeprefix("^C")
    check_said(line, code, 130)
    assert "Traceback" not in terminal.written
    assert line.endswith(
        f"of 3,000 images; {tmp_path}/page.html is unchanged; standard output has their rows"
    )
    done = int(line.split()[2].replace(",", ""))
    found = rows.read_text().splitlines()
    assert done <= len(found) <= done + 1
    assert all(json.loads(row)["error"] is None for row in found)
    assert len({json.loads(row)["path"] for row in found}) == len(found)
    assert (tmp_path / "page.html").read_text() == "old"
    check_nothing_half_written(tmp_path, ["page.html", "rows.jsonl"])


def stopped(
    arguments: Sequence[object],
    ready: Callable[[], bool],
    number: signal.Signals,
    program: str = "inceptcli",
) -> tuple[int, list[str], str]:
    """Exit code, lines on standard error and standard output after a signal to the group."""
    process = subprocess.Popen(
        command(*arguments, program=program),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    wait_for(ready, process)
    os.killpg(process.pid, number)
    output, errors = process.communicate(timeout=120)
    return process.returncode, errors.decode().splitlines(), output.decode()


SIGNALS = [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]


@pytest.mark.parametrize(("number", "expected"), SIGNALS[:2])
def test_a_shard_says_its_rows_and_goes_on(
    pictures: Path, weights: Path, tmp_path: Path, number: signal.Signals, expected: int
) -> None:
    part = tmp_path / "parts/part-00000-of-00020"
    arguments = ["predict", pictures, "--weights", weights, "--shard", "0/20"]
    arguments += ["--output", part.parent]
    code, said, _ = stopped(
        arguments, lambda: any(part.glob("rows-*")), number, "tests.prediction.small_files"
    )
    (line,) = said
    check_said(line, code, expected)
    files = rows_files(part)
    rows = sum(count for _, count in files)
    assert 0 <= rows - int(line.split()[2].replace(",", "")) <= 1
    assert f"; {part} keeps its rows; the same command continues" in line
    before = {path: path.read_bytes() for path, _ in files}
    again = subprocess.run(command(*arguments), capture_output=True, check=False)
    assert again.returncode == 0, again.stderr
    assert {path: path.read_bytes() for path in before} == before
    assert sum(count for _, count in rows_files(part)) == COUNT // 20


def has_workers(folder: Path) -> bool:
    """Whether `data check` of the folder has started processes that read images."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if f"data\0check\0{folder}\0" in (entry / "cmdline").read_text():
                return bool((entry / f"task/{entry.name}/children").read_text())
        except (OSError, UnicodeDecodeError):  # it ended meanwhile
            continue
    return False


def partial_file(folder: Path) -> Callable[[], bool]:
    return lambda: any(folder.glob(".*.partial")) if folder.exists() else False


@pytest.mark.parametrize(
    ("name", "number", "expected"),
    [
        *(("predict", *each) for each in SIGNALS),
        *(("check", *each) for each in SIGNALS),  # has processes that hear the signal too
        ("eval", *SIGNALS[0]),
        ("shard", *SIGNALS[1]),
    ],
)
def test_files_are_there_whole_or_not_at_all(
    pictures: Path,
    weights: Path,
    tmp_path: Path,
    name: str,
    number: signal.Signals,
    expected: int,
) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    output = folder / "answers.csv"
    data = pictures.parent / "for-eval"
    if name == "eval" and not data.exists():
        data.mkdir()
        for label in range(2):
            (data / f"n{label}").symlink_to(pictures / f"class-{label}")
    arguments = {
        "predict": ["predict", pictures, "--weights", weights, "--output", output],
        "eval": ["eval", weights, "--data", data, "--predictions", output],
        "check": ["data", "check", pictures, "--workers", "2"],
        "shard": ["data", "shard", pictures, "--output", folder, "--count", "150"],
    }[name]
    ready = {
        "predict": partial_file(folder),
        "eval": partial_file(folder),
        "check": lambda: has_workers(pictures),
        "shard": lambda: any(folder.glob("*.tar.json")),
    }[name]
    code, said, printed = stopped(arguments, ready, number)
    assert said, printed
    assert said[-1].startswith("interrupted"), said
    assert len(said) == 1
    assert code == expected
    assert printed == ""
    assert not list(folder.glob(".*"))
    if name in ("predict", "eval"):
        assert f"; {output} is not written" in said[0]
        check_nothing_half_written(folder, [])
    if name == "shard":
        assert said[0].endswith("; finished shards are kept; the same command continues")
        shards = {path.name for path in folder.glob("*.tar")}
        indices = {path.name for path in folder.glob("*.tar.json")}
        assert indices
        assert indices <= {f"{name}.json" for name in shards}


def test_notes_follow_in_the_order_in_which_the_blocks_end(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with (
        pytest.raises(Exit) as ended,
        interruptible(),
        noted(lambda: "the last"),
        noted(lambda: ""),
        noted(lambda: "after 1 image"),
    ):
        os.kill(os.getpid(), signal.SIGTERM)
    assert ended.value.exit_code == 143
    assert capsys.readouterr().err == "interrupted after 1 image; the last\n"


STUCK = """
import sys
from pathlib import Path
from inceptcli.files.atomic_file import replacing
from inceptcli.cli import interruption

interruption.STUCK_SECONDS = 0.2
sys.path.insert(0, sys.argv[1])
with interruption.interruptible(), replacing(Path(sys.argv[1], "out", "answers")):
    import never_done
"""


@pytest.mark.parametrize(("number", "expected"), SIGNALS)
def test_a_main_thread_that_leaves_a_signal_unanswered_is_left(
    tmp_path: Path, number: signal.Signals, expected: int
) -> None:
    # An import holds signals back, as a wait in C++ does, and when it has begun can be told.
    module = 'import time\nprint("ready", flush=True)\nwhile True: time.sleep(1)\n'
    (tmp_path / "never_done.py").write_text(module)
    (tmp_path / "out").mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", STUCK, str(tmp_path)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            assert process.stdout
            assert process.stdout.readline() == "ready\n"
            process.send_signal(number)
            _, said = process.communicate(timeout=60)
        finally:
            process.kill()
    line = f"interrupted; {tmp_path / 'out' / 'answers'} is not written\n"
    assert (process.returncode, said) == (expected, line)
    assert not list((tmp_path / "out").iterdir())


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    handler = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interruptible():
            os.kill(os.getpid(), signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, handler)


def test_help_and_guide_name_the_exit_codes() -> None:
    page = (Path(__file__).parents[2] / "inceptcli/guide/commands.md").read_text()
    (codes,) = re.findall(r"Exit codes:.*?\n\n", page, re.DOTALL)
    assert all(code in codes for code in ("75", "130", "143", "129"))
    done = subprocess.run(command("predict", "--help"), capture_output=True, text=True, check=True)
    assert "130" in done.stdout
