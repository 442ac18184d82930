"""Forked processes that read items for threads of this process. No torch."""

from __future__ import annotations

import os
import pickle
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from multiprocessing.util import Finalize
from queue import SimpleQueue
from socket import MSG_WAITALL, SO_SNDBUF, SOL_SOCKET, socket, socketpair
from typing import Any

import numpy as np

from inceptcli.data.pixels.decode import share_room
from inceptcli.errors import UserError
from inceptcli.processes.signals import STOPPING_SIGNALS, signals_held

BUFFER_BYTES = 2**20


class ReadingProcesses:
    """Forked processes, each of which reads one item at a time for a thread of this process.

    Items and results go through sockets, arrays without a copy.

    Attributes:
        number: Number of processes.
        close: Kills the processes, which have nothing to save; a waiting `read` raises UserError.
    """

    def __init__(self, read: Callable[[Any], Any], number: int, context: BaseContext) -> None:
        """Start the processes; items and results must be picklable, `read` need not be.

        Raises OSError if a process cannot be started; none is left then.
        """
        self.number = number
        self._free: SimpleQueue[socket] = SimpleQueue()
        channels: list[socket] = []
        processes = self._processes = list[BaseProcess]()
        # Otherwise multiprocessing would wait at exit for processes that wait for items.
        self.close = Finalize(self, _kill, (channels, processes), exitpriority=0)
        try:
            room = context.Lock()
            with signals_held():  # the main process handles them
                for _ in range(number):
                    own, theirs = socketpair()
                    channels.append(own)
                    with theirs:
                        own.setsockopt(SOL_SOCKET, SO_SNDBUF, BUFFER_BYTES)
                        theirs.setsockopt(SOL_SOCKET, SO_SNDBUF, BUFFER_BYTES)
                        process = context.Process(  # type: ignore[attr-defined]
                            target=_serve, args=(theirs, channels, read, room, number), daemon=True
                        )
                        process.start()
                    processes.append(process)
                    self._free.put(own)
        except BaseException:
            self.close()
            raise

    def read(self, item: Any) -> Any:
        """Call `read` in one of the processes; raise UserError if it was killed."""
        channel = self._free.get()
        try:
            _send(channel, item)
            error, result = _receive(channel)
        except (EOFError, OSError) as lost:
            raise UserError("a process that reads files was killed; memory may be short") from lost
        finally:
            self._free.put(channel)
        if error is not None:
            error.__cause__ = result  # which pickle leaves out of an exception
            raise error
        return result


def _kill(channels: Sequence[socket], processes: Sequence[BaseProcess]) -> None:
    for process in processes:
        process.kill()
    for process in processes:
        process.join()
        process.close()
    for channel in channels:
        channel.close()


def _serve(
    channel: socket, others: Sequence[socket], read: Callable[[Any], Any], room: Any, number: int
) -> None:
    """Answer until the main process closes its end or exits."""
    for other in others:
        other.close()
    for stopping in STOPPING_SIGNALS:
        signal.signal(stopping, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING_SIGNALS)
    share_room(number, room)
    with suppress(EOFError, OSError):
        while True:
            _send(channel, _answer(read, _receive(channel)))
    os._exit(0)


def _answer(read: Callable[[Any], Any], item: Any) -> tuple[Exception | None, Any]:
    """Return no error and the result, or an error and the OSError that caused it, if one did."""
    try:
        return None, read(item)
    except Exception as error:
        return error, error.__cause__ if isinstance(error.__cause__, OSError) else None


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
    """Receive `size` bytes; raise EOFError if the other end is closed before."""
    found = bytearray(size)
    view, start = memoryview(found), 0
    while start < size:
        count = channel.recv_into(view[start:], size - start, MSG_WAITALL)
        if not count:
            raise EOFError
        start += count
    return found
