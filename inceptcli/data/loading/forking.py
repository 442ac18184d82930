"""Fork loader workers, and fork again if one hangs at its start."""

from __future__ import annotations

import os
import select
import sys
from multiprocessing import context, popen_fork
from multiprocessing.context import BaseContext

WAKING_SECONDS = 10.0
"""How long a new worker may take to start. Killing it earlier than needed loses no work."""


def loading_context() -> BaseContext | None:
    """Return the context that starts a loader's workers; None where the default does not fork.

    A forked process inherits locks held by threads that do not exist in it. CPython 3.11 acquires
    one of them before it resets them, and hangs if another thread, such as gloo's, held it.
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
