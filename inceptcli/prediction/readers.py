"""Who decodes and cuts pictures: threads, or beside a fast device processes. No torch."""

from __future__ import annotations

import os
import pickle
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.context import BaseContext
from queue import SimpleQueue
from socket import MSG_WAITALL, SO_SNDBUF, SOL_SOCKET, socket, socketpair
from typing import Any, TypeVar

import numpy as np

from inceptcli.data.loading.forking import loading_context
from inceptcli.data.pixels.decode import share_room
from inceptcli.errors import UserError
from inceptcli.processes.cores import usable_cores
from inceptcli.processes.launchers import processes_here
from inceptcli.processes.signals import STOPPING_SIGNALS, signals_held

MOST_THREADS = 4
"""More than these decode little more: they wait for the interpreter's lock and for memory.

Of 16 processors 4 threads made 620 crops of 299 pixels a second, 16 threads 900, 16 processes 2080.
"""

BUFFER_BYTES = 2**20

GRACE = 10.0
"""Seconds for a process to end by itself."""

Item = TypeVar("Item")
Result = TypeVar("Result")


def default_threads() -> int:
    """As many as this process has processors, and at most MOST_THREADS."""
    return min(MOST_THREADS, usable_cores())


@contextmanager
def readers(
    read: Callable[[Item], Result], threads: int | None, fast: bool
) -> Iterator[tuple[Callable[[Item], Result], int]]:
    """What reads an item, and how many threads are to call it.

    It is `read` itself; or where a `fast` device waits for more than threads can decode, and no
    number of `threads` is given, what has a process read it. Each processor then has one,
    or its share where torchrun has started several processes here.
    """
    context, cores = loading_context(), usable_cores() // processes_here()
    if threads or not fast or context is None or cores <= MOST_THREADS:
        yield read, threads or default_threads()
        return
    processes = ReadingProcesses(read, cores, context)
    try:
        yield processes.read, cores
    finally:
        processes.close()


class ReadingProcesses:
    """Forked processes that each read one item at a time for a thread of this one.

    Items and results go through sockets, arrays in one piece.
    """

    def __init__(self, read: Callable[[Any], Any], number: int, context: BaseContext) -> None:
        """Start them; `read` needs not be picklable, what it is given and returns does."""
        pairs = [socketpair() for _ in range(number)]
        self._free: SimpleQueue[socket] = SimpleQueue()
        room = context.Lock()
        self._processes = []
        with signals_held():  # which the main process answers
            for own, theirs in pairs:
                own.setsockopt(SOL_SOCKET, SO_SNDBUF, BUFFER_BYTES)
                theirs.setsockopt(SOL_SOCKET, SO_SNDBUF, BUFFER_BYTES)
                others = [end for pair in pairs for end in pair if end is not theirs]
                process = context.Process(  # type: ignore[attr-defined]
                    target=_serve, args=(theirs, others, read, room, number), daemon=True
                )
                process.start()
                self._processes.append(process)
                self._free.put(own)
        for _, theirs in pairs:
            theirs.close()
        self._channels = [own for own, _ in pairs]

    def read(self, item: Any) -> Any:
        """As `read` in one of the processes; UserError when that was killed."""
        channel = self._free.get()
        try:
            _send(channel, item)
            error, result = _receive(channel)
        except (EOFError, OSError) as failure:
            raise UserError(
                "a process that read images was killed; memory may be short"
            ) from failure
        finally:
            self._free.put(channel)
        if error is not None:
            raise error
        return result

    def close(self) -> None:
        """End them."""
        for channel in self._channels:
            channel.close()
        for process in self._processes:
            process.join(GRACE)
            process.kill()
            process.join()
            process.close()


def _serve(
    channel: socket, others: Sequence[socket], read: Callable[[Any], Any], room: Any, number: int
) -> None:
    """Answer until the main process closes its end, or is gone."""
    for other in others:
        other.close()
    for stopping in STOPPING_SIGNALS:
        signal.signal(stopping, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    share_room(number, room)
    with suppress(EOFError, OSError):
        while True:
            _send(channel, _answer(read, _receive(channel)))
    os._exit(0)


def _answer(read: Callable[[Any], Any], item: Any) -> tuple[Exception | None, Any]:
    try:
        return None, read(item)
    except Exception as error:
        return error, None


def _send(channel: socket, message: Any) -> None:
    arrays: list[pickle.PickleBuffer] = []
    head = pickle.dumps(message, protocol=5, buffer_callback=arrays.append)
    views = [array.raw() for array in arrays]
    sizes = np.array([len(head), len(views), *(view.nbytes for view in views)], np.int64)
    channel.sendall(sizes.tobytes())
    channel.sendall(head)
    for view in views:
        channel.sendall(view)


def _receive(channel: socket) -> Any:
    length, count = np.frombuffer(_exactly(channel, 16), np.int64).tolist()
    sizes = np.frombuffer(_exactly(channel, 8 * count), np.int64).tolist()
    head = _exactly(channel, length)
    return pickle.loads(head, buffers=[_exactly(channel, size) for size in sizes])


def _exactly(channel: socket, size: int) -> bytearray:
    """So many bytes; EOFError when the other end is closed before them."""
    found = bytearray(size)
    view, start = memoryview(found), 0
    while start < size:
        count = channel.recv_into(view[start:], size - start, MSG_WAITALL)
        if not count:
            raise EOFError
        start += count
    return found
