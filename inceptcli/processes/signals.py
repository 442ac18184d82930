"""The signals that ask a run to stop."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_holding: list[bool] = []
"""One entry for each block of the main thread that holds signals."""

Handler = Callable[[int, FrameType | None], None]

AGAIN_SECONDS = 0.05

REPEATED_SECONDS = 1.0
"""A signal that comes sooner after the first is the same one: `timeout` sends it twice."""

EXIT_STOPPED = 75
"""EX_TEMPFAIL: stopped early after saving; the same command continues."""

STOPPING_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)


def signals_to_take() -> list[signal.Signals]:
    """Those of them that this process shall act upon: not SIGHUP where nohup has it ignored."""
    ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return [each for each in STOPPING_SIGNALS if not (ignored and each is signal.SIGHUP)]


@contextmanager
def unanswered(
    answered: threading.Event, seconds: float, leave: Callable[[int], None]
) -> Iterator[None]:
    """In this block `leave` is called with a signal that is unanswered so many seconds later.

    A main thread that waits in C++, for other ranks say, runs no handler, but a thread sees what
    came. The end of the block is an answer too. For the main thread.
    """
    answered.clear()
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    woken = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)

    def watch() -> None:
        with os.fdopen(reader, "rb", buffering=0) as numbers:
            while number := numbers.read(1):
                if number[0] in STOPPING_SIGNALS and not answered.wait(seconds):
                    leave(number[0])

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        answered.set()
        signal.set_wakeup_fd(woken)
        os.close(writer)


@contextmanager
def signals_held() -> Iterator[None]:
    """Hold them back from this thread, and from processes that are started in the block.

    Where another thread is given one, the main thread's handler waits for the end of the block.
    """
    is_main = threading.current_thread() is threading.main_thread()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING_SIGNALS)
    if is_main:
        _holding.append(True)
    try:
        yield
    finally:
        if is_main:
            _holding.pop()
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def after_imports(handler: Handler) -> Handler:
    """A handler that may raise: a signal that comes at a wrong time comes again a moment later.

    That is while signals are held, and during an import.

    An exception in the middle of an import leaves modules half made, and what is then shown is a
    traceback of theirs.
    """

    def handle(number: int, frame: FrameType | None) -> None:
        if _holding or _imports(frame):
            again = threading.Timer(AGAIN_SECONDS, os.kill, (os.getpid(), number))
            again.daemon = True
            again.start()
        else:
            handler(number, frame)

    return handle


def _imports(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False
