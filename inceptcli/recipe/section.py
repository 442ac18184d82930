"""Base class of all recipe sections, and shared value ranges."""

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
    """Return `values`, smallest and largest; raise ValueError when they are swapped."""
    if values[0] > values[1]:
        raise ValueError(f"must be the smallest and the largest, got {values[0]}, {values[1]}")
    return values


PathText = Annotated[str, Field(min_length=1), AfterValidator(os.path.expanduser)]
"""A path; `~` expands to the home folder."""

NAMED_SECTIONS = ("network", "loss", "optimizer", "schedule")
"""Sections that may be written as a name alone: `schedule: cosine`."""


def with_names(sections: Mapping[str, Any]) -> dict[str, Any]:
    """Expand sections that are a name alone: `cosine` becomes {name: cosine}."""
    return {
        section: {"name": values}
        if section in NAMED_SECTIONS and isinstance(values, str)
        else values
        for section, values in sections.items()
    }


class Section(BaseModel):
    """Section of a recipe: frozen, without unknown keys, silent conversions or NaN."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)
