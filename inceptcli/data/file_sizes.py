"""Look up the sizes of many files, in several threads or processes. No torch."""

from __future__ import annotations

import os
import time
from array import array
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from inceptcli.data.file_paths import FilePaths
from inceptcli.data.folders import THREADS
from inceptcli.data.loading.forking import loading_context
from inceptcli.data.loading.reading_processes import ReadingProcesses
from inceptcli.processes.cores import usable_cores
from inceptcli.processes.launchers import processes_here

PART = 1000
"""Number of files to look up at a time."""

MANY = 100_000
"""Number of files from which processes save more time than they take to start."""

SLOW_SECONDS = 5e-5
"""Time to look up a file from which several threads are faster than one."""


def file_sizes(paths: FilePaths) -> Iterator[int]:
    """Yield the size of each file in bytes, -1 if it cannot be looked up.

    Uses several threads if a file takes long to look up, as in network file systems. If there are
    many files, uses one process per usable core, divided among the ranks on this machine: Python's
    part of a lookup holds the interpreter lock.

    Raises:
        UserError: a process was killed.
    """

    def sizes(at: int) -> array[int]:
        return array("q", map(_size, paths[at : at + PART].texts()))

    begun = time.perf_counter()
    yield from sizes(0)
    is_slow = time.perf_counter() - begun > PART * SLOW_SECONDS
    rest = range(PART, len(paths), PART)
    cores, context = usable_cores() // processes_here(), loading_context()
    if is_slow:
        with ThreadPoolExecutor(THREADS) as pool:
            for part in pool.map(sizes, rest):
                yield from part
    elif len(paths) < MANY or cores < 2 or context is None:
        for at in rest:
            yield from sizes(at)
    else:
        processes = ReadingProcesses(sizes, cores, context)
        try:
            with ThreadPoolExecutor(cores) as pool:
                for part in pool.map(processes.read, rest):
                    yield from part
        finally:
            processes.close()


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size  # noqa: PTH116 (a Path would take twice the time)
    except OSError:
        return -1
