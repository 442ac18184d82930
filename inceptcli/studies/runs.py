"""Runs of a study: one run directory for each arm and seed, and its result."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from inceptcli.data.identity import DataIdentity
from inceptcli.data.sources import is_multi_label
from inceptcli.errors import UsageError, UserError
from inceptcli.files.atomic_file import replacing
from inceptcli.recipe.file import read_recipe
from inceptcli.recipe.schema import Recipe, check
from inceptcli.recipe.sections import DataSection
from inceptcli.recipe.study import Study, StudyMeasure, as_file_name, name_of, recipe_of, tried
from inceptcli.training.plan import data_of
from inceptcli.training.resuming import check_data, differing_keys, earlier_run
from inceptcli.training.run_directory import RunDirectory

RECIPE, RECORD, DIAGNOSIS = "arm.yaml", "study.json", "diagnosis.json"
"""Files in a run directory: the recipe of the study's run, its record, and that of its failure."""


class StudyRun(NamedTuple):
    """One arm with one seed; `value` is that of the searched key, if there is one.

    Arms with the same recipe share one folder, and are trained once. A try of the search leaves
    neither weights nor checkpoints.
    """

    arm: str
    seed: int
    folder: Path
    recipe: Recipe
    value: Any = None
    is_try: bool = False

    @property
    def name(self) -> str:
        """Return the run's name for messages."""
        value = "" if self.value is None else f", {name_of(self.value)}"
        return f"{self.arm}{value}, seed {self.seed}"


class StudyResult(NamedTuple):
    """Validation top-1 error per epoch and the final share of dead units, each 0 to 1.

    `failure` is set for a run that ended early because its loss was not finite; all its measures
    are 1. `cpu_seconds` is the processor time of all its starts.
    """

    run: StudyRun
    errors: tuple[float, ...]
    dead_units: float
    failure: str | None = None
    cpu_seconds: float = 0.0

    def figure(self, measure: StudyMeasure) -> float:
        """Return the value that the study compares, 0 to 1."""
        if self.failure is not None:
            return 1.0
        if measure == "dead-units":
            return self.dead_units
        if measure == "mean-error":
            return sum(self.errors) / len(self.errors)
        return min(self.errors) if measure == "best-error" else self.errors[-1]


class RunRecord(NamedTuple):
    """Processor time of a run's starts so far, in seconds, and whether it has ended by itself."""

    cpu_seconds: float = 0.0
    ended: bool = False

    @classmethod
    def read(cls, folder: Path) -> RunRecord:
        """Read the record of a run; a missing or damaged one is empty."""
        try:
            found = json.loads((folder / RECORD).read_text())
            return cls(float(found["cpu_seconds"]), found["ended"] is True)
        except (OSError, LookupError, ValueError, TypeError):
            return cls()

    def write(self, folder: Path) -> None:
        """Write the record of a run."""
        with replacing(folder / RECORD) as temporary:
            temporary.write_text(json.dumps(self._asdict()))


def runs_of(
    study: Study, output: Path, data: str | None, values: Mapping[str, Any] | None = None
) -> list[StudyRun]:
    """Return all runs, every arm of one seed first, so that a stopped study has whole pairs.

    `values` has each arm's value of the searched key; by default it is the first one.
    """
    found, first = values or {}, tried(study)[0]
    arms = [(arm, found.get(arm, first)) for arm in study.all_arms()]
    return _runs(study, output, data, arms, study.seeds)


def tries_of(study: Study, output: Path, data: str | None) -> list[StudyRun]:
    """Return the runs of the search, if the study has one."""
    if study.search is None:
        return []
    arms = [(arm, value) for arm in study.all_arms() for value in study.search.values]
    tries = _runs(study, output, data, arms, study.search.seeds)
    return [run._replace(is_try=True) for run in tries]


def possible_runs(study: Study, output: Path, data: str | None) -> list[StudyRun]:
    """Return all runs that the study may have, whatever values its search finds."""
    arms = [(arm, value) for arm in study.all_arms() for value in tried(study)]
    return [
        *tries_of(study, output, data),
        *_runs(study, output, data, arms, study.seeds),
    ]


def _runs(
    study: Study,
    output: Path,
    data: str | None,
    arms: Sequence[tuple[str, Any]],
    seeds: Sequence[int],
) -> list[StudyRun]:
    folders: dict[str, Path] = {}
    runs = []
    for seed in seeds:
        for arm, value in arms:
            recipe = recipe_of(study, arm, seed, data, value=value)
            at = "" if value is None else f"-at-{as_file_name(name_of(value))}"
            folder = output / f"{arm}{at}-seed-{seed}"
            folder = folders.setdefault(recipe.model_dump_json(), folder)
            runs.append(StudyRun(arm, seed, folder, recipe, value))
    return runs


def check_runs(runs: Sequence[StudyRun]) -> dict[Path, str]:
    """Check that earlier runs have the recipes of the study and the data that they name now.

    Runs on different data cannot be compared. Returns why folders are unreadable. Raises UsageError
    with the difference, if the data of a run cannot be opened, or if it is multi-label.
    """
    opened: dict[tuple[object, ...], DataIdentity] = {}
    unreadable = {}
    for run in runs:
        try:
            there = _recipe_there(run)
            directory = RunDirectory(run.folder)
            kept = earlier_run(directory).data
        except (UserError, OSError) as error:
            unreadable[run.folder] = _reason(run, error)
            continue
        if there is not None and (different := differing_keys(there, run.recipe)):
            raise UsageError(
                f"--output {run.folder.parent}: the run in {run.folder.name} has a different "
                f"{', '.join(different)}; give another --output"
            )
        if kept is None:
            continue
        place = _place(run.recipe.data)
        if place not in opened:
            opened[place] = data_of(run.recipe, kept)
        if kept.sha256 == opened[place].sha256:
            continue
        try:
            check_data(directory, opened[place], run.recipe.data.path)
        except UsageError:
            raise
        except UserError as error:
            unreadable[run.folder] = str(error)
    for run in runs:
        place, data = _place(run.recipe.data), run.recipe.data
        if place not in opened:
            opened[place] = data_of(run.recipe)
        if is_multi_label(opened[place].train):
            raise UsageError(
                f"{data.path or f'shapes: {data.shapes}'}: multi-label data, but a study compares "
                "top-1 errors; give data with one label per image"
            )
    return unreadable


def _place(data: DataSection) -> tuple[object, ...]:
    return data.path, data.val_path, data.val_fraction, data.exclude, data.shapes


def _recipe_there(run: StudyRun) -> Recipe | None:
    file = run.folder / RECIPE
    return check(read_recipe(file), str(file)) if file.is_file() else None


def _reason(run: StudyRun, error: Exception) -> str:
    if isinstance(error, OSError):
        return f"{error.filename or run.folder}: {error.strerror}"
    said = f"{type(error).__name__}: {error}"
    return str(error) if isinstance(error, UserError) else f"{run.folder}: unreadable ({said})"


def read_result(run: StudyRun) -> StudyResult:
    """Read the result of a run that has ended, from its metrics.csv or its diagnosis.json.

    Raises UserError if they cannot be read.
    """
    try:
        rows = RunDirectory(run.folder).read_metrics()
        errors = tuple(1 - _fraction(row["val_top1"]) for row in rows)
        dead_units = _fraction(rows[-1]["dead_units"]) if rows else 1.0
        failure = None
        if (run.folder / DIAGNOSIS).is_file():
            report = json.loads((run.folder / DIAGNOSIS).read_text())
            failure = f"{report['cause']} at step {report['step']}"
    except (OSError, LookupError, ValueError, TypeError) as error:
        raise UserError(_reason(run, error)) from error
    if not errors and failure is None:
        raise UserError(f"{run.folder}: its metrics.csv has no validation")
    return StudyResult(run, errors, dead_units, failure, RunRecord.read(run.folder).cpu_seconds)


def _fraction(text: str) -> float:
    if not 0 <= (number := float(text)) <= 1:
        raise ValueError(f"{text} is not a fraction")
    return number


def ended_result(run: StudyRun) -> StudyResult | None:
    """Return the result of a run that has ended with this recipe, or None if it is to be started.

    Raises UserError if its files cannot be read.
    """
    there = _recipe_there(run)
    if there is None or not RunRecord.read(run.folder).ended:
        return None
    before, now = there.trainer, run.recipe.trainer
    if (before.epochs, before.patience) != (now.epochs, now.patience):
        return None
    return read_result(run)
