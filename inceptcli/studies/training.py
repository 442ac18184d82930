"""Train the runs of a study side by side, each in a process of its own."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import IO, NamedTuple

from inceptcli.errors import UserError
from inceptcli.files.atomic_file import replacing
from inceptcli.files.file_lock import lock
from inceptcli.files.no_follow import open_no_follow
from inceptcli.processes.cores import usable_cores
from inceptcli.processes.launchers import STUDY
from inceptcli.processes.signals import EXIT_STOPPED, REPEATED_SECONDS
from inceptcli.recipe.study import StudyMeasure
from inceptcli.recipe.yaml_text import dump
from inceptcli.studies.runs import (
    DIAGNOSIS,
    RECIPE,
    RunRecord,
    StudyResult,
    StudyRun,
    ended_result,
    read_result,
)

logger = logging.getLogger(__name__)

TRAIN = [sys.executable, "-m", "inceptcli", "train"]
"""Command of a run."""

POLL_SECONDS = 0.2

RECORD_SECONDS = 10.0
"""Time between records of a run's processor time, for a study that is killed."""

STOPPED = (EXIT_STOPPED, -signal.SIGINT, -signal.SIGTERM)
"""Exit codes of a run that a signal stopped; the last two are from before it can save."""


class Ended(NamedTuple):
    """End of a process: exit code and the lines that it wrote on standard error."""

    code: int
    said: list[str]

    @property
    def reason(self) -> str:
        """Return the exit code in words."""
        if self.code >= 0:
            return f"exit code {self.code}"
        return f"ended by {signal.Signals(-self.code).name}"


class Process:
    """Process that trains a run."""

    def __init__(self, run: StudyRun, threads: int) -> None:
        """Start it with the number of compute `threads`. Raises OSError if that fails."""
        self.run = run
        run.folder.mkdir(parents=True, exist_ok=True)
        with replacing(run.folder / RECIPE) as temporary:
            temporary.write_text(dump(run.recipe.as_dict()))
        record = RunRecord.read(run.folder)
        if run.is_try and record.ended:  # with other epochs; its checkpoints are gone
            (run.folder / "metrics.csv").unlink(missing_ok=True)
        (run.folder / DIAGNOSIS).unlink(missing_ok=True)  # from an earlier start
        record._replace(ended=False).write(run.folder)
        self._earlier, self._recorded_at = record.cpu_seconds, time.monotonic()
        self._said: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the process)
        self._process = subprocess.Popen(
            [*TRAIN, "--recipe", str(run.folder / RECIPE), "--output", str(run.folder), "--quiet"],
            env={**os.environ, "OMP_NUM_THREADS": str(threads), STUDY: str(os.getpid())},
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=self._said,
        )  # fmt: skip

    def ended(self, *, wait: bool = False) -> Ended | None:
        """Return how the process ended and add its processor time to the record, or None."""
        found, status, usage = os.wait4(self._process.pid, 0 if wait else os.WNOHANG)
        if not found:
            if time.monotonic() - self._recorded_at >= RECORD_SECONDS:
                self._record(cpu_seconds(self._process.pid))
            return None
        self._process.returncode = code = os.waitstatus_to_exitcode(status)
        has_ended = code == 0 or (self.run.folder / DIAGNOSIS).is_file()
        self._record(usage.ru_utime + usage.ru_stime, has_ended)
        if has_ended and self.run.is_try:
            shutil.rmtree(self.run.folder / "checkpoints", ignore_errors=True)
            (self.run.folder / "model.safetensors").unlink(missing_ok=True)
        self._said.seek(0)
        said = self._said.read().decode(errors="replace").splitlines()
        self._said.close()
        return Ended(code, [line for line in said if line.strip()])

    def _record(self, seconds: float, has_ended: bool = False) -> None:
        self._recorded_at = time.monotonic()
        with suppress(OSError):  # a full disk is reported as the run's own failure
            RunRecord(round(self._earlier + seconds, 2), has_ended).write(self.run.folder)

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        os.kill(self._process.pid, number)  # a process stays until `ended`; Popen would forget it


def cpu_seconds(pid: int) -> float:
    """Return the processor time of a running process and its ended children; 0 if unknown."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


class Crew:
    """Runs of a study that are trained `jobs` at a time.

    Attributes:
        unreadable: why the run directories that cannot be read are left out.
    """

    def __init__(self, jobs: int, measure: StudyMeasure, total: int) -> None:
        """Take the measure to report and the number of all runs."""
        self.jobs, self.measure, self.total = jobs, measure, total
        self.unreadable: Mapping[Path, str] = {}
        self._results: dict[Path, StudyResult] = {}
        self._failed: list[str] = []
        self._working: list[Process] = []
        self._waits: set[Path] = set()
        self._trains = False
        self._stopped_at: float | None = None

    def train(self, runs: Sequence[StudyRun]) -> list[StudyResult]:
        """Train or resume every run that has not ended.

        Raises:
            SystemExit: a signal stopped the runs (75), or a second Ctrl-C ended them (130).
            UserError: a run failed for a reason other than its loss; the others were trained.
        """
        waiting = list({run.folder: run for run in reversed(runs)}.values())[::-1]
        self._trains = True
        try:
            while waiting or self._working:
                if self._stopped_at is not None:
                    raise SystemExit(EXIT_STOPPED)
                self._start(waiting)
                self._look(waiting)
                time.sleep(POLL_SECONDS if self._working or waiting else 0)
        finally:
            self._stop()
            self._trains = False
        if self._failed:
            raise UserError(
                f"{len(self._failed)} of {self.total} runs failed: {'; '.join(self._failed)}; the "
                "others are kept, and the same command starts the failed ones again"
            )
        return [self._results[run.folder]._replace(run=run) for run in runs]

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        """Stop the runs soon; a second Ctrl-C, after a second, ends them without saving."""
        now = time.monotonic()
        if not self._trains:
            raise SystemExit(EXIT_STOPPED)
        if self._stopped_at is None:
            self._stopped_at = now
        elif number == signal.SIGINT and now - self._stopped_at >= REPEATED_SECONDS:
            for process in self._working:
                process.send(signal.SIGKILL)

    def _start(self, waiting: list[StudyRun]) -> None:
        """Start as many runs as have room; one that another process trains keeps waiting."""
        for run in list(waiting):
            if len(self._working) >= self.jobs or self._stopped_at is not None:
                return
            if run.folder in self.unreadable:
                self._fail(run, self.unreadable[run.folder])
            elif self._is_busy(run):
                continue
            else:
                self._begin(run)
            waiting.remove(run)

    def _begin(
        self, run: StudyRun, read: Callable[[StudyRun], StudyResult | None] = ended_result
    ) -> None:
        """Take the result of a run that has ended, or start it."""
        try:
            result = read(run)
            if result is None:
                self._working.append(Process(run, max(1, usable_cores() // self.jobs)))
            else:
                self._report(result)
        except UserError as error:
            self._fail(run, str(error))
        except OSError as error:
            self._fail(run, f"{error.filename or run.folder}: {error.strerror}")

    def _is_busy(self, run: StudyRun) -> bool:
        """Return whether another process trains the run, such as one of a killed study."""
        try:
            with open_no_follow(run.folder / "lock", "r+") as file:
                lock(file)
        except BlockingIOError:
            if run.folder not in self._waits:
                logger.info(f"{run.name}: another process is training it; waiting for its end")
                self._waits.add(run.folder)
            return True
        except OSError:
            return False  # it has no lock yet, or reports why it cannot be opened
        return False

    def _look(self, waiting: list[StudyRun]) -> None:
        """Take the results of the runs that have ended since."""
        for process in list(self._working):
            ended = process.ended()
            if ended is None:
                continue
            self._working.remove(process)
            run, diverged = process.run, (process.run.folder / DIAGNOSIS).is_file()
            if ended.code in STOPPED:
                raise SystemExit(EXIT_STOPPED)
            for line in ended.said if ended.code == 0 else []:
                logger.warning(f"{run.name}: {line}")
            if ended.code == 0 or diverged:
                self._begin(run, read_result)
            elif self._is_busy(run):
                waiting.append(run)  # another process was faster
            else:
                said = ended.said[-1].removeprefix("Error: ") if ended.said else ended.reason
                self._fail(run, f"{said}; see {run.folder}/train.log")

    def _report(self, result: StudyResult) -> None:
        self._results[result.run.folder] = result
        state = result.failure or f"{self.measure} {result.figure(self.measure):.1%}"
        logger.info(f"{len(self._results)}/{self.total} {result.run.name}: {state}")

    def _fail(self, run: StudyRun, reason: str) -> None:
        self._failed.append(f"{run.name}: {reason}")
        logger.warning(f"{run.name} failed: {reason}")

    def _stop(self) -> None:
        """Stop the runs with SIGTERM and wait while they save; the same command continues them.

        Raises SystemExit (130) if they were killed instead.
        """
        for process in self._working:
            process.send(signal.SIGTERM)
        codes = [ended.code for each in self._working if (ended := each.ended(wait=True))]
        self._working.clear()
        if self._stopped_at is not None and -signal.SIGKILL in codes:
            raise SystemExit(128 + signal.SIGINT)
