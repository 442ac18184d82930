"""Forked processes that read items for threads of the main process."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import active_children
from pathlib import Path
from time import monotonic, sleep

import pytest

from inceptcli.data.loading.forking import loading_context
from inceptcli.data.loading.reading_processes import ReadingProcesses
from inceptcli.errors import UserError
from inceptcli.processes.signals import STOPPING_SIGNALS

pytestmark = pytest.mark.skipif(loading_context() is None, reason="processes are not forked here")


def started(read: Callable[[int], object], number: int = 2) -> ReadingProcesses:
    context = loading_context()
    assert context is not None
    return ReadingProcesses(read, number, context)


@pytest.mark.usefixtures("open_files")
def test_a_process_that_is_killed_is_a_line() -> None:
    processes = started(lambda _: os.kill(os.getpid(), signal.SIGKILL))
    with pytest.raises(UserError, match="process that reads files was killed"):
        processes.read(0)
    processes.close()


@pytest.mark.usefixtures("open_files")
def test_an_error_keeps_the_systems_error_that_caused_it() -> None:
    def read(number: int) -> None:
        try:
            Path(f"missing-{number}").read_bytes()
        except OSError as error:
            raise UserError("cannot be read") from error

    processes = started(read)
    with pytest.raises(UserError, match="cannot be read") as found:
        processes.read(7)
    processes.close()
    assert isinstance(found.value.__cause__, FileNotFoundError)
    assert found.value.__cause__.filename == "missing-7"


@pytest.mark.usefixtures("open_files")
def test_signals_to_the_group_are_for_the_main_process() -> None:
    def read(number: int) -> int:
        for each in STOPPING_SIGNALS:
            os.kill(os.getpid(), each)
        return number

    processes = started(read)
    assert [processes.read(number) for number in range(4)] == list(range(4))
    processes.close()


@pytest.mark.usefixtures("open_files")
def test_closing_does_not_wait_for_what_is_read() -> None:
    processes = started(lambda _: os.kill(os.getpid(), signal.SIGSTOP))
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(processes.read, 0)
        while not any(_state(each.pid) == "T" for each in processes._processes):
            sleep(0.01)
        processes.close()
        with pytest.raises(UserError, match="killed"):
            waiting.result(60)


def test_none_is_left_if_one_cannot_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    fork, forks = os.fork, iter(range(2))

    def refuse_the_third() -> int:
        if next(forks, None) is None:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return fork()

    monkeypatch.setattr(os, "fork", refuse_the_third)
    with pytest.raises(BlockingIOError):
        started(str, 3)
    assert not active_children()


def test_a_program_that_does_not_close_them_ends() -> None:
    program = """
import gc
from inceptcli.data.loading.forking import loading_context
from inceptcli.data.loading.reading_processes import ReadingProcesses
processes = ReadingProcesses(str, 2, loading_context())
assert processes.read(1) == "1"
gc.freeze()
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=100)


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
        return _state(number) != "Z"
    except OSError:
        return False


def _state(number: int | None) -> str:
    return Path(f"/proc/{number}/stat").read_text().rsplit(")", 1)[1].split()[0]
