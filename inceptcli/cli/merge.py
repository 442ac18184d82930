"""`inceptcli merge`: the parts of `predict --shard` become one file."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from typer import Argument, Option

from inceptcli.cli.outputs import (
    SUFFIXES_IN_WORDS,
    OutputFiles,
    check_installed,
    check_no_terminal,
    format_of,
    number_of,
    results_stream,
    say_written,
)
from inceptcli.errors import UsageError
from inceptcli.progress.display import Display, hush
from inceptcli.text import printable

if TYPE_CHECKING:
    from inceptcli.prediction.predict import Answer

logger = logging.getLogger(__name__)

EPILOG = """\
Examples:

\b
  inceptcli predict photos/ --shard 0/2 --output answers/
  inceptcli predict photos/ --shard 1/2 --output answers/
  inceptcli merge answers/ --output answers.parquet
"""


def merge(
    parts: Annotated[
        list[Path],
        Argument(metavar="PARTS", help="All parts of one job, or the folder where they lie."),
    ],
    output: Annotated[
        Path | None,
        Option(
            metavar="FILE",
            show_default="standard output",
            help=f"File to write to, {SUFFIXES_IN_WORDS}; it appears when all is done.",
        ),
    ] = None,
    output_format: Annotated[
        Literal["json", "jsonl", "csv", "tsv", "parquet"] | None,
        Option(
            "--format",
            show_default="by the suffix of --output, else jsonl",
            help="How to write: as `predict --format` does.",
        ),
    ] = None,
    quiet: Annotated[bool, Option("--quiet", callback=hush, help="Show no progress.")] = False,
) -> None:
    """Join the parts of `predict --shard` in the order of the images.

    Every shard must be there, finished, of the same job and as it was written; what is missing is
    named, and the exit code is 1. Rows that have an error are joined like the others.
    """
    chosen = output_format or ("jsonl" if output is None else format_of(output))
    if chosen is None or chosen == "table":
        raise UsageError(
            f"--output {printable(str(output))}: must end in .jsonl, .csv or .parquet, or give "
            "--format"
        )

    from inceptcli.prediction.outputs.writers import WRITERS
    from inceptcli.prediction.shares.merging import Parts

    check_installed(chosen)
    found = Parts(parts)
    OutputFiles({"--output": output}).check(found.files)
    with (
        results_stream(output) as stream,
        Display(stream.isatty()).task("merge", found.inputs, "rows") as task,
    ):
        check_no_terminal(chosen, stream)
        WRITERS[chosen](_counted(found.answers(), task.advance), stream, found.shortcuts)
    rows = number_of(found.inputs, "row")
    bad = f"{found.unreadable:,} of them without an answer"
    if output is None:
        logger.info(f"{rows}, {bad}")
    say_written(output, rows, bad)


def _counted(answers: Iterable[Answer], advance: Callable[[], None]) -> Iterator[Answer]:
    for answer in answers:
        yield answer
        advance()
