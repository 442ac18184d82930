"""Checks and conversions of arguments that the Python functions share."""

from __future__ import annotations

import os
from collections.abc import Mapping
from numbers import Integral


def check_given(**names: object) -> None:
    """Raise ValueError for an empty name or path, alone or in a list, by the argument's name."""
    for argument, value in names.items():
        if "" in (value if isinstance(value, list | tuple) else [value]):
            raise ValueError(
                f"{argument}: the value is empty, which would mean the current folder; is a "
                "variable unset?"
            )


def plain_values(values: Mapping[str, object]) -> dict[str, object]:
    """Return values as a recipe states them: paths as text, tuples as lists, integers as int."""
    return {key: _plain(value) for key, value in values.items()}


def _plain(value: object) -> object:
    if isinstance(value, tuple | list):
        return [_plain(each) for each in value]
    if isinstance(value, Integral) and not isinstance(value, bool):
        return int(value)
    return os.fspath(value) if isinstance(value, os.PathLike) else value
