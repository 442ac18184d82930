"""Processes that load images, forked again where one of them does not wake up."""

from __future__ import annotations

import os
import select
import sys
from multiprocessing import context, popen_fork
from multiprocessing.context import BaseContext

WAKING_SECONDS = 10.0
"""For a new process to say that it runs; one that is ended too early has done nothing yet."""


def loading_context() -> BaseContext | None:
    """How a loader starts its workers; None is the platform's own way, where that is not to fork.

    A forked process has the locks of threads that it does not have. CPython 3.11 takes one of them
    before it makes them anew, and waits for ever if another thread, gloo's for one, held it.
    """
    return _ForkContext() if sys.platform == "linux" else None


class _Popen(popen_fork.Popen):
    def _launch(self, process: _Process) -> None:
        while True:
            awake, process.wake = os.pipe()
            super()._launch(process)  # type: ignore[misc]  # typeshed leaves it out
            os.close(process.wake)
            woke = bool(select.select([awake], [], [], WAKING_SECONDS)[0])
            os.close(awake)
            if woke:
                return
            self.kill()
            os.waitpid(self.pid, 0)
            self.close()


class _Process(context.ForkProcess):
    wake: int

    @staticmethod
    def _Popen(process: _Process) -> _Popen:  # type: ignore[override]  # noqa: N802
        return _Popen(process)

    def run(self) -> None:
        os.write(self.wake, b"\0")
        os.close(self.wake)
        super().run()


class _ForkContext(context.ForkContext):
    Process = _Process
