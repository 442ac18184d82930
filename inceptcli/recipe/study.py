"""Schema of a study: a recipe, arms that change it, seeds and claims about them. No torch."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, StringConstraints, ValidationError, model_validator

from inceptcli.errors import UsageError
from inceptcli.recipe.file import laid_over
from inceptcli.recipe.schema import Recipe, check, explain
from inceptcli.recipe.section import Fraction, Section, with_names

ArmName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9.-]{0,80}$")]
RecipeKey = Annotated[str, StringConstraints(pattern=r"^[a-z_]+\.[a-z_]+$")]
Seed = Annotated[int, Field(ge=0)]

EVALUATED = "evaluated-error"
StudyMeasure = Literal["mean-error", "last-error", "best-error", "dead-units", "evaluated-error"]
"""Validation top-1 error averaged over all epochs, of the last or of the best epoch, the final
share of dead units in the last stage, or the top-1 error of an evaluation."""

Property = Literal["multiply-adds", "parameters", "filters"]
"""Property of a network; `filters` are the channels of its widest stage."""

Expected = Literal["lower", "higher", "no-difference", "not-lower", "not-higher"]
"""Claim about a difference; the last three hold within a margin."""

VALIDATION_DATA = {"path", "val_path", "val_fraction", "val_size", "exclude", "shapes"}
"""Keys of the section data that say on which images a run validates."""

Sections = Annotated[
    dict[str, dict[str, Any]],
    BeforeValidator(lambda values: with_names(values) if isinstance(values, dict) else values),
]


class Expectation(Section):
    """Claim that a difference of `measure` is as `expected`.

    `margin`, a fraction, belongs to no-difference, not-lower and not-higher: differences up to it
    do not count. `measure` is the study's if omitted.
    """

    expected: Expected
    measure: StudyMeasure | None = None
    margin: Annotated[float, Field(gt=0, le=1)] | None = None

    @model_validator(mode="after")
    def _has_margin(self) -> Self:
        if (self.margin is None) != (self.expected in ("lower", "higher")):
            raise ValueError(
                "margin must be given with no-difference, not-lower and not-higher, and only there"
            )
        return self


class Pair(Section):
    """Measure of an arm minus that of another."""

    arm: str
    against: str


class Comparison(Expectation):
    """Claim about the measure of an arm minus that of another, paired by seed.

    The same difference of the pair `minus` is subtracted from it, if there is one.
    """

    arm: str
    against: str
    minus: Pair | None = None

    @property
    def weights(self) -> list[tuple[str, int]]:
        """The arms whose measures are summed, each with 1 or -1."""
        found = [(self.arm, 1), (self.against, -1)]
        return found + ([(self.minus.arm, -1), (self.minus.against, 1)] if self.minus else [])


class EvaluatedArm(Section):
    """Networks of trained arms, an ensemble if several, and the crops with which `eval` runs."""

    of: Annotated[list[str], Field(min_length=1, max_length=20)]
    crops: Literal[1, 10, 12, 144] = 1


class Trend(Expectation):
    """Claim about the change of the measure when a property of the network doubles.

    It is the slope over the logarithm of the property, fitted to the `arms` (all if omitted) of
    each seed.
    """

    over: Property
    arms: Annotated[list[str], Field(min_length=2)] | None = None


class Axis(Section):
    """Recipe key and its values; the product of a study's axes makes arms."""

    key: RecipeKey
    label: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ]{0,20}$")]
    values: Annotated[list[Any], Field(min_length=2, max_length=20)]


class Search(Section):
    """Values of a key, of which each arm takes the one with the lowest mean last error.

    Each is tried with `seeds`, which are not those of the study.
    """

    key: RecipeKey
    values: Annotated[list[Any], Field(min_length=2, max_length=20)]
    seeds: Annotated[list[Seed], Field(min_length=1)]


class Threshold(Section):
    """Smallest value of the axis `along` whose mean measure over the seeds exceeds `above`.

    It is found for each position on the other axes.
    """

    along: RecipeKey
    above: Fraction
    measure: StudyMeasure = "dead-units"


class Claim(Section):
    """What the paper says, in our words, and where: a section such as 3.3, or `abstract`.

    For the page of all claims, `scope` says what a verdict is limited to (early in training), and
    `note` how the study differs from the paper.
    """

    section: Annotated[str, StringConstraints(pattern=r"^(abstract|[1-6](\.[1-9])?)$")]
    says: Annotated[str, StringConstraints(pattern=r"^[A-Z].*\.$")]
    scope: Annotated[str, StringConstraints(pattern=r"^[a-z].*[a-z]$")] | None = None
    note: Annotated[str, StringConstraints(pattern=r"^[A-Z].*\.$")] | None = None


class Study(Section):
    """Arms, each a change of `recipe` section by section, and claims about their `measure`.

    `claim` is the paper's sentence, for the page that lists them all. The cells of `grid` are arms
    too, named by the labels and values of its axes: width-0.5-scale-0.1. `evaluations` are arms
    that train nothing: they evaluate trained ones, on about `evaluated_images` of the validation
    images, evenly spaced, or on all.
    """

    claim: Claim | None = None
    question: str
    measure: StudyMeasure
    seeds: Annotated[list[Seed], Field(min_length=2, max_length=100)]
    recipe: Sections
    arms: dict[ArmName, Sections] = Field(default={})
    grid: Annotated[list[Axis], Field(max_length=3)] = Field(default=[])
    evaluations: dict[ArmName, EvaluatedArm] = Field(default={})
    evaluated_images: Annotated[int, Field(ge=2)] | None = None
    search: Search | None = None
    comparisons: list[Comparison] = Field(default=[])
    trends: list[Trend] = Field(default=[])
    threshold: Threshold | None = None

    def cells(self) -> dict[str, tuple[int, ...]]:
        """Return the arms of the grid with their positions on its axes, from 0."""
        if not self.grid:
            return {}
        names = [[f"{axis.label}-{name_of(value)}" for value in axis.values] for axis in self.grid]
        return {
            as_file_name("-".join(parts)): at
            for parts, at in zip(
                itertools.product(*names),
                itertools.product(*(range(len(axis.values)) for axis in self.grid)),
                strict=True,
            )
        }

    def all_arms(self) -> dict[str, Sections]:
        """Return the changes of every arm, those of the grid last."""
        return self.arms | {
            name: _sections(
                (axis.key, axis.values[number]) for axis, number in zip(self.grid, at, strict=True)
            )
            for name, at in self.cells().items()
        }


def name_of(value: Any) -> str:
    """Return a name for the value of a key; equal numbers in a list, such as three scales, are one.

    It is 0.1 for [0.1, 0.1, 0.1].
    """
    if isinstance(value, list):
        return "-".join(dict.fromkeys(map(name_of, value)))
    return str(value) if isinstance(value, str | float | int) else "null"


def as_file_name(text: str) -> str:
    """Return `text` in lower case, with hyphens for all but letters, digits and points."""
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-")


def _sections(values: Any) -> Sections:
    sections: Sections = {}
    for dotted, value in values:
        section, _, key = dotted.partition(".")
        sections.setdefault(section, {})[key] = value
    return sections


def check_study(values: Mapping[str, Any], place: str, seeds: int | None = None) -> Study:
    """Validate plain `values` as a study; `seeds` is another number of seeds than its own.

    They are the first of its own, then the smallest numbers that are not among them.

    Raises UsageError with `place`, the dotted key, the rule and the value.
    """
    try:
        study = Study.model_validate(dict(values))
    except ValidationError as error:
        raise UsageError(f"{place}: {explain(error, Study)}") from error
    if seeds is not None:
        others = (seed for seed in itertools.count() if seed not in study.seeds)
        wanted = itertools.islice(itertools.chain(study.seeds, others), seeds)
        study = study.model_copy(update={"seeds": list(wanted)})
    arms = list(study.all_arms())
    cells = math.prod(len(axis.values) for axis in study.grid) if study.grid else 0
    least = 1 if study.evaluations else 2
    if not least <= len(arms) == len(study.arms) + cells:
        raise UsageError(f"{place}: arms and grid must make 2 or more arms of different names")
    if not (study.comparisons or study.trends or study.threshold):
        raise UsageError(f"{place}: comparisons, trends or threshold must say what is tested")
    if len({*study.seeds}) < len(study.seeds):
        raise UsageError(f"{place}: seeds repeats a seed; each must train a run of its own")
    _check_names(study, list(study.evaluations or arms), place)
    _check_evaluations(study, arms, place)
    _check_search(study, place)
    _check_axes(study, place)
    _check_keys(study, place)
    recipes = {
        arm: [recipe_of(study, arm, study.seeds[0], None, place, value) for value in tried(study)]
        for arm in arms
    }
    if any(recipe.trainer.validate_every != 1 for each in recipes.values() for recipe in each):
        raise UsageError(f"{place}: trainer.validate_every must be 1: errors are those of epochs")
    made: Mapping[str, Any] = study.evaluations or recipes
    for comparison in study.comparisons:
        if made[comparison.arm] == made[comparison.against]:
            raise UsageError(
                f"{place}: arms {comparison.arm} and {comparison.against} have the same recipe"
            )
    return study


def tried(study: Study) -> list[Any]:
    """Return the values of the search; a study without one has the single value None."""
    return study.search.values if study.search else [None]


def _check_names(study: Study, arms: list[str], place: str) -> None:
    named = [(each, "comparisons") for c in study.comparisons for each, _ in c.weights]
    named += [(each, "trends") for trend in study.trends for each in trend.arms or []]
    for arm, key in named:
        if arm not in arms:
            raise UsageError(f"{place}: {key} name {arm}; arms: {', '.join(arms)}")


def _check_evaluations(study: Study, arms: list[str], place: str) -> None:
    """Raise UsageError if evaluations name unknown arms, or are mixed with measures of training."""
    claims = [study.measure, *(c.measure for c in (*study.comparisons, *study.trends) if c.measure)]
    if {measure == EVALUATED for measure in claims} != {bool(study.evaluations)}:
        raise UsageError(
            f"{place}: the measure {EVALUATED} and evaluations belong together, and to no other "
            "measure"
        )
    if study.evaluations and (study.trends or study.threshold):
        raise UsageError(f"{place}: evaluations can be compared only; omit trends and threshold")
    if study.evaluated_images is not None and not study.evaluations:
        raise UsageError(f"{place}: evaluated_images needs evaluations")
    for name, evaluated in study.evaluations.items():
        at = f"{place}: evaluations.{name}"
        if name in arms:
            raise UsageError(f"{at}: is also the name of an arm")
        if unknown := [arm for arm in evaluated.of if arm not in arms]:
            raise UsageError(f"{at}.of names {unknown[0]}; arms: {', '.join(arms)}")
        if len({*evaluated.of}) < len(evaluated.of):
            raise UsageError(f"{at}.of names an arm twice")
        for arm in evaluated.of if evaluated.crops in (12, 144) else ():
            for value in tried(study):
                recipe = recipe_of(study, arm, study.seeds[0], None, place, value)
                height, width = recipe.data.height_and_width
                if height != width:
                    raise UsageError(f"{at}.crops {evaluated.crops}: needs square images")


def _check_search(study: Study, place: str) -> None:
    search = study.search
    if search is None:
        return
    if len({as_file_name(name_of(value)) for value in search.values}) < len(search.values):
        raise UsageError(f"{place}: search.values repeats a value")
    if len({*search.seeds}) < len(search.seeds):
        raise UsageError(f"{place}: search.seeds repeats a seed")
    if both := set(search.seeds) & set(study.seeds):
        raise UsageError(
            f"{place}: search.seeds must not be seeds of the study, got {min(both)} in both"
        )
    section, _, key = search.key.partition(".")
    for arm, changes in study.all_arms().items():
        if key in changes.get(section, {}):
            raise UsageError(f"{place}: arm {arm} sets {search.key}, which search sets")


def _check_axes(study: Study, place: str) -> None:
    threshold, axes = study.threshold, {axis.key: axis for axis in study.grid}
    if len(axes) < len(study.grid):
        raise UsageError(f"{place}: two axes of grid have the same key")
    if threshold is None:
        return
    if threshold.along not in axes:
        raise UsageError(f"{place}: threshold.along must be a key of grid, got {threshold.along}")
    if not all(type(value) in (int, float) for value in axes[threshold.along].values):
        raise UsageError(f"{place}: threshold.along {threshold.along}: its values must be numbers")


def _check_keys(study: Study, place: str) -> None:
    """Raise UsageError if arms differ in the images to validate on, or a run's seed is set."""
    searched = _sections([(study.search.key, None)]) if study.search else {}
    for name, sections in {"search": searched, **study.all_arms()}.items():
        for key in sections.get("data", {}):
            if key in VALIDATION_DATA:
                raise UsageError(
                    f"{place}: {name} sets data.{key}; errors on different images cannot be "
                    "compared: set it in recipe"
                )
    parts = {"recipe": study.recipe, "search": searched, **study.all_arms()}
    for name, sections in parts.items():
        if "seed" in sections.get("trainer", {}):
            raise UsageError(f"{place}: {name} sets trainer.seed; list the seeds in seeds")


def recipe_of(
    study: Study,
    arm: str,
    seed: int,
    data: str | None,
    place: str = "study",
    value: Any = None,
) -> Recipe:
    """Return the recipe of one run: the study's with the arm's changes, seed and, if given, data.

    `value` is that of the key that the study searches, if it does. An optimizer or schedule of
    another name replaces the study's, as in a recipe with a base.
    """
    searched = _sections([(study.search.key, value)]) if study.search else {}
    ours: Sections = {"trainer": {"seed": seed}} | ({"data": {"path": data}} if data else {})
    merged: dict[str, Any] = {}
    for part in (study.recipe, study.all_arms()[arm], searched, ours):
        merged = laid_over(merged, part)
    return check(merged, f"{place}, arm {arm}")
