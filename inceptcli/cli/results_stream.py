"""Where results go: standard output, or a file that is there whole or not at all; and failures."""

from __future__ import annotations

import gzip
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
            file = _opened(temporary, compressed=output.suffix.lower() == ".gz")
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
        if error.filename is not None and not place.endswith(str(error.filename)):
            raise  # of a file that is read
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


FORMATS = {
    ".csv": "csv",
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".tsv": "tsv",
    ".txt": "table",
}
"""How answers are written, by the suffix of the file."""

SUFFIXES_IN_WORDS = f"{' '.join(FORMATS)}, and of text also with .gz"


def format_of(output: Path | None) -> str | None:
    """The format that the suffix of a file says; None for standard output and without a suffix.

    Raises UsageError for a suffix that no format has.
    """
    suffix = "" if output is None else _suffix(output)
    found = FORMATS.get(suffix.removesuffix(".gz"))
    if suffix in ("", ".gz") or (found and not (found == "parquet" and suffix.endswith(".gz"))):
        return found
    raise UsageError(
        f"--output {output}: {suffix} is not written; must end in {SUFFIXES_IN_WORDS}, or give "
        "--format"
    )


def check_suffix(flag: str, output: Path | None, *suffixes: str) -> None:
    """UsageError for a file whose suffix says another format than is written; it may have none."""
    if output is not None and _suffix(output) not in ("", *suffixes):
        raise UsageError(f"{flag} {output}: must end in {' or '.join(suffixes)}")


def _suffix(output: Path) -> str:
    """In small letters, with the one before .gz."""
    suffix = output.suffix.lower()
    return f"{Path(output.stem).suffix.lower()}.gz" if suffix == ".gz" else suffix


class _Gzip(gzip.GzipFile):
    """Compresses rows together, though each of them is flushed by who writes it."""

    def flush(self, zlib_mode: int = 0) -> None:
        """Nothing: the file appears when all is done."""


def _opened(file: Path, *, compressed: bool) -> TextIO:
    binary = _Gzip(file, "wb", mtime=0) if compressed else file.open("wb")
    return TextIOWrapper(binary, encoding="utf-8", errors="backslashreplace", newline="")


def check_installed(output_format: str) -> None:
    """UserError for a format whose extra is not installed."""
    if output_format == "parquet":
        from inceptcli.prediction.parquet import check_pyarrow

        check_pyarrow("--format parquet")


def what_stays(output_format: str) -> str:
    """What standard output has when the work is interrupted."""
    rows = output_format in ("table", "jsonl", "csv", "tsv")
    return f"standard output has {'their rows' if rows else 'a part of the result'}"


def check_no_terminal(output_format: str, stream: TextIO) -> None:
    """UsageError for a format that a terminal cannot show."""
    if output_format == "parquet" and stream.isatty():
        raise UsageError("--format parquet is not for a terminal; give --output FILE")
