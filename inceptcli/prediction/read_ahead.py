"""Read ahead in threads, in order and with bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from itertools import islice
from queue import Empty, Queue
from threading import Event, Thread
from typing import TypeVar

GRACE = 1.0
"""Seconds to wait for threads to end; one that is waiting for its next source does not.

A daemon thread that is still running when the interpreter exits can abort the process if torch is
loaded.
"""

Source = TypeVar("Source")
Item = TypeVar("Item")


def read_batches(
    sources: Iterable[Source], read: Callable[[Source], Item], batch_size: int, threads: int
) -> Iterator[list[Item]]:
    """Yield lists of 1 to `batch_size` results `read(source)`, in the order of the sources.

    A list is shorter at the end, and when the next source is not known yet, so paths that another
    program writes one by one are answered one by one. An empty list means that the next results are
    not ready: time to pass on finished work. At most `batch_size` + `threads` items wait at any
    time. Exceptions of `sources` and `read` are raised here.
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

    # A daemon: it may still wait for standard input when the program ends.
    producer = Thread(target=produce, daemon=True)
    producer.start()
    try:
        while True:
            if not _is_ready(waiting, batch_size):
                yield []
            batch, error = _next_batch(waiting, batch_size)
            if batch:
                yield batch
            if error is not None:
                raise error
            if not batch:
                return
    finally:
        stopped.set()
        with suppress(Empty):  # unblocks the producer, which then sees `stopped`
            while True:
                future = waiting.get_nowait()
                if future is not None:
                    future.cancel()
        producer.join(GRACE)


def _is_ready(waiting: Queue[Future[Item] | None], batch_size: int) -> bool:
    """Whether `_next_batch` would return without waiting."""
    with waiting.mutex:
        known = list(islice(waiting.queue, batch_size))
    return bool(known) and all(future is None or future.done() for future in known)


def _next_batch(
    waiting: Queue[Future[Item] | None], batch_size: int
) -> tuple[list[Item], Exception | None]:
    """Return the next items, and the error that came after them if there was one."""
    batch: list[Item] = []
    with suppress(Empty):
        while len(batch) < batch_size:
            future = waiting.get(block=not batch)
            if future is None:
                waiting.put(None)  # for the next call
                break
            try:
                batch.append(future.result())
            except Exception as error:
                return batch, error
    return batch, None
