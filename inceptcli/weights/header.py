"""Schema of a weights file's metadata: types and ranges. No torch."""

from __future__ import annotations

import json
import reprlib
from collections import Counter
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, ValidationError, ValidationInfo, model_validator

from inceptcli.networks.registry import WIDEST, Initialization, OnSums
from inceptcli.recipe.section import Fraction, Section
from inceptcli.weights.calibration import COLDEST, HOTTEST, kept_ranks

SCHEMA_VERSION = 1
MOST_REPEATS = 64
"""Limit of repeated modules per stage; the released networks have up to 20."""

MOST_CLASSES = 100_000
LONGEST_SIDE = 4096
SMALLEST_CROP_FRACTION = 0.01
LONGEST_TEXT = 1000


def _text(value: Any) -> Any:
    # Folder names may contain bytes that are not UTF-8, which pydantic's str rejects.
    if not isinstance(value, str) or len(value) > LONGEST_TEXT:
        raise ValueError(f"must be text of at most {LONGEST_TEXT} characters")
    return value


def _all_differ(classes: list[Any]) -> list[Any]:
    ids = [entry[0] for entry in classes]
    if len(set(ids)) < len(ids):
        twice = next(key for key, count in Counter(ids).items() if count > 1)
        raise ValueError(f"must have unique ids; {reprlib.repr(twice)} appears twice")
    return classes


def _of_sigmoid(thresholds: list[float], info: ValidationInfo) -> list[float]:
    if info.data.get("outputs") != "sigmoid":
        raise ValueError("needs outputs sigmoid")
    return thresholds


Text = Annotated[Any, AfterValidator(_text)]
Ratio = Annotated[float, Field(gt=0, le=1)]
Level = Annotated[float, Field(ge=-1e6, le=1e6)]


class NetworkHeader(Section):
    """Schema of NetworkOptions."""

    name: Text
    num_classes: Annotated[int, Field(ge=1, le=MOST_CLASSES)]
    width: Annotated[float, Field(gt=0, le=WIDEST)] = 1.0
    in_channels: Literal[1, 3]
    repeats: (
        Annotated[
            list[Annotated[int, Field(ge=1, le=MOST_REPEATS)]], Field(min_length=3, max_length=3)
        ]
        | None
    )
    residual_scales: Annotated[list[Level], Field(min_length=3, max_length=3)] | None
    shortcut: bool
    batch_norm_on_sums: OnSums
    dropout: Annotated[float, Field(ge=0, lt=1)]
    batch_norm_eps: Ratio
    batch_norm_momentum: Ratio
    batch_norm_scale: bool = True
    initialization: Initialization = "he"
    count_padding: bool = False


class View(Section):
    """Schema of Preprocessing."""

    image_size: Annotated[
        list[Annotated[int, Field(ge=1, le=LONGEST_SIDE)]], Field(min_length=2, max_length=2)
    ]
    resize: Literal["short-side", "squash"]
    crop_fraction: Annotated[float, Field(ge=SMALLEST_CROP_FRACTION, le=1)]
    interpolation: Literal["bilinear", "bicubic"]
    mean: Annotated[list[Level], Field(min_length=1, max_length=3)]
    std: Annotated[
        list[Annotated[float, Field(ge=1e-6, le=1e6)]], Field(min_length=1, max_length=3)
    ]
    antialias: bool = True


class QuantizationHeader(Section):
    """Schema of WeightsMetadata.quantization."""

    method: Literal["percentile", "minmax", "entropy"]
    percentile: Annotated[float, Field(gt=50, le=100)] | None
    images: Annotated[int, Field(ge=1)]
    float32: list[Text] = Field(max_length=10_000)
    agreement: Annotated[float, Field(ge=0, le=1)]
    weights_sha256: Text


class CalibrationHeader(Section):
    """Schema of Calibration."""

    temperature: Annotated[float, Field(ge=COLDEST, le=HOTTEST)]
    images: Annotated[int, Field(ge=1, lt=2**31)]
    scores: list[Fraction]
    data: Text
    split: Text
    crops: Literal[1, 10, 12, 144]
    options: Annotated[dict[Any, bool | int | float | Text], Field(max_length=100)]
    images_sha256: Text | None = None

    @model_validator(mode="after")
    def _check_scores(self) -> Self:
        if len(self.scores) != len(kept_ranks(self.images)) or self.scores != sorted(self.scores):
            raise ValueError(f"must have the ascending scores of {self.images} images")
        return self


class Header(Section):
    """Schema of WeightsMetadata."""

    schema_version: int
    network: NetworkHeader
    classes: Annotated[
        list[Annotated[list[Text], Field(min_length=2, max_length=2)]],
        Field(min_length=1, max_length=MOST_CLASSES),
        AfterValidator(_all_differ),
    ]
    preprocessing: View
    recipe: dict[Any, Any] | None = None
    epoch: Annotated[int, Field(ge=0, lt=2**31)] | None = None
    averaged: bool = False
    metrics: dict[Any, Annotated[float, Field(allow_inf_nan=True)]] = Field(default_factory=dict)
    source_sha256: Text | None = None
    source: dict[Any, Text] = Field(default_factory=dict)
    initialized: list[Text] = Field(default_factory=list, max_length=100_000)
    assumed: list[Text] = Field(default_factory=list, max_length=100)
    unnamed: bool = False
    quantization: QuantizationHeader | None = None
    environment: dict[Any, Text] = Field(default_factory=dict)
    calibration: CalibrationHeader | None = None
    outputs: Literal["softmax", "sigmoid"] = "softmax"
    thresholds: Annotated[list[Fraction], AfterValidator(_of_sigmoid)] | None = None
    inceptcli_version: Text = ""


def parse_header(text: str) -> Header:
    """Parse the metadata in a file's header; raise ValueError with the reason if it is invalid."""
    try:
        values = json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if not isinstance(values, dict) or "schema_version" not in values:
        raise ValueError("it must be an object with schema_version")
    if (found := values["schema_version"]) != SCHEMA_VERSION:
        shown = reprlib.repr(found)
        raise ValueError(f"schema version {shown}, this program reads {SCHEMA_VERSION}")
    try:
        return Header.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        rule = (
            first["msg"].removeprefix("Value error, ").removeprefix("Input ").removeprefix("List ")
        )
        rule = rule.replace("should", "must").replace(" after validation", "")
        given = "" if first["type"] == "missing" else f", got {reprlib.repr(first['input'])}"
        raise ValueError(f"{place} {rule}{given}") from error
