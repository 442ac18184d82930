"""Standard streams that outlive their readers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

WRITES = """
import os, sys
from inceptcli.processes.standard_streams import secure_standard_streams, tell_loss
secure_standard_streams()
{reports_first}
for number in range(3):
    print(f"line {{number}}", file=sys.stderr)
os.write(2, b"a library's own line")
{reports_last}
print("done")
"""
REPORT = "tell_loss(lambda reason: print('lost:', reason))"


def run(code: str, stderr: int) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=stderr, text=True, check=True
    )
    return done.stdout


@pytest.mark.parametrize("first", [True, False])
def test_a_reader_that_leaves_is_told_once_and_ends_nothing(first: bool) -> None:
    code = WRITES.format(
        reports_first=REPORT if first else "", reports_last="" if first else REPORT
    )
    reading, writing = os.pipe()
    os.close(reading)
    try:
        assert run(code, writing) == "lost: Broken pipe\ndone\n"
    finally:
        os.close(writing)


def test_what_is_read_is_not_lost(tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.mktemp("streams") / "stderr"
    with file.open("w") as stream:
        code = WRITES.format(reports_first=REPORT, reports_last="")
        assert run(code, stream.fileno()) == "done\n"
    assert file.read_text() == "line 0\nline 1\nline 2\na library's own line"


@pytest.mark.parametrize("closed", ["2>&-", "0<&- 2>&-", "0<&- 1>&- 2>&-"])
def test_no_file_takes_the_place_of_a_closed_stream(closed: str) -> None:
    code = (
        "from inceptcli.processes.standard_streams import secure_standard_streams;"
        "secure_standard_streams(); import sys;"
        "print('lost', file=sys.stderr); sys.stdin.read();"
        "sys.exit(0 if open('/dev/null').fileno() > 2 else 3)"
    )
    done = subprocess.run(
        ["sh", "-c", f'exec "$0" -c "$1" {closed}', sys.executable, code],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0
    assert done.stdout == ""


def inceptcli(arguments: str, redirected: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "-c", f'exec "$0" -m inceptcli {arguments} {redirected}', sys.executable],
        capture_output=True, text=True, check=False,
    )  # fmt: skip


INTERRUPTED = """
import random, signal, sys
from inceptcli.processes.standard_streams import secure_standard_streams
secure_standard_streams()

class Stop(Exception):
    pass

def stop(*_):
    raise Stop

signal.signal(signal.SIGALRM, stop)
draw = random.Random(0)
for turn in range(1000):
    try:
        signal.setitimer(signal.ITIMER_REAL, draw.uniform(1e-6, 3e-4))
        while True:
            number = draw.random()
            print(f"{turn} {number}\\n", end="", flush=True)
    except Stop:
        pass
"""


def test_a_signal_in_a_write_repeats_no_line(tmp_path: Path) -> None:
    with (tmp_path / "lines").open("w") as file:
        subprocess.run([sys.executable, "-c", INTERRUPTED], stdout=file, check=True)
    lines = (tmp_path / "lines").read_text().splitlines()
    assert len(lines) > 1000
    assert all(len(line.split()) == 2 for line in lines)
    assert len(set(lines)) == len(lines)


def test_a_slow_reader_of_a_non_blocking_pipe_gets_all() -> None:
    program = """
from inceptcli.processes.standard_streams import secure_standard_streams
secure_standard_streams()
for number in range(3):
    print("x" * 200_000, flush=number == 1)
print("end")
"""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with subprocess.Popen([sys.executable, "-c", program], stdout=writing) as process:
        os.close(writing)
        time.sleep(1)  # it has filled the pipe by then
        with os.fdopen(reading) as stream:
            lines = stream.read().splitlines()
    assert process.returncode == 0
    assert lines == ["x" * 200_000] * 3 + ["end"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="has no device that is always full")  # noqa: PTH110
@pytest.mark.parametrize("arguments", ["list networks", "--help", "--version", "summarize irv1"])
def test_results_that_do_not_fit_are_one_line(arguments: str) -> None:
    done = inceptcli(arguments, ">/dev/full")
    assert done.returncode == 1
    assert done.stderr == "Error: standard output: No space left on device\n"


def test_results_without_a_place_to_go_are_an_error() -> None:
    done = inceptcli("list networks", ">&-")
    assert done.returncode == 1
    assert done.stderr == "Error: standard output: closed; results cannot be written\n"


@pytest.mark.parametrize("arguments", ["list keys", "--help", "--version", "summarize irv1"])
def test_a_reader_of_results_that_leaves_ends_the_command_as_it_ends_others(arguments: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "inceptcli", *arguments.split()],
            stdout=writing, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, "")


@pytest.mark.parametrize(
    "arguments", ["train --data ''", "train --output ''", "train --output=", "summarize ''"]
)
def test_an_empty_argument_is_refused(arguments: str) -> None:
    done = inceptcli(arguments, "")
    assert done.returncode == 2
    assert "the value is empty" in done.stderr
