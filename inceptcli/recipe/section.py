"""What every section of a recipe is: strict, closed, frozen; and the ranges that keys share."""

from __future__ import annotations

import os.path
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
Side = Annotated[int, Field(ge=75, le=4096)]


def in_order(values: list[float]) -> list[float]:
    """The same smallest and largest value; ValueError when they are the other way round."""
    if values[0] > values[1]:
        raise ValueError(f"must be the smallest and the largest, got {values[0]}, {values[1]}")
    return values


PathText = Annotated[str, Field(min_length=1), AfterValidator(os.path.expanduser)]
"""A path, in which ~ is the home folder."""

NAMED_SECTIONS = ("network", "optimizer", "schedule")
"""Those that have a name; the name alone stands for the section: `schedule: cosine`."""


def with_names(sections: Mapping[str, Any]) -> dict[str, Any]:
    """The same, with {name: cosine} for a section that is only `cosine`."""
    return {
        section: {"name": values}
        if section in NAMED_SECTIONS and isinstance(values, str)
        else values
        for section, values in sections.items()
    }


class Section(BaseModel):
    """A part of a recipe: no unknown keys, no silent conversions, no NaN, frozen."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)
