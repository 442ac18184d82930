"""Options that change probabilities; results record those that differ from the default."""

from __future__ import annotations

from typing import Literal, NamedTuple

Precision = Literal["32-true", "bf16-mixed", "16-mixed", "bf16-true", "16-true"]
"""Lightning's names of the precision of a network; with "mixed", its weights stay float32."""


class RecordedOptions(NamedTuple):
    """Options of `predict` and `eval` that change probabilities.

    Attributes:
        fast_decode: Whether JPEGs are decoded at reduced size, no smaller than the networks need.
        precision: Precision of the networks.
    """

    fast_decode: bool = False
    precision: Precision = "32-true"

    def as_dict(self) -> dict[str, bool | str]:
        """Return the options that differ from the default, by their names in results."""
        return {
            name: value
            for name, value in self._asdict().items()
            if value != self._field_defaults[name]
        }

    def as_texts(self) -> dict[str, str]:
        """Return the same options as text for CSV."""
        return {name: str(value).replace("True", "true") for name, value in self.as_dict().items()}


DEFAULT_OPTIONS = RecordedOptions()
