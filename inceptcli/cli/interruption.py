"""Handle Ctrl-C in commands that save nothing: exit with one line that reports the progress."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from typer import Exit, echo

from inceptcli.files.atomic_file import abandon
from inceptcli.processes.signals import (
    EXIT_STOPPED,
    REPEATED_SECONDS,
    STOPPING_SIGNALS,
    after_imports,
    unanswered,
)
from inceptcli.text import printable

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

STUCK_SECONDS = 20.0
"""Time after which a signal is handled without the main thread, which may compute or import."""


class Interrupted(KeyboardInterrupt):
    """One of SIGNALS was received; blocks on the way out add notes about their outputs."""


@contextmanager
def interruptible(trains: bool = False) -> Iterator[None]:
    """Exit with 128 + number on SIGINT, SIGTERM or SIGHUP; remove unfinished files.

    A command that `trains` installs its own handlers inside the block. Before it does, these
    signals and SIGUSR1 exit with 75. A second signal after a second exits at once. Ignored signals
    stay ignored.

    Raises Exit after printing one line on standard error.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread can handle signals
        return
    signals = STOPPING_SIGNALS if trains else SIGNALS
    kept = {number: signal.getsignal(number) for number in signals}
    first: list[tuple[int, float]] = []
    answered = threading.Event()

    def interrupt(number: int, frame: FrameType | None) -> None:
        if not first:
            first.append((number, time.monotonic()))
            answered.set()
            raise Interrupted
        if time.monotonic() - first[0][1] >= REPEATED_SECONDS:
            os._exit(128 + number)

    def leave(number: int) -> None:
        notes = abandon()
        line = _untrained(number) if trains else "; ".join(["interrupted", *notes])
        echo(printable(line), err=True)
        os._exit(EXIT_STOPPED if trains else 128 + number)

    for number, handler in kept.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, after_imports(interrupt))
    try:
        with unanswered(answered, STUCK_SECONDS, leave):
            yield
    except KeyboardInterrupt as stop:
        if trains and first:
            echo(_untrained(first[0][0]), err=True)
            raise Exit(EXIT_STOPPED) from None
        echo(printable(_line(stop)), err=True)
        raise Exit(128 + (first[0][0] if first else signal.SIGINT)) from None
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler or signal.SIG_DFL)


@contextmanager
def interrupts_left() -> Iterator[None]:
    """Leave Ctrl-C to the program that the block shows, such as a pager, which goes on."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    woken = signal.set_wakeup_fd(-1)  # otherwise `unanswered` would leave
    kept = signal.signal(signal.SIGINT, lambda number, frame: None)  # a child starts with SIG_DFL
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, kept)
        signal.set_wakeup_fd(woken)


def _untrained(number: int) -> str:
    name = signal.Signals(number).name
    return f"stopped by {name} before training began; the same command starts it"


@contextmanager
def noted(note: Callable[[], str]) -> Iterator[None]:
    """Add the text of `note`, unless empty, to an interruption of the block."""
    try:
        yield
    except KeyboardInterrupt as stop:
        if text := note():
            stop.add_note(text)
        raise


def _line(stop: KeyboardInterrupt) -> str:
    notes: list[str] = getattr(stop, "__notes__", [])
    progress = [note for note in notes if note.startswith("after ")]
    others = list(dict.fromkeys(note for note in notes if note not in progress))
    return "; ".join([" ".join(["interrupted", *progress[:1]]), *others])
