"""One function over many items in several processes, results in order. No torch."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import TypeVar

from inceptcli.cores import usable_cores
from inceptcli.errors import UserError

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_processes(
    function: Callable[[Item], Result], items: Sequence[Item], workers: int | None, chunk: int = 1
) -> Iterator[Result]:
    """`function` of each item, in `workers` processes that take `chunk` items at a time.

    By default as many as this process may use cores; one worker is this process itself.
    Raises UserError when one of them is killed, and what `function` raises.
    """
    workers = workers or usable_cores()
    if workers == 1:
        yield from map(function, items)
        return
    pool = ProcessPoolExecutor(
        workers,
        get_context("spawn"),
        initializer=signal.signal,  # an interrupt is for this process, which then ends the others
        initargs=(signal.SIGINT, signal.SIG_IGN),
    )
    try:
        with pool:
            yield from pool.map(function, items, chunksize=chunk)
    except BrokenProcessPool as error:
        raise UserError("a process that read images was killed; try --workers 1") from error
