"""Reads in threads what will be needed next, in order and only so far ahead."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from itertools import islice
from queue import Empty, Queue
from threading import Event, Thread
from typing import TypeVar

GRACE = 1.0
"""Seconds to wait for threads that are to end; one that waits for a source yet to come does not. A
daemon that still runs when the interpreter ends can abort the process where torch is loaded."""

Source = TypeVar("Source")
Item = TypeVar("Item")


def read_batches(
    sources: Iterable[Source], read: Callable[[Source], Item], batch_size: int, threads: int
) -> Iterator[list[Item]]:
    """Lists of `read(source)` in the order of the sources, each of 1 to `batch_size`.

    A list is shorter than that at the end and where the next source is not known yet, so that what
    another program names one by one is answered one by one. It is empty, which it else never is,
    where the next ones are still being read: time to hand out what is there. No more than
    `batch_size` + `threads` items wait at any time. What `sources` or `read` raise is raised here.
    """
    waiting: Queue[Future[Item] | None] = Queue(batch_size + threads)
    stopped = Event()

    def produce() -> None:
        try:
            with ThreadPoolExecutor(threads) as pool:
                for source in sources:
                    waiting.put(pool.submit(read, source))
                    if stopped.is_set():
                        return
        except BaseException as error:
            failed: Future[Item] = Future()
            failed.set_exception(error)
            waiting.put(failed)
        finally:
            waiting.put(None)

    # A daemon, because it may be waiting for standard input when the program ends.
    producer = Thread(target=produce, daemon=True)
    producer.start()
    try:
        while True:
            if not _is_ready(waiting, batch_size):
                yield []
            batch = _next_batch(waiting, batch_size)
            if not batch:
                return
            yield batch
    finally:
        stopped.set()
        with suppress(Empty):  # which lets a blocked producer go on and see that it shall stop
            while True:
                future = waiting.get_nowait()
                if future is not None:
                    future.cancel()
        producer.join(GRACE)


def _is_ready(waiting: Queue[Future[Item] | None], batch_size: int) -> bool:
    """Whether `_next_batch` would not have to wait."""
    with waiting.mutex:
        known = list(islice(waiting.queue, batch_size))
    return bool(known) and all(future is None or future.done() for future in known)


def _next_batch(waiting: Queue[Future[Item] | None], batch_size: int) -> list[Item]:
    batch: list[Item] = []
    with suppress(Empty):
        while len(batch) < batch_size:
            future = waiting.get(block=not batch)
            if future is None:
                waiting.put(None)  # the end is found again by the next call
                break
            batch.append(future.result())
    return batch
