"""Sizes of files are the same, in order, however many threads or processes look them up."""

from __future__ import annotations

import errno
import os
import signal
from itertools import islice
from pathlib import Path
from time import sleep

import pytest

from inceptcli.data import file_sizes
from inceptcli.data.file_paths import FilePaths
from inceptcli.data.loading.forking import loading_context
from inceptcli.errors import UserError

IN_PROCESSES = pytest.mark.skipif(loading_context() is None, reason="processes are not forked here")
COUNT = 75


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FilePaths:
    """COUNT files of 0 to COUNT - 1 bytes, looked up two at a time, and one that is missing."""
    monkeypatch.setattr(file_sizes, "PART", 2)
    monkeypatch.setattr(file_sizes, "PART_OF_PROCESS", 3)
    monkeypatch.setattr(file_sizes, "SLOW_SECONDS", 1e9)
    files = [tmp_path / f"{number:02}.jpg" for number in range(COUNT)]
    for number, file in enumerate(files):
        file.write_bytes(b"\0" * number)
    return FilePaths.of([*files, tmp_path / "missing.jpg"])


@pytest.fixture
def pids(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Make files many for three processors; return a file that gets a line per lookup."""
    monkeypatch.setattr(file_sizes, "MANY", COUNT)
    monkeypatch.setattr(file_sizes, "usable_cores", lambda: 64)
    monkeypatch.setattr(file_sizes, "MOST_PROCESSES", 2)
    kept, log = file_sizes._size, tmp_path / "pids"

    def size(path: str) -> int:
        with log.open("a") as lines:
            lines.write(f"{os.getpid()}\n")
        return kept(path)

    monkeypatch.setattr(file_sizes, "_size", size)
    return log


@pytest.mark.parametrize("slow_seconds", [0.0, 1e9])
def test_in_threads(paths: FilePaths, monkeypatch: pytest.MonkeyPatch, slow_seconds: float) -> None:
    monkeypatch.setattr(file_sizes, "SLOW_SECONDS", slow_seconds)
    assert list(file_sizes.file_sizes(paths)) == [*range(COUNT), -1]


@IN_PROCESSES
@pytest.mark.usefixtures("open_files")
def test_in_processes(paths: FilePaths, pids: Path) -> None:
    assert list(file_sizes.file_sizes(paths)) == [*range(COUNT), -1]
    counts = [pids.read_text().split().count(pid) for pid in {*pids.read_text().split()}]
    assert sum(counts) == COUNT + 1
    assert pids.read_text().split().count(str(os.getpid())) == 2
    assert len(counts) in (2, 3)


@IN_PROCESSES
@pytest.mark.usefixtures("open_files", "pids")
def test_processes_end_when_the_rest_is_not_wanted(paths: FilePaths) -> None:
    assert list(islice(file_sizes.file_sizes(paths), 9)) == [*range(9)]


@IN_PROCESSES
@pytest.mark.usefixtures("pids")
def test_one_process_does_where_no_other_can_be_started(
    paths: FilePaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(os, "fork", refuse)
    assert list(file_sizes.file_sizes(paths)) == [*range(COUNT), -1]


def test_a_slow_user_of_the_sizes_is_no_slow_file_system(
    paths: FilePaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_sizes, "SLOW_SECONDS", 0.5)
    monkeypatch.setattr(file_sizes, "ThreadPoolExecutor", None)
    for number, size in enumerate(file_sizes.file_sizes(paths)):
        assert size == (number if number < COUNT else -1)
        sleep(1.1 * (number == 0))


@IN_PROCESSES
@pytest.mark.usefixtures("open_files", "pids")
def test_a_killed_process_is_a_line(paths: FilePaths, monkeypatch: pytest.MonkeyPatch) -> None:
    main = os.getpid()

    def killed(path: str) -> int:
        if os.getpid() != main:
            os.kill(os.getpid(), signal.SIGKILL)
        return 0

    monkeypatch.setattr(file_sizes, "_size", killed)
    with pytest.raises(UserError, match="a process that reads files was killed"):
        list(file_sizes.file_sizes(paths))
