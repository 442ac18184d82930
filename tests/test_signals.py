"""Signals that are held back, whichever thread the system gives them to."""

from __future__ import annotations

import importlib
import signal
import threading
import time
from pathlib import Path
from types import FrameType

import pytest

from inceptcli.processes.signals import after_imports, signals_held


class AskedError(Exception):
    """A signal was answered."""


def ask(number: int, frame: FrameType | None) -> None:
    raise AskedError


def test_a_signal_that_another_thread_is_given_waits_for_the_end_of_the_block() -> None:
    ended = threading.Event()
    other = threading.Thread(target=ended.wait)  # holds nothing back
    other.start()
    kept = signal.signal(signal.SIGTERM, after_imports(ask))
    done = []
    try:
        with pytest.raises(AskedError):  # noqa: PT012
            with signals_held():
                assert other.ident is not None
                signal.pthread_kill(other.ident, signal.SIGTERM)
                for _ in range(50):  # the handler of the main thread has its chances to run
                    time.sleep(0.001)
                done.append("the block")
            for _ in range(600):
                time.sleep(0.1)
    finally:
        signal.signal(signal.SIGTERM, kept)
        ended.set()
        other.join()
    assert done == ["the block"]


def test_a_module_that_waits_while_it_is_imported_hears_signals(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "experiment_of_a_test.py").write_text(
        "import signal\n"
        "from inceptcli.processes.signals import after_imports\n"
        "from tests.test_signals import ask\n"
        "kept = signal.signal(signal.SIGWINCH, after_imports(ask))\n"
        "try:\n"
        "    signal.raise_signal(signal.SIGWINCH)\n"
        "finally:\n"
        "    signal.signal(signal.SIGWINCH, kept)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(AskedError):
        importlib.import_module("experiment_of_a_test")


def test_a_signal_in_a_destructor_is_answered_after_it() -> None:
    """Python would ignore the exception there."""
    done = []

    class Object:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGTERM)
            done.append("the destructor")

    kept = signal.signal(signal.SIGTERM, after_imports(ask))
    try:
        with pytest.raises(AskedError):  # noqa: PT012
            Object()
            done.append("after it")
            for _ in range(600):
                time.sleep(0.1)
    finally:
        signal.signal(signal.SIGTERM, kept)
    assert done == ["the destructor", "after it"]
