"""Write answers: a table for people; JSON, JSON Lines, CSV, TSV, Parquet for programs.

All formats record the options that change answers. With a coverage level, answers have sets.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Literal, TextIO

from inceptcli.prediction.outputs.json_lines import as_line
from inceptcli.prediction.outputs.parquet import write_parquet
from inceptcli.prediction.predict import Answer, peek
from inceptcli.prediction.recorded_options import DEFAULT_OPTIONS, RecordedOptions
from inceptcli.text import defused, joined_names, printable

CSV_COLUMNS = ("path", "rank", "class", "index", "probability", "error")

SHOWN = 10
"""Number of classes of a set that a table shows."""


def write_table(
    answers: Iterable[Answer], stream: TextIO, recorded: RecordedOptions = DEFAULT_OPTIONS
) -> None:
    """Print the path on its own line, then a line per class: probability and name.

    Labels of multi-label weights are marked with an asterisk.
    """
    for name, value in recorded.as_texts().items():
        print(f"{name}: {value}", file=stream, flush=True)
    for answer in answers:
        lines = [printable(answer.path)]
        labels = answer.labels or ()
        lines += [
            f"{'*' if p in labels else ' '} {p.probability:.6f}  {printable(p.name)}"
            for p in answer.top
        ]
        if answer.set:
            lines.append(f"  set of {len(answer.set)}: {_names(answer.set)}")
        if answer.error is not None:
            lines.append(f"  error: {printable(answer.error)}")
        print(*lines, sep="\n", file=stream, flush=True)


def write_json_lines(
    answers: Iterable[Answer], stream: TextIO, recorded: RecordedOptions = DEFAULT_OPTIONS
) -> None:
    """Write one object per line, with path, predictions (class, index, probability) and error."""
    for answer in answers:
        print(as_line(answer, recorded), file=stream, flush=True)


def write_json(
    answers: Iterable[Answer], stream: TextIO, recorded: RecordedOptions = DEFAULT_OPTIONS
) -> None:
    """Write the objects of write_json_lines as one list, each as soon as it is known."""
    stream.write("[")
    separator = "\n"
    for answer in answers:
        print(separator, as_line(answer, recorded), sep="", end="", file=stream, flush=True)
        separator = ",\n"
    stream.write("\n]\n")


def write_csv(
    answers: Iterable[Answer],
    stream: TextIO,
    recorded: RecordedOptions = DEFAULT_OPTIONS,
    dialect: Literal["excel", "excel-tab"] = "excel",
) -> None:
    """Write CSV_COLUMNS as in RFC 4180: a line per class with its rank from 1, or one for an error.

    For multi-label weights, `is_label` follows: true if the class reaches its threshold, or false.
    Text that a spreadsheet would take for a formula (it starts with = + - @, a tab or a carriage
    return) is prefixed with an apostrophe. On a terminal, control characters are escaped. With the
    dialect "excel-tab", columns are separated by tabs. With a coverage level, `set` follows
    `error`: the joined names of the classes, in the first line of an image.
    """
    safe = (lambda text: defused(printable(text))) if stream.isatty() else defused
    table = csv.writer(stream, dialect)
    said = recorded.as_texts()
    last = said.values()
    has_sets = recorded.coverage_level is not None
    is_multi_label, answers = peek(answers)
    further = (*["set"] * has_sets, *["is_label"] * is_multi_label)
    table.writerow((*CSV_COLUMNS, *further, *said))
    for answer in answers:
        path, labels = safe(answer.path), answer.labels or ()
        members = [safe(joined_names(answer.set or ()))] * has_sets
        for rank, p in enumerate(answer.top, start=1):
            figures = (path, rank, safe(p.name), p.index, p.probability, "")
            is_label = ["true" if p in labels else "false"] * is_multi_label
            shown = members if rank == 1 else [""] * has_sets
            table.writerow((*figures, *shown, *is_label, *last))
        if answer.error is not None or not answer.top:
            error = (path, "", "", "", "", safe(answer.error or ""))
            table.writerow((*error, *members, *[""] * is_multi_label, *last))
        stream.flush()


def _names(members: Sequence[str]) -> str:
    """Join the first names, and count the others: a set may have a thousand."""
    more = f" and {len(members) - SHOWN} more" if len(members) > SHOWN else ""
    return ", ".join(map(printable, members[:SHOWN])) + more


WRITERS: dict[str, Callable[[Iterable[Answer], TextIO, RecordedOptions], None]] = {
    "table": write_table,
    "json": write_json,
    "jsonl": write_json_lines,
    "csv": write_csv,
    "tsv": partial(write_csv, dialect="excel-tab"),
    "parquet": lambda answers, stream, recorded: write_parquet(answers, stream.buffer, recorded),
}
