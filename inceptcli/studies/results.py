"""Results of a study: figures by arm, verdicts, trends and the map of a grid, ready for JSON."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from inceptcli.data.identity import KeptIdentity
from inceptcli.errors import UsageError
from inceptcli.networks.summary import summarize
from inceptcli.recipe.schema import Recipe
from inceptcli.recipe.study import (
    EVALUATED,
    Comparison,
    Property,
    Study,
    StudyMeasure,
    name_of,
    recipe_of,
    tried,
)
from inceptcli.studies.evaluating import Evaluated, interval_over_images
from inceptcli.studies.runs import StudyResult, StudyRun
from inceptcli.studies.search import BestValue
from inceptcli.studies.verdict import ClaimTest, assess, slope_per_doubling, verdicts
from inceptcli.training.initial_weights import completed
from inceptcli.training.resuming import EarlierRun
from inceptcli.training.run_directory import RunDirectory
from inceptcli.weights.trained_network import network_of

CLASSES = 1000
"""Number of classes for which networks are compared before the data is known."""


class RunFacts(NamedTuple):
    """Data of a run, its image size (height, width) and its network's size."""

    data: Mapping[str, int]
    image_size: tuple[int, int]
    sizes: Mapping[Property, int]


def facts_of(run: StudyRun) -> RunFacts:
    """Return the facts of a run that has trained. Raises UserError if its record is unreadable."""
    directory = RunDirectory(run.folder)
    completed_there = directory.read_recipe() if run.recipe.network.init else None
    recipe = completed_there or run.recipe
    kept = KeptIdentity(directory.data_identity)
    classes = len(kept.classes)
    data = {"classes": classes, "training": kept.training, "validation": kept.validation}
    return RunFacts(data, recipe.data.height_and_width, sizes_of(recipe, classes))


def sizes_of(recipe: Recipe, classes: int) -> dict[Property, int]:
    """Return the properties of a recipe's network at its image size."""
    network = summarize(network_of(recipe, classes), recipe.data.height_and_width)
    grids = [stage.output_shape for stage in network.stages if len(stage.output_shape) == 3]
    return {
        "multiply-adds": network.multiply_adds,
        "parameters": network.parameters,
        "filters": max(channels for channels, *_ in grids),
    }


def check_networks(study: Study, place: str) -> None:
    """Raise UsageError if an arm's network is impossible, or a trend is over equal networks.

    Raises it, or UserError, also if initial weights are missing or unreadable.
    """
    sizes = {}
    for arm in study.all_arms():
        recipe = recipe_of(study, arm, study.seeds[0], None, place, tried(study)[0])
        try:
            sizes[arm] = sizes_of(completed(recipe, EarlierRun()), CLASSES)
        except ValueError as error:
            raise UsageError(f"{place}, arm {arm}: network.name: {error}") from error
    for trend in study.trends:
        if len({sizes[arm][trend.over] for arm in trend.arms or sizes}) < 2:
            raise UsageError(f"{place}: trends: all arms have the same number of {trend.over}")


def judge(
    study: Study,
    results: Sequence[StudyResult],
    tries: Sequence[StudyResult] = (),
    best: Sequence[BestValue] = (),
    evaluated: Sequence[Evaluated] = (),
) -> dict[str, Any]:
    """Return figures, verdicts, trends, threshold, search and runs, ready for JSON."""
    facts = {result.run.folder: facts_of(result.run) for result in (*tries, *results)}
    slopes = _slopes(study, results, facts)
    tests = [_compared(study, results, evaluated, each) for each in study.comparisons]
    tests += [
        assess(each, trend.expected, trend.margin)
        for each, trend in zip(slopes, study.trends, strict=True)
    ]
    decided = [verdict._asdict() for verdict in verdicts(tests)]
    claims = [
        {**each.model_dump(), "measure": each.measure or study.measure}
        for each in (*study.comparisons, *study.trends)
    ]
    judged = [{**claim, **verdict} for claim, verdict in zip(claims, decided, strict=True)]
    for each, comparison in zip(judged, study.comparisons, strict=False):
        if not comparison.minus:
            del each["minus"]
        if study.evaluations:
            each["images_interval"] = interval_over_images(comparison, evaluated)
    number = len(study.comparisons)
    return {
        "data": _common([each.data for each in facts.values()]),
        "image_size": _common([list(each.image_size) for each in facts.values()]),
        "seeds": study.seeds,
        "question": study.question,
        "measure": study.measure,
        "arms": {
            arm: _figures(results, evaluated, arm, study.measure)
            for arm in study.evaluations or study.all_arms()
        },
        "verdicts": judged[:number],
        "trends": [
            {**each, "arms": each["arms"] or list(study.all_arms()), "slopes": slope}
            for each, slope in zip(judged[number:], slopes, strict=True)
        ],
        "grid": _grid(study),
        "threshold": _threshold(study, results),
        "search": _search(study, tries, best, facts),
        "runs": [_run(result, facts) for result in results],
        "evaluations": [each.as_dict() for each in evaluated],
        "cpu_seconds": sum(
            {result.run.folder: result.cpu_seconds for result in (*tries, *results)}.values()
        ),
    }


def _of_arm(results: Sequence[StudyResult], arm: str) -> list[StudyResult]:
    return [result for result in results if result.run.arm == arm]


def _common(values: Sequence[Any]) -> Any:
    """Return the value that all runs have, or None if they differ."""
    return values[0] if all(value == values[0] for value in values) else None


def _compared(
    study: Study,
    results: Sequence[StudyResult],
    evaluated: Sequence[Evaluated],
    comparison: Comparison,
) -> ClaimTest:
    measure = comparison.measure or study.measure
    terms = [
        [sign * figure for figure in _figures(results, evaluated, arm, measure)]
        for arm, sign in comparison.weights
    ]
    # Rounding of binary fractions must not decide where all seeds have the same difference.
    differences = [round(math.fsum(values), 12) for values in zip(*terms, strict=True)]
    return assess(differences, comparison.expected, comparison.margin)


def _slopes(
    study: Study, results: Sequence[StudyResult], facts: Mapping[Path, RunFacts]
) -> list[list[float]]:
    """Return the slope for each seed of each trend."""
    found = []
    for trend in study.trends:
        arms, measure = trend.arms or study.all_arms(), trend.measure or study.measure
        slopes = []
        for seed in study.seeds:
            runs = [each for each in results if each.run.seed == seed and each.run.arm in arms]
            sizes = [facts[each.run.folder].sizes[trend.over] for each in runs]
            slopes.append(slope_per_doubling(sizes, [each.figure(measure) for each in runs]))
        found.append(slopes)
    return found


def _grid(study: Study) -> dict[str, Any] | None:
    if not study.grid:
        return None
    axes = [
        {**axis.model_dump(), "names": [name_of(value) for value in axis.values]}
        for axis in study.grid
    ]
    return {"axes": axes, "cells": [{"arm": arm, "at": at} for arm, at in study.cells().items()]}


def _threshold(study: Study, results: Sequence[StudyResult]) -> dict[str, Any] | None:
    """Find the threshold for each position on the other axes."""
    threshold = study.threshold
    if threshold is None:
        return None
    number = [axis.key for axis in study.grid].index(threshold.along)
    rows: dict[tuple[int, ...], list[tuple[float, bool, str]]] = {}
    for arm, at in study.cells().items():
        value = study.grid[number].values[at[number]]
        mean = statistics.fmean(_figures(results, (), arm, threshold.measure))
        row = rows.setdefault((*at[:number], *at[number + 1 :]), [])
        row.append((value, mean > threshold.above, arm))
    others = [axis for axis in study.grid if axis.key != threshold.along]
    return {**threshold.model_dump(), "found": [
        {
            "at": {
                axis.key: axis.values[index] for axis, index in zip(others, at, strict=True)
            },
            **_first_above(sorted(row)),
        }
        for at, row in rows.items()
    ]}  # fmt: skip


def _figures(
    results: Sequence[StudyResult], evaluated: Sequence[Evaluated], arm: str, measure: StudyMeasure
) -> list[float]:
    """Return the measure of an arm by seed."""
    if measure == EVALUATED:
        return [each.error for each in evaluated if each.arm == arm]
    return [result.figure(measure) for result in _of_arm(results, arm)]


def _first_above(row: Sequence[tuple[float, bool, str]]) -> dict[str, Any]:
    """Return the smallest value above the threshold, and whether all larger ones are too."""
    for index, (value, is_above, arm) in enumerate(row):
        if is_above:
            return {"value": value, "arm": arm, "larger_too": all(each[1] for each in row[index:])}
    return {"value": None, "arm": None, "larger_too": None}


def _search(
    study: Study,
    tries: Sequence[StudyResult],
    best: Sequence[BestValue],
    facts: Mapping[Path, RunFacts],
) -> dict[str, Any] | None:
    if study.search is None:
        return None
    return {
        **study.search.model_dump(),
        "measure": "last-error",
        "best": [each._asdict() for each in best],
        "tries": [_run(result, facts) for result in tries],
    }


def _run(result: StudyResult, facts: Mapping[Path, RunFacts]) -> dict[str, Any]:
    run, sizes = result.run, facts[result.run.folder].sizes
    return {
        "arm": run.arm,
        "seed": run.seed,
        **({} if run.value is None else {"value": run.value}),
        "multiply_adds": sizes["multiply-adds"],
        "parameters": sizes["parameters"],
        "filters": sizes["filters"],
        "errors": result.errors,
        "mean_error": result.figure("mean-error"),
        "last_error": result.figure("last-error"),
        "best_error": result.figure("best-error"),
        "dead_units": result.dead_units,
        "failure": result.failure,
        "cpu_seconds": result.cpu_seconds,
    }
