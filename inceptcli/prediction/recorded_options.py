"""Options that change answers or measures; results record those that differ from the default."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from inceptcli.data.pixels.preprocessing import Interpolation, ResizeRule

Precision = Literal["32-true", "bf16-mixed", "16-mixed", "bf16-true", "16-true"]
"""Lightning's names of the precision of a network; with "mixed", its weights stay float32."""


@dataclass(frozen=True)
class RecordedOptions:
    """Options of `predict` and `eval` that change answers or measures.

    Attributes:
        fast_decode: Whether JPEGs are decoded at reduced size, no smaller than the networks need.
        precision: Precision of the networks.
        image_size: Height and width of all networks' input, pixels; None for the weights' own.
        crop_fraction: See Preprocessing; None for the weights' own.
        interpolation: See Preprocessing; None for the weights' own.
        resize: See Preprocessing; None for the weights' own.
        antialias: See Preprocessing; None for the weights' own.
        threshold: Threshold of all classes; None for the weights' own.
        classes: File of the classes that compete, for `eval`; None for all.
        coverage_level: Coverage asked for; answers have prediction sets unless it is None.
        labels: File of the accepted labels, for `eval`; None for those of the data.
    """

    fast_decode: bool = False
    precision: Precision = "32-true"
    image_size: tuple[int, int] | None = None
    crop_fraction: float | None = None
    interpolation: Interpolation | None = None
    resize: ResizeRule | None = None
    antialias: bool | None = None
    threshold: float | None = None
    classes: str | None = None
    coverage_level: float | None = None
    labels: str | None = None

    @property
    def preprocessing(self) -> dict[str, Any]:
        """The fields of Preprocessing that replace those of the weights."""
        fields = ("image_size", "crop_fraction", "interpolation", "resize", "antialias")
        return {name: value for name in fields if (value := getattr(self, name)) is not None}

    def as_dict(self) -> dict[str, bool | float | str]:
        """Return the options that differ from the default, by name and as in results."""
        return {
            name: "x".join(map(str, value)) if isinstance(value, tuple) else value
            for name, value in vars(self).items()
            if value != getattr(RecordedOptions, name)
        }

    def as_texts(self) -> dict[str, str]:
        """Return the same options as text for CSV."""
        return {name: _as_text(value) for name, value in self.as_dict().items()}


def in_words(values: Mapping[str, object]) -> list[str]:
    """Return the recorded options among the values of a result, as part of a sentence."""
    return [
        name if values[name] is True else f"{name} {_as_text(values[name])}"
        for name in vars(DEFAULT_OPTIONS)
        if values.get(name) is not None
    ]


def _as_text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


DEFAULT_OPTIONS = RecordedOptions()
