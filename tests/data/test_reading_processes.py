"""Forked processes that read items for threads of the main process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from time import monotonic, sleep

import pytest

from inceptcli.data.loading.forking import loading_context
from inceptcli.data.loading.reading_processes import ReadingProcesses
from inceptcli.errors import UserError

pytestmark = pytest.mark.skipif(loading_context() is None, reason="processes are not forked here")


def started(read: Callable[[int], object], number: int = 2) -> ReadingProcesses:
    context = loading_context()
    assert context is not None
    return ReadingProcesses(read, number, context)


@pytest.mark.usefixtures("open_files")
def test_a_process_that_is_killed_is_a_line() -> None:
    processes = started(lambda _: os.kill(os.getpid(), signal.SIGKILL))
    with pytest.raises(UserError, match="an image-reading process was killed"):
        processes.read(0)
    processes.close()


@pytest.mark.usefixtures("open_files")
def test_signals_to_the_group_are_for_the_main_process() -> None:
    def read(number: int) -> int:
        for each in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
            os.kill(os.getpid(), each)
        return number

    processes = started(read)
    assert [processes.read(number) for number in range(4)] == list(range(4))
    processes.close()


def test_they_end_with_a_main_process_that_is_killed(tmp_path: Path) -> None:
    program = """
import os, signal
from inceptcli.data.loading.forking import loading_context
from inceptcli.data.loading.reading_processes import ReadingProcesses
processes = ReadingProcesses(lambda _: os.getpid(), 3, loading_context())
print({processes.read(0), *(process.pid for process in processes._processes)}, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    ids = [int(number) for number in done.stdout.strip("{}\n").split(", ")]
    assert len(ids) == 3
    deadline = monotonic() + 60
    while any(Path(f"/proc/{number}/cmdline").exists() and _runs(number) for number in ids):
        assert monotonic() < deadline
        sleep(0.05)


def _runs(number: int) -> bool:
    try:
        return Path(f"/proc/{number}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
