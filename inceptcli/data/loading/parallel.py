"""One function over many items in several processes, results in order. No torch."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import TypeVar

from inceptcli.errors import UserError
from inceptcli.processes.cores import usable_cores
from inceptcli.processes.signals import STOPPING_SIGNALS, signals_held

WAITING = 4
"""Chunks for each worker that are handed out ahead of what is asked for."""

SAME_SIGNAL_SECONDS = 0.5
"""For a signal that killed a worker to arrive here, too, where it is one to the whole group."""

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
    with signals_held():  # multiprocessing's own helper process knows of no SIGHUP
        pool = ProcessPoolExecutor(workers, get_context("spawn"), initializer=_leave_signals)
    waiting: deque[Future[list[Result]]] = deque()
    try:
        for start in range(0, len(items), chunk):
            with signals_held():  # workers, until they are initialized
                waiting.append(pool.submit(_results, function, items[start : start + chunk]))
            if len(waiting) == WAITING * workers:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()
    except BrokenProcessPool as error:
        time.sleep(SAME_SIGNAL_SECONDS)
        raise UserError("a process that read images was killed; try --workers 1") from error
    finally:
        pool.shutdown(cancel_futures=True)


def _leave_signals() -> None:
    """In a worker: an interrupt is for the main process, which then ends the others."""
    for number in STOPPING_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING_SIGNALS)


def _results(function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    try:
        return [function(item) for item in items]
    except SystemExit as stop:  # the pool would take it for a result
        os._exit(int(stop.code or 0))
