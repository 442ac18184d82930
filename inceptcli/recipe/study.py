"""Schema of a study: a recipe, arms that change it, seeds and comparisons. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StringConstraints, ValidationError

from inceptcli.errors import UsageError
from inceptcli.recipe.schema import Recipe, check, explain
from inceptcli.recipe.section import Section, with_names

ArmName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,40}$")]
StudyMeasure = Literal["mean-error", "last-error", "dead-units"]
Sections = Annotated[
    dict[str, dict[str, Any]],
    BeforeValidator(lambda values: with_names(values) if isinstance(values, dict) else values),
]


class Comparison(Section):
    """Claim that an arm's measure is lower or higher than another's."""

    arm: str
    against: str
    expected: Literal["lower", "higher"]


class Claim(Section):
    """What the paper says, in our words, and where: a section such as 3.3, or `abstract`."""

    section: Annotated[str, StringConstraints(pattern=r"^(abstract|[1-6](\.[1-9])?)$")]
    says: Annotated[str, StringConstraints(pattern=r"^[A-Z].*\.$")]


class Study(Section):
    """Arms, each a change of `recipe` section by section, and a measure to compare.

    `measure` is the validation top-1 error averaged over all epochs (`mean-error`, learning
    speed) or of the last epoch (`last-error`), or the final share of dead units in the last stage
    (`dead-units`). `claim` is the paper's sentence, for the page that lists them all.
    """

    claim: Claim | None = None
    question: str
    measure: StudyMeasure
    seeds: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=2, max_length=11)]
    recipe: Sections
    arms: Annotated[dict[ArmName, Sections], Field(min_length=2)]
    comparisons: Annotated[list[Comparison], Field(min_length=1)]


def check_study(values: Mapping[str, Any], place: str) -> Study:
    """Validate plain `values` as a study.

    Raises UsageError with `place`, the dotted key, the rule and the value.
    """
    try:
        study = Study.model_validate(dict(values))
    except ValidationError as error:
        raise UsageError(f"{place}: {explain(error, Study)}") from error
    for comparison in study.comparisons:
        for arm in (comparison.arm, comparison.against):
            if arm not in study.arms:
                raise UsageError(f"{place}: comparisons name {arm}; arms: {', '.join(study.arms)}")
    for arm in study.arms:
        recipe_of(study, arm, study.seeds[0], None, place)
    return study


def recipe_of(study: Study, arm: str, seed: int, data: str | None, place: str = "study") -> Recipe:
    """Return the recipe of one run: the study's recipe with the arm's changes, seed and data."""
    ours: Sections = {"data": {"path": data}, "trainer": {"seed": seed}}
    merged: Sections = {}
    for part in (study.recipe, study.arms[arm], ours):
        for section, values in part.items():
            merged[section] = merged.get(section, {}) | values
    return check(merged, f"{place}, arm {arm}")
