"""Where results go: standard output, or a file that is there whole or not at all; and failures."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from typer import Exit, echo

from inceptcli.cli.output_files import check_regular
from inceptcli.errors import UsageError, UserError
from inceptcli.text import printable

if TYPE_CHECKING:
    from inceptcli.prediction.predict import Answer


@contextmanager
def results_stream(output: Path | None, flag: str = "--output") -> Iterator[TextIO]:
    """Standard output, or a file that takes the place of `output` when the block ends; UTF-8.

    Raises UsageError when there can be no such file, UserError when writing fails, and Exit with
    the code of a program that a closed pipe ended when nobody reads on.
    """
    if output is None:
        stream = sys.stdout
        assert isinstance(stream, TextIOWrapper)
        stream.reconfigure(encoding="utf-8", errors="backslashreplace", newline="")
        with writing("standard output"):
            yield stream
            stream.flush()
        return
    from inceptcli.atomic_file import replacing

    check_regular(flag, output)
    with writing(f"{flag} {output}"), ExitStack() as stack:
        try:
            temporary = stack.enter_context(replacing(output))
            file = temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="")
        except OSError as error:
            raise UsageError(f"{flag} {output}: {error.strerror}") from error
        yield stack.enter_context(file)


@contextmanager
def writing(place: str) -> Iterator[None]:
    """Turns what goes wrong with writing to `place` into how the program ends."""
    try:
        yield
    except BrokenPipeError:
        raise Exit(128 + signal.SIGPIPE) from None
    except OSError as error:
        raise UserError(f"{place}: {error.strerror or error}") from error


def reported(
    answers: Iterable[Answer], failed: list[str], advance: Callable[[], None]
) -> Iterator[Answer]:
    """The same answers; each that has an error is named on standard error and added to `failed`."""
    for answer in answers:
        if answer.error is not None:
            failed.append(answer.path)
            echo(f"Error: {printable(answer.path)}: {printable(answer.error)}", err=True)
        yield answer
        advance()


FORMATS = {".json": "json", ".jsonl": "jsonl", ".csv": "csv", ".parquet": "parquet"}
"""How answers are written, by the suffix of the file."""


def format_of(output: Path | None) -> str | None:
    """The format that the suffix of a file says; None for standard output and other suffixes."""
    return FORMATS.get(output.suffix.lower()) if output else None


def check_installed(output_format: str) -> None:
    """UserError for a format whose extra is not installed."""
    if output_format == "parquet":
        from inceptcli.prediction.parquet import check_pyarrow

        check_pyarrow("--format parquet")


def what_stays(output_format: str) -> str:
    """What standard output has when the work is interrupted."""
    rows = output_format in ("table", "jsonl", "csv")
    return f"standard output has {'their rows' if rows else 'a part of the result'}"


def check_no_terminal(output_format: str, stream: TextIO) -> None:
    """UsageError for a format that a terminal cannot show."""
    if output_format == "parquet" and stream.isatty():
        raise UsageError("--format parquet is not for a terminal; give --output FILE")
