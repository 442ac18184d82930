"""The signals that ask a run to stop."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

STOPPING_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)


def signals_to_take() -> list[signal.Signals]:
    """Those of them that this process shall act upon: not SIGHUP where nohup has it ignored."""
    ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return [each for each in STOPPING_SIGNALS if not (ignored and each is signal.SIGHUP)]


@contextmanager
def signals_held() -> Iterator[None]:
    """Hold them back from this thread, and from processes that are started in the block."""
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
