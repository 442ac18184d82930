"""Look up the sizes of many files, in several threads or processes. No torch."""

from __future__ import annotations

import os
import time
from array import array
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain

from inceptcli.data.file_paths import FilePaths
from inceptcli.data.folders import THREADS
from inceptcli.data.loading.forking import loading_context
from inceptcli.data.loading.reading_processes import ReadingProcesses
from inceptcli.processes.cores import usable_cores
from inceptcli.processes.launchers import processes_here

PART = 1000
"""Number of files that a thread looks up at a time."""

PART_OF_PROCESS = 10_000
"""Number for a process, which waits for this one's interpreter lock after each part."""

MANY = 100_000
"""Number of files from which processes save more time than they take to start."""

MOST_PROCESSES = 8
"""With more, starting them one after the other takes longer than the lookups that they save."""

SLOW_SECONDS = 5e-5
"""Time to look up a file from which several threads are faster than one."""


def file_sizes(paths: FilePaths) -> Iterator[int]:
    """Yield the size of each file in bytes, -1 if it cannot be looked up.

    Uses several threads if a file takes long to look up, as in network file systems. If there are
    many files, uses several processes, whose number is limited by the usable cores, divided among
    the ranks on this machine: Python's part of a lookup holds the interpreter lock.

    Raises:
        UserError: a process was killed.
    """

    def sizes(part: range) -> array[int]:
        return array("q", map(_size, paths[part.start : part.stop].texts()))

    begun = time.perf_counter()
    first = sizes(range(PART))
    is_slow = time.perf_counter() - begun > PART * SLOW_SECONDS
    yield from first
    rest = _parts(len(paths), PART)
    if is_slow:
        with ThreadPoolExecutor(THREADS) as pool:
            yield from chain.from_iterable(pool.map(sizes, rest))
    elif processes := _processes(sizes, len(paths)):
        with ThreadPoolExecutor(processes.number) as pool:
            try:
                parts = _parts(len(paths), PART_OF_PROCESS)
                yield from chain.from_iterable(pool.map(processes.read, parts))
            finally:
                processes.close()  # the threads would wait for them
    else:
        yield from chain.from_iterable(map(sizes, rest))


def _parts(count: int, size: int) -> Iterator[range]:
    """Divide the numbers from PART to `count`."""
    return (range(at, at + size) for at in range(PART, count, size))


def _processes(sizes: Callable[[range], array[int]], count: int) -> ReadingProcesses | None:
    """Return processes that call `sizes`; None if one process is faster, or none can be started."""
    number, context = min(usable_cores() // processes_here(), MOST_PROCESSES), loading_context()
    if count < MANY or number < 2 or context is None:
        return None
    try:
        return ReadingProcesses(sizes, number, context)
    except OSError:  # a limit of processes or open files
        return None


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size  # noqa: PTH116 (a Path would take twice the time)
    except OSError:
        return -1
