"""Map a function over items in several processes, with results in order. No torch."""

from __future__ import annotations

import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from types import FrameType
from typing import NoReturn, TypeVar

from inceptcli.errors import UserError
from inceptcli.files.atomic_file import abandon
from inceptcli.processes.cores import usable_cores
from inceptcli.processes.signals import STOPPING_SIGNALS, signals_held

WAITING = 4
"""Chunks submitted ahead per worker."""

SAME_SIGNAL_SECONDS = 0.5
"""How long to wait for the signal that killed a worker, if it was sent to the whole group."""

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_processes(
    function: Callable[[Item], Result], items: Sequence[Item], workers: int | None, chunk: int = 1
) -> Iterator[Result]:
    """Yield `function(item)` for each item, in order.

    Args:
        function: Called in the workers; its exceptions are raised here.
        items: Arguments of `function`.
        workers: Number of processes; None for one per usable core, 1 for this process itself.
        chunk: Items that a worker takes at a time.

    Raises:
        UserError: a worker was killed.
    """
    workers = workers or usable_cores()
    if workers == 1:
        yield from map(function, items)
        return
    with signals_held():  # multiprocessing's resource tracker does not ignore SIGHUP
        pool = ProcessPoolExecutor(workers, get_context("spawn"), initializer=_leave_signals)
    waiting: deque[Future[list[Result]]] = deque()
    try:
        for start in range(0, len(items), chunk):
            with signals_held():  # new workers inherit the mask until they are initialized
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
    """Initialize a worker to ignore interrupts; the main process handles them."""
    for number in STOPPING_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _terminate)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING_SIGNALS)


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    """Remove the unfinished files of this worker and exit.

    An exception would not do: a second signal, which the pool sends to the other workers when one
    exits, would interrupt the removal.
    """
    abandon()
    os._exit(128 + number)


def _results(function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    return [function(item) for item in items]
