"""A process that loads images and does not wake up is forked again."""

from __future__ import annotations

import os
import sys
import threading
from multiprocessing import Queue

import pytest
from torch.utils.data import DataLoader

from inceptcli.data.loading import forking

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="workers are forked on Linux alone")
forks: list[bool] = []
"""Whether the child of each fork to come wakes up."""


@pytest.fixture
def stuck_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next two forks wait for a lock of a thread that is not there, as in CPython 3.11."""
    forks[:] = [False, False, True]
    monkeypatch.setattr(forking, "WAKING_SECONDS", 0.3)
    fork = os.fork

    def one_that_waits() -> int:
        wakes = forks.pop(0) if forks else True
        process = fork()
        if process == 0 and not wakes:
            threading.Event().wait()
        return process

    monkeypatch.setattr(os, "fork", one_that_waits)


@pytest.mark.usefixtures("stuck_twice")
def test_workers_that_do_not_wake_up_are_forked_again() -> None:
    loader: DataLoader[int] = DataLoader(
        list(range(12)),  # type: ignore[arg-type]  # a sequence is a data set, too
        batch_size=4,
        num_workers=2,
        multiprocessing_context=forking.loading_context(),
    )
    assert [batch.tolist() for batch in loader] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    assert forks == []


def test_a_process_that_ends_at_once_is_not_forked_again() -> None:
    context = forking.loading_context()
    assert context is not None
    answers: Queue[int] = context.Queue()
    process = context.Process(target=answers.put, args=(1,))  # type: ignore[attr-defined]
    process.start()
    assert answers.get(timeout=60) == 1
    process.join(60)
    assert process.exitcode == 0
