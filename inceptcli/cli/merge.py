"""`inceptcli merge`: join the parts of `predict --shard` into one file."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from typer import Argument, Option

from inceptcli.cli.options import Quiet
from inceptcli.cli.outputs import (
    ROWS_SUFFIXES_IN_WORDS,
    OutputFiles,
    check_installed,
    check_no_terminal,
    format_of,
    results_stream,
    say_written,
)
from inceptcli.errors import UsageError
from inceptcli.progress.display import Display
from inceptcli.text import number_of

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
        Argument(metavar="PARTS", help="All parts of one job, or the folder that contains them."),
    ],
    output: Annotated[
        Path | None,
        Option(
            metavar="FILE",
            show_default="standard output",
            help=f"Output file: {ROWS_SUFFIXES_IN_WORDS}. It appears when all rows are written.",
        ),
    ] = None,
    output_format: Annotated[
        Literal["json", "jsonl", "csv", "tsv", "parquet"] | None,
        Option(
            "--format",
            show_default="by the extension of --output, else jsonl",
            help="Output format, as in `predict --format`.",
        ),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Join the parts of `predict --shard` in input order.

    All parts of the job must be present and finished, and have a row for each of its images in
    order; otherwise the exit code is 1 and the message names the parts. Rows with an error are
    joined like all others.
    """
    chosen = output_format or ("jsonl" if output is None else format_of(output))
    if chosen is None or chosen == "table":
        raise UsageError(
            f"--output {output}: must end in .jsonl, .csv or .parquet, or give --format"
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
        WRITERS[chosen](_counted(found.answers(), task.advance), stream, found.recorded)
    rows = number_of(found.inputs, "row")
    bad = f"{found.unreadable:,} with an error"
    if output is None:
        logger.info(f"{rows}, {bad}")
    say_written(output, rows, bad)


def _counted(answers: Iterable[Answer], advance: Callable[[], None]) -> Iterator[Answer]:
    for answer in answers:
        yield answer
        advance()
