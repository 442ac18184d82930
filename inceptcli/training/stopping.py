"""Stopping early: what asks for it, and what SLURM is told."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

EXIT_STOPPED = 75
"""EX_TEMPFAIL: stopped early after saving; the same command continues."""

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


class Stopping:
    """Notes the wish to stop: a signal (SIGTERM, SIGINT, SIGUSR1), or that `after` seconds passed.

    A signal only sets a flag, which training looks at between steps; a second SIGINT interrupts at
    once. The seconds count from the making of this object.
    """

    def __init__(self, after: float | None) -> None:
        self._deadline = None if after is None else time.monotonic() + after
        self._signal: int | None = None

    def listen(self) -> None:
        """Take the signals, also from Lightning, whose own handlers lose the step."""
        for number in SIGNALS:
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self._signal == signal.SIGINT:
            raise KeyboardInterrupt
        self._signal = number

    @property
    def reason(self) -> str | None:
        """What asks this process to stop, if anything does."""
        if self._signal is not None:
            return signal.Signals(self._signal).name
        if self._deadline is not None and time.monotonic() >= self._deadline:
            return "trainer.stop_after"
        return None

    @property
    def may_requeue(self) -> bool:
        """Whether the job shall come back: not after scancel (SIGTERM) nor Ctrl-C (SIGINT)."""
        return self.reason not in (None, "SIGTERM", "SIGINT")


@contextmanager
def handlers_kept() -> Iterator[None]:
    """Gives the signals back to the handlers that had them."""
    kept = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler or signal.SIG_DFL)


def requeue_job(report: Callable[[str], None]) -> None:
    """Put this SLURM job, which ends thereby, in the queue again; nothing outside SLURM.

    A failure is one line for `report`.
    """
    job = os.environ.get("SLURM_JOB_ID")
    if job is None:
        return
    report(f"requeueing SLURM job {job}")
    try:
        subprocess.run(["scontrol", "requeue", job], check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        said = getattr(error, "stderr", None) or str(error)
        report(f"SLURM job {job} could not be requeued: {' '.join(said.split())}")
