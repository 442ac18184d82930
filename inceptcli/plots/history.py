"""Read metrics.csv and dead_units.csv of a run, which may be in progress."""

from __future__ import annotations

import csv
import math
import reprlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from inceptcli.errors import UserError

LARGEST_FILE = 64 * 2**20
"""Bytes; half a million epochs."""


LARGEST_NUMBER = 1e30
"""Plots overflow above; a loss may be infinite."""


@dataclass(frozen=True)
class History:
    """One entry per validation; `columns` are those of metrics.csv, None for empty fields."""

    epochs: list[float]
    steps: list[float]
    hours: list[float]
    columns: dict[str, list[float | None]]


@dataclass(frozen=True)
class DeadUnitShares:
    """`shares[stage][epoch]`, 0 to 1; stages in order of data flow."""

    epochs: list[float]
    shares: dict[str, dict[float, float]]


def read_history(folder: Path) -> History:
    """Read `folder`/metrics.csv.

    Raises:
        FileNotFoundError: The file is missing.
        UserError: The file was not written by a run.
    """
    path = folder / "metrics.csv"
    columns: dict[str, list[float | None]] = {}
    for number, row in _rows(path, ("epoch", "step", "seconds")):
        for name, field in row.items():
            columns.setdefault(name, []).append(_number(path, number, name, field))
    epochs, steps, seconds = (
        [value for value in columns.get(name, []) if value is not None]
        for name in ("epoch", "step", "seconds")
    )
    if not len(columns.get("epoch", [])) == len(epochs) == len(steps) == len(seconds):
        raise UserError(f"{path}: a row has no epoch, step or seconds")
    return History(epochs, steps, [value / 3600 for value in seconds], columns)


def excludes_images(folder: Path) -> bool | None:
    """Return whether a run left out some of ILSVRC's validation images; None for other images."""
    from inceptcli.data.exclusion import NUM_VALIDATION_IMAGES
    from inceptcli.data.identity import KeptIdentity
    from inceptcli.data.label_files import usual_order
    from inceptcli.recipe.file import read_recipe

    try:
        kept = KeptIdentity(folder / "data.jsonl.gz")
        ids, validation = kept.classes, kept.validation
        recipe = read_recipe(folder / "recipe.yaml")
    except UserError:  # the run was copied without them
        return None
    data, trainer = (recipe.get(name) or {} for name in ("data", "trainer"))
    if not (usual_order(ids) and isinstance(data, dict) and isinstance(trainer, dict)):
        return None
    if data.get("exclude") is not None:
        return True
    is_whole = validation == NUM_VALIDATION_IMAGES and trainer.get("limit_batches") is None
    return False if is_whole else None


def read_dead_units(folder: Path) -> DeadUnitShares | None:
    """Read `folder`/dead_units.csv; None if it is missing or empty."""
    path = folder / "dead_units.csv"
    if not path.is_file():
        return None
    shares: dict[str, dict[float, float]] = {}
    for number, row in _rows(path, ("epoch", "stage", "share")):
        epoch, share = (_number(path, number, name, row[name]) for name in ("epoch", "share"))
        if epoch is not None and share is not None:
            shares.setdefault(row["stage"], {})[epoch] = share
    epochs = sorted({epoch for by_epoch in shares.values() for epoch in by_epoch})
    return DeadUnitShares(epochs, shares) if epochs else None


def _rows(path: Path, required: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield rows with their line numbers, without an incomplete last line."""
    with path.open(newline="", errors="replace") as file:
        if path.stat().st_size > LARGEST_FILE:
            raise UserError(f"{path}: over the limit of {LARGEST_FILE // 2**20} MiB")
        reader = csv.DictReader(line for line in file if line.endswith("\n"))
        names = reader.fieldnames or required  # the file is still empty
        if missing := [name for name in required if name not in names]:
            raise UserError(f"{path}: has no column {missing[0]}; `inceptcli train` writes them")
        for row in _each(path, reader):
            if None in row or None in row.values():
                raise UserError(f"{path}, line {reader.line_num}: not as many fields as columns")
            yield reader.line_num, row


def _each(path: Path, reader: csv.DictReader[str]) -> Iterator[dict[str, str]]:
    try:
        yield from reader
    except csv.Error as error:  # a field over 128 KiB, or a NUL
        raise UserError(f"{path}, line {reader.line_num}: {error}") from error


def _number(path: Path, line: int, name: str, field: str) -> float | None:
    must_be_finite = name in ("epoch", "step", "seconds")
    try:
        value = float(field) if field else None
        wrong = value is not None and (
            (must_be_finite and not math.isfinite(value))
            or (math.isfinite(value) and abs(value) > LARGEST_NUMBER)
        )
    except ValueError:
        wrong = True
    if wrong:
        shown = reprlib.repr(field)
        raise UserError(f"{path}, line {line}: {name} must be a number, got {shown}")
    return value
