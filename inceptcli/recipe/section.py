"""What every section of a recipe is: strict, closed, frozen; and the ranges that keys share."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
Side = Annotated[int, Field(ge=75, le=4096)]


class Section(BaseModel):
    """A part of a recipe: no unknown keys, no silent conversions, no NaN, frozen."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)
