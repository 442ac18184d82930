"""Read a subset of a network's classes from a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from inceptcli.data.label_files import LONGEST_SHOWN, Labels
from inceptcli.data.text_files import read_text
from inceptcli.errors import UserError
from inceptcli.text import printable


def read_subset(file: Path, ids: Sequence[str], names: Sequence[str]) -> tuple[int, ...]:
    """Return the positions in `ids` of the classes in `file`, one per line, in ascending order.

    A class is given by its id, else its name, else its position from 0, as a label in a CSV file.
    Empty lines are ignored.

    Raises:
        UsageError: `file` cannot be read.
        UserError: a class is unknown or listed twice, or there are fewer than two.
    """
    known, lines = Labels(ids, names, ids), dict[int, int]()
    for number, line in enumerate(read_text(file, "--classes").split("\n"), start=1):
        if not (name := line.strip()):
            continue
        place = f"{file} line {number}: class {printable(name[:LONGEST_SHOWN])}"
        try:
            label = known.find(name)
        except ValueError as error:
            raise UserError(f"{place} {error}") from error
        if label in lines:
            raise UserError(f"{place} is already in line {lines[label]}")
        lines[label] = number
    if len(lines) < 2:
        raise UserError(
            f"{file}: at least two classes are needed, got {len(lines)}; give one class id per line"
        )
    return tuple(sorted(lines))
