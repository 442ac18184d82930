"""Stop a run early on signals or a time limit, and requeue its SLURM job."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from inceptcli.files.atomic_file import abandon
from inceptcli.processes.launchers import watched_parent
from inceptcli.processes.signals import (
    EXIT_STOPPED,
    REPEATED_SECONDS,
    after_imports,
    signals_to_take,
    unanswered,
)

logger = logging.getLogger(__name__)

EXIT_INTERRUPTED = 130
"""Exit code after a second Ctrl-C; work since the last checkpoint is lost."""

START_SECONDS = 10.0
"""Time for a process with nothing to save to exit by itself, in seconds."""


class Stopped(BaseException):
    """Raised by a signal before there is anything to save."""


class InterruptedAgain(BaseException):
    """Raised by a second Ctrl-C."""


class Stopping:
    """Requests to stop: a signal, the end of torchrun or of a study, or a time limit.

    Before `training` is set, a signal exits at once with 75, since there is nothing to save. After
    that it sets a flag, which training checks between batches; a second SIGINT exits at once with
    130. An ignored SIGHUP (nohup) stays ignored.

    Attributes:
        training: whether there is something to save.
        requeue: whether to requeue the SLURM job after SIGUSR1 and after a time limit.
        mark: writes a line to the run directory, because torchrun hides the exit code.
    """

    def __init__(self, after: float | None = None) -> None:
        self.training, self.requeue = False, False
        self.mark: Callable[[str], None] = lambda line: None
        self._signal: int | None = None
        self._signalled_at = 0.0
        self._deadline: float | None = None
        self._parent = watched_parent()
        self._leaving, self._ended = threading.Lock(), threading.Event()
        self.limit(after)

    def limit(self, seconds: float | None) -> None:
        """Stop after `seconds` from now; None for never."""
        self._deadline = None if seconds is None else time.monotonic() + seconds

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Handle signals during the block and restore the previous handlers.

        Raises SystemExit(75) or SystemExit(130) when a signal ends the block.
        """
        if threading.current_thread() is not threading.main_thread():
            yield  # only the main thread can set signal handlers
            return
        kept = {number: signal.getsignal(number) for number in signals_to_take()}
        try:
            with unanswered(self._ended, START_SECONDS, self._leave_if_stuck):
                for number in kept:
                    signal.signal(number, after_imports(self._on_signal))
                yield
        except Stopped:
            self._leave_untrained()
            raise SystemExit(EXIT_STOPPED) from None
        except InterruptedAgain:
            logger.info("interrupted; the same command continues from the last checkpoint, if any")
            raise SystemExit(EXIT_INTERRUPTED) from None
        finally:
            for number, handler in kept.items():
                signal.signal(number, handler or signal.SIG_DFL)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._signal is not None and not self.training:
            return  # the process is exiting
        if self._signal == signal.SIGUSR1 and number in (signal.SIGTERM, signal.SIGHUP):
            return  # SLURM's SIGTERM at the time limit that SIGUSR1 announced
        if number == self._signal == signal.SIGINT:
            if now - self._signalled_at >= REPEATED_SECONDS:
                raise InterruptedAgain
            return
        self._signal, self._signalled_at = number, now
        if not self.training:
            raise Stopped

    def _leave_if_stuck(self, number: int) -> None:
        if not self.training:
            self._signal = self._signal or number
            self._leave_untrained()
            abandon()
            os._exit(EXIT_STOPPED)

    def _leave_untrained(self) -> None:
        if not self._leaving.acquire(blocking=False):
            return
        line = f"stopped by {self.reason or 'another process'} before training began"
        self.mark(line)
        logger.info(f"{line}; the same command starts it")
        self.requeue_job()

    def check(self) -> None:
        """Raise Stopped if a stop was requested and there is nothing to save."""
        if not self.training and self.reason is not None:
            raise Stopped

    @property
    def reason(self) -> str | None:
        """Return the signal or limit that requests a stop, or None."""
        if self._signal is not None:
            return signal.Signals(self._signal).name
        if self._deadline is not None and time.monotonic() >= self._deadline:
            return "trainer.stop_after"
        if self._parent is not None and os.getppid() != self._parent[0]:
            return f"the end of {self._parent[1]}"
        return None

    @property
    def may_requeue(self) -> bool:
        """Return whether to requeue the job: not after scancel, Ctrl-C or a closed terminal.

        A SIGTERM after SIGUSR1 is taken for that of the time limit, not of scancel.
        """
        return self.requeue and self.reason in ("SIGUSR1", "trainer.stop_after")

    def requeue_job(self) -> None:
        """Requeue the SLURM job if `may_requeue`."""
        if self.may_requeue:
            requeue_job()


def requeue_job() -> None:
    """Requeue this SLURM job, which also ends it; do nothing outside SLURM.

    Only this task of a job array is requeued. A failure is logged.
    """
    job = os.environ.get("SLURM_JOB_ID")
    if job is None:
        return
    if (array := os.environ.get("SLURM_ARRAY_JOB_ID")) is not None:
        job = f"{array}_{os.environ.get('SLURM_ARRAY_TASK_ID', '')}"
    logger.info(f"requeueing SLURM job {job}")
    try:
        subprocess.run(["scontrol", "requeue", job], check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        said = getattr(error, "stderr", None) or str(error)
        logger.info(f"SLURM job {job} could not be requeued: {' '.join(said.split())}")
