"""Train the runs of a study side by side, each in a process of its own."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, NamedTuple

from inceptcli.errors import UserError
from inceptcli.files.atomic_file import replacing
from inceptcli.files.file_lock import lock
from inceptcli.files.no_follow import open_no_follow
from inceptcli.processes.cores import usable_cores
from inceptcli.processes.launchers import STUDY
from inceptcli.processes.signals import EXIT_STOPPED
from inceptcli.recipe.study import StudyMeasure
from inceptcli.recipe.yaml_text import dump
from inceptcli.studies.runs import (
    DIAGNOSIS,
    RECIPE,
    RunRecord,
    StudyResult,
    StudyRun,
    ended_result,
    read_record,
    read_result,
    write_record,
)

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.2


class Ended(NamedTuple):
    """End of a process: exit code and the lines that it wrote on standard error."""

    code: int
    said: list[str]


class Process:
    """Process that trains a run."""

    def __init__(self, run: StudyRun, threads: int) -> None:
        """Start it with the number of compute `threads`. Raises OSError if that fails."""
        self.run = run
        run.folder.mkdir(parents=True, exist_ok=True)
        with replacing(run.folder / RECIPE) as temporary:
            temporary.write_text(dump(run.recipe.as_dict()))
        (run.folder / DIAGNOSIS).unlink(missing_ok=True)  # from an earlier start
        write_record(run.folder, read_record(run.folder)._replace(ended=False))
        self._said: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the process)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "inceptcli", "train", "--recipe", str(run.folder / RECIPE),
             "--output", str(run.folder), "--quiet"],
            env={**os.environ, "OMP_NUM_THREADS": str(threads), STUDY: str(os.getpid())},
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=self._said,
        )  # fmt: skip

    def ended(self, *, wait: bool = False) -> Ended | None:
        """Return how the process ended and add its processor time to the record, or None."""
        found, status, usage = os.wait4(self._process.pid, 0 if wait else os.WNOHANG)
        if not found:
            return None
        self._process.returncode = code = os.waitstatus_to_exitcode(status)
        has_ended = code == 0 or (self.run.folder / DIAGNOSIS).is_file()
        seconds = read_record(self.run.folder).cpu_seconds + usage.ru_utime + usage.ru_stime
        with suppress(OSError):  # a full disk is reported as the run's own failure
            write_record(self.run.folder, RunRecord(round(seconds, 1), has_ended))
        self._said.seek(0)
        said = self._said.read().decode(errors="replace").splitlines()
        self._said.close()
        return Ended(code, [line for line in said if line.strip()])

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        self._process.send_signal(number)


class Crew:
    """Runs of a study that are trained `jobs` at a time.

    Attributes:
        results: results by folder.
        failed: why a run has no result, by its name.
    """

    def __init__(self, jobs: int, measure: StudyMeasure, total: int) -> None:
        """Take the measure to report and the number of all runs."""
        self.jobs, self.measure, self.total = jobs, measure, total
        self.results: dict[Path, StudyResult] = {}
        self.failed: dict[str, str] = {}
        self._working: list[Process] = []
        self._waits: set[Path] = set()

    def train(self, runs: Sequence[StudyRun]) -> list[StudyResult]:
        """Train or resume every run that has not ended.

        Raises:
            SystemExit: a run was stopped by a signal (75).
            UserError: a run failed for a reason other than its loss; the others were trained.
        """
        waiting = list({run.folder: run for run in reversed(runs)}.values())[::-1]
        try:
            while waiting or self._working:
                self._start(waiting)
                for process in list(self._working):
                    if (ended := process.ended()) is not None:
                        self._working.remove(process)
                        self._finish(process.run, ended, waiting)
                time.sleep(POLL_SECONDS if self._working or waiting else 0)
        finally:
            self.stop()
        if self.failed:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in self.failed.items())
            raise UserError(
                f"{len(self.failed)} of {self.total} runs failed: {reasons}; the others are kept, "
                "and the same command starts these again"
            )
        return [self.results[run.folder]._replace(run=run) for run in runs]

    def _start(self, waiting: list[StudyRun]) -> None:
        """Start as many runs as have room; one that another process trains keeps waiting."""
        for run in list(waiting):
            if len(self._working) >= self.jobs:
                return
            if self._is_busy(run):
                continue
            waiting.remove(run)
            try:
                result = ended_result(run)
                if result is not None:
                    self._report(result)
                else:
                    self._working.append(Process(run, max(1, usable_cores() // self.jobs)))
            except UserError as error:
                self._fail(run, str(error))
            except OSError as error:
                self._fail(run, f"{error.filename or run.folder}: {error.strerror}")

    def _is_busy(self, run: StudyRun) -> bool:
        """Return whether another process trains the run, such as one of a killed study."""
        if not (run.folder / "lock").is_file():
            return False
        try:
            with open_no_follow(run.folder / "lock", "a+") as file:
                lock(file)
        except BlockingIOError:
            if run.folder not in self._waits:
                logger.info(f"{run.name}: another process is training it; waiting for its end")
                self._waits.add(run.folder)
            return True
        except OSError:
            return False  # the run reports it
        return False

    def _finish(self, run: StudyRun, ended: Ended, waiting: list[StudyRun]) -> None:
        if ended.code == EXIT_STOPPED:
            raise SystemExit(EXIT_STOPPED)
        diverged = (run.folder / DIAGNOSIS).is_file()
        if ended.code != 0 and not diverged and self._is_busy(run):
            waiting.append(run)  # another process was faster
            return
        if ended.code == 0 or diverged:
            try:
                self._report(read_result(run))
            except (OSError, LookupError, ValueError, TypeError) as error:
                self._fail(run, f"{run.folder}: its result cannot be read: {error}")
            return
        reason = ended.said[-1].removeprefix("Error: ") if ended.said else "no message"
        self._fail(run, f"exit code {ended.code}, {reason}; see {run.folder}/train.log")

    def _report(self, result: StudyResult) -> None:
        self.results[result.run.folder] = result
        state = result.failure or f"{self.measure} {result.figure(self.measure):.1%}"
        logger.info(f"{len(self.results)}/{self.total} {result.run.name}: {state}")

    def _fail(self, run: StudyRun, reason: str) -> None:
        self.failed[run.name] = reason
        logger.warning(f"{run.name} failed: {reason}")

    def stop(self) -> None:
        """Stop the runs with SIGTERM and wait while they save; the same command continues them."""
        for process in self._working:
            process.send(signal.SIGTERM)
        while self._working:
            self._working[0].ended(wait=True)
            self._working.pop(0)

    def kill(self) -> None:
        """End the runs at once; they continue from their last checkpoints."""
        for process in self._working:
            process.send(signal.SIGKILL)
