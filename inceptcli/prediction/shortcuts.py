"""What takes less time and changes probabilities; results say which of it was used."""

from __future__ import annotations

from typing import Literal, NamedTuple

Precision = Literal["32-true", "bf16-mixed", "16-mixed", "bf16-true", "16-true"]
"""Lightning's names: what a network computes in; of "mixed" its weights stay float32."""


class Shortcuts(NamedTuple):
    """How answers were computed other than by default.

    Attributes:
        fast_decode: Whether JPEGs are decoded no larger than the networks need.
        precision: What the networks compute in.
    """

    fast_decode: bool = False
    precision: Precision = "32-true"

    def as_dict(self) -> dict[str, bool | str]:
        """What differs from the default, by the name that results have for it."""
        return {
            name: value
            for name, value in self._asdict().items()
            if value != self._field_defaults[name]
        }

    def as_texts(self) -> dict[str, str]:
        """The same as a CSV file has it."""
        return {name: str(value).replace("True", "true") for name, value in self.as_dict().items()}


NO_SHORTCUTS = Shortcuts()
