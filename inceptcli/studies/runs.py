"""Run a study: one process and one run directory per arm and seed."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from inceptcli.data.identity import DataIdentity
from inceptcli.errors import UserError
from inceptcli.files.atomic_file import replacing
from inceptcli.processes.cores import usable_cores
from inceptcli.processes.signals import EXIT_STOPPED
from inceptcli.recipe.study import Study, StudyMeasure, recipe_of
from inceptcli.recipe.yaml_text import dump
from inceptcli.training.plan import data_of
from inceptcli.training.resuming import check_data, earlier_run
from inceptcli.training.run_directory import RunDirectory

logger = logging.getLogger(__name__)


class StudyRun(NamedTuple):
    """One arm with one seed."""

    arm: str
    seed: int
    folder: Path


class StudyResult(NamedTuple):
    """Validation top-1 error per epoch and the final share of dead units, each 0 to 1.

    `failure` is set for a run that ended early because its loss was not finite; all its measures
    are 1.
    """

    run: StudyRun
    errors: tuple[float, ...]
    dead_units: float
    failure: str | None = None

    def figure(self, measure: StudyMeasure) -> float:
        """Return the value that the study compares, 0 to 1."""
        if self.failure is not None:
            return 1.0
        if measure == "dead-units":
            return self.dead_units
        return sum(self.errors) / len(self.errors) if measure == "mean-error" else self.errors[-1]


def runs_of(study: Study, output: Path) -> list[StudyRun]:
    """Return all runs, every arm of one seed first, so that a stopped study has whole pairs."""
    return [
        StudyRun(arm, seed, output / f"{arm}-seed-{seed}")
        for seed in study.seeds
        for arm in study.arms
    ]


def check_one_data(study: Study, runs: Sequence[StudyRun], data: str | None) -> None:
    """Check that all earlier runs were trained on the data that their recipes name now.

    Runs on different data cannot be compared. Raises UsageError with the difference.
    """
    opened: dict[tuple[object, ...], DataIdentity] = {}
    for run in runs:
        directory = RunDirectory(run.folder)
        kept = earlier_run(directory).data
        if kept is not None:
            recipe = recipe_of(study, run.arm, run.seed, data)
            used = recipe.data
            place = (used.path, used.val_path, used.val_fraction, used.exclude)
            if place not in opened:
                opened[place] = data_of(recipe, kept)
            check_data(directory, opened[place], recipe.data.path)


def train_all(
    study: Study,
    runs: Sequence[StudyRun],
    data: str | None,
    jobs: int,
) -> list[StudyResult]:
    """Train or resume every run, `jobs` at a time.

    Raises:
        SystemExit: a run was stopped by a signal (75).
        UserError: a run failed for a reason other than its loss.
    """
    results: dict[StudyRun, StudyResult] = {}
    waiting, working = list(runs), dict[StudyRun, subprocess.Popen[bytes]]()
    try:
        while waiting or working:
            while waiting and len(working) < jobs:
                run = waiting.pop(0)
                working[run] = _start(study, run, data, jobs)
            for run in [run for run, process in working.items() if process.poll() is not None]:
                results[run] = _finished(run, working.pop(run).returncode)
                logger.info(_describe(results[run], study.measure, len(results), len(runs)))
            time.sleep(0.2)
    finally:
        _stop(working.values())
    return [results[run] for run in runs]


def _start(study: Study, run: StudyRun, data: str | None, jobs: int) -> subprocess.Popen[bytes]:
    recipe = recipe_of(study, run.arm, run.seed, data)
    run.folder.mkdir(parents=True, exist_ok=True)
    file = run.folder / "arm.yaml"
    with replacing(file) as temporary:
        temporary.write_text(dump(recipe.as_dict()))
    (run.folder / "diagnosis.json").unlink(missing_ok=True)  # from an earlier start
    threads = max(1, usable_cores() // jobs)
    return subprocess.Popen(
        [sys.executable, "-m", "inceptcli", "train", "--recipe", str(file), "--output",
         str(run.folder), "--quiet"],
        env={**os.environ, "OMP_NUM_THREADS": str(threads)},
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
    )  # fmt: skip


def _finished(run: StudyRun, code: int) -> StudyResult:
    if code == EXIT_STOPPED:
        raise SystemExit(EXIT_STOPPED)
    diagnosis = run.folder / "diagnosis.json"
    if code == 0:
        return read_result(run)
    if diagnosis.is_file():
        report = json.loads(diagnosis.read_text())
        return read_result(run)._replace(failure=f"{report['cause']} at step {report['step']}")
    raise UserError(
        f"{run.folder}: training failed with exit code {code}; see {run.folder}/train.log"
    )


def read_result(run: StudyRun) -> StudyResult:
    """Read the result of a run from its metrics.csv."""
    rows = RunDirectory(run.folder).read_metrics()
    errors = tuple(1 - float(row["val_top1"]) for row in rows)
    return StudyResult(run, errors, float(rows[-1]["dead_units"]) if rows else 1.0)


def _describe(result: StudyResult, measure: StudyMeasure, done: int, total: int) -> str:
    run = result.run
    state = result.failure or f"{measure} {result.figure(measure):.1%}"
    return f"{done}/{total} {run.arm}, seed {run.seed}: {state}"


def _stop(processes: Iterable[subprocess.Popen[bytes]]) -> None:
    """Stop the runs with SIGTERM and wait while they save; the same command continues them."""
    left = list(processes)
    for process in left:
        process.send_signal(signal.SIGTERM)
    for process in left:
        process.wait()
