"""Read CSV tables of a run, which may be damaged or foreign. No torch."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

from inceptcli.errors import UserError
from inceptcli.files.regular_file import read_regular

MAXIMUM_BYTES = 64 * 2**20
LONGEST_NUMBER = 18
"""Largest number of digits; int() rejects thousands of them."""


def rows_in(path: Path) -> Iterator[dict[str, str]]:
    """Yield the rows of a CSV file that have all columns; yield none if there is no file.

    An incomplete last line, left by a full disk, is ignored. Raises UserError when the file cannot
    be read as a table.
    """
    try:
        text = read_regular(path, MAXIMUM_BYTES).decode(errors="replace")
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    reader = csv.DictReader(StringIO(text[: text.rfind("\n") + 1], newline=""))
    try:
        for row in reader:
            if None not in row and None not in row.values():
                yield row
    except csv.Error as error:  # a field over 128 KiB
        raise UserError(f"{path}, line {reader.line_num}: {error}; remove the file") from error


def number_in(row: dict[str, str], column: str) -> int | None:
    """Return the whole number (>= 0) in a column, or None."""
    text = row.get(column, "")
    return int(text) if text.isdecimal() and len(text) <= LONGEST_NUMBER else None
