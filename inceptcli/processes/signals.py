"""The signals that ask a run to stop."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_holding: list[bool] = []
"""One entry per block of the main thread that holds signals back."""

Handler = Callable[[int, FrameType | None], None]

AGAIN_SECONDS = 0.05

REPEATED_SECONDS = 1.0
"""A signal within this time after the first is a repetition: `timeout` sends it twice."""

EXIT_STOPPED = 75
"""EX_TEMPFAIL: stopped early after saving; the same command continues the run."""

STOPPING_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)


def signals_to_take() -> list[signal.Signals]:
    """Return the stopping signals to handle; SIGHUP is left out if ignored (nohup)."""
    ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return [each for each in STOPPING_SIGNALS if not (ignored and each is signal.SIGHUP)]


@contextmanager
def unanswered(
    answered: threading.Event, seconds: float, leave: Callable[[int], None]
) -> Iterator[None]:
    """Call `leave` with a signal that is not answered within `seconds` in this block.

    A main thread that waits in C++, such as for other ranks, runs no handlers; a second thread
    watches for signals. The end of the block counts as an answer. Use it in the main thread only.
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
    """Hold signals back from this thread and from processes started in the block.

    If another thread receives a signal, the main thread's handler runs after the block.
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
    """Wrap a handler that may raise: postpone signals during imports and while they are held.

    An exception in the middle of an import leaves incomplete modules and shows a traceback of
    theirs. Python ignores an exception in a destructor, which garbage collection may run anywhere.
    The import of a module that itself calls this is not waited for.
    """
    outside = _imports_and_destructors(sys._getframe())

    def handle(number: int, frame: FrameType | None) -> None:
        if _holding or _imports_and_destructors(frame) > outside:
            again = threading.Timer(AGAIN_SECONDS, os.kill, (os.getpid(), number))
            again.daemon = True
            again.start()
        else:
            handler(number, frame)

    return handle


def _imports_and_destructors(frame: FrameType | None) -> int:
    """Return how many frames of the stack are of imports and destructors."""
    number = 0
    while frame is not None:
        code = frame.f_code
        number += code.co_filename.startswith("<frozen importlib") or code.co_name == "__del__"
        frame = frame.f_back
    return number
