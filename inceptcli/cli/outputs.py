"""Where results go: standard output, or a file that is there whole or not at all; and failures."""

from __future__ import annotations

import gzip
import logging
import os
import signal
import stat
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from typer import Exit, echo

from inceptcli.errors import UsageError, UserError
from inceptcli.text import fitted, printable

if TYPE_CHECKING:
    from inceptcli.prediction.inputs import Source
    from inceptcli.prediction.predict import Answer

logger = logging.getLogger(__name__)


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
    from inceptcli.files.atomic_file import replacing

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


def say_written(path: Path | str | None, *contents: str) -> None:
    """Name a file that was written on standard error, and what is in it; None names none."""
    if path is not None:
        logger.info(f"wrote {', '.join([str(path), *contents])}")


def number_of(count: int, noun: str) -> str:
    """Such as 1 image and 1,200 images."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def print_fitted(text: str) -> None:
    """Print lines on standard output, which a terminal has broken at word ends."""
    echo("\n".join(fitted(line, sys.stdout, indent=2) for line in text.splitlines()))


def reported(
    answers: Iterable[Answer], failed: list[str], advance: Callable[[], None]
) -> Iterator[Answer]:
    """The same answers; each that has an error is named on standard error and added to `failed`."""
    for answer in answers:
        if answer.error is not None:
            failed.append(answer.path)
            line = f"Error: {printable(answer.path)}: {printable(answer.error)}"
            echo(fitted(line, sys.stderr), err=True)
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
        from inceptcli.prediction.outputs.parquet import check_pyarrow

        check_pyarrow("--format parquet")


def what_stays(output_format: str) -> str:
    """What standard output has when the work is interrupted."""
    rows = output_format in ("table", "jsonl", "csv", "tsv")
    return f"standard output has {'their rows' if rows else 'a part of the result'}"


def check_no_terminal(output_format: str, stream: TextIO) -> None:
    """UsageError for a format that a terminal cannot show."""
    if output_format == "parquet" and stream.isatty():
        raise UsageError("--format parquet is not for a terminal; give --output FILE")


MAXIMUM_LINKS = 40
STANDARD_INPUT = 0


class OutputFiles:
    """The files that flags name; what is there already is known by its device and inode."""

    def __init__(self, paths: Mapping[str, Path | None]) -> None:
        """Take the paths by flag, None for a flag that is not given.

        Raises UsageError when one is no regular file, also through links, or two are the same file.
        """
        self._flags: dict[tuple[int, int], str] = {}
        places: dict[str, str] = {}
        for flag, path in paths.items():
            if path is None:
                continue
            check_regular(flag, path)
            # Two names of a file that does not exist yet have no inode to compare.
            place = os.path.realpath(path)
            first = places.setdefault(place, flag)
            if first != flag:
                raise UsageError(f"{flag} {path}: {first} names the same file")
            if (key := _key(path)) is not None:
                self._flags[key] = f"{flag} {path}"

    def check(self, inputs: Iterable[Path | str | int]) -> None:
        """UsageError when one of the inputs is an output, by whatever name; nothing is written.

        STANDARD_INPUT may be a file, too.
        """
        if not self._flags:
            return
        for path in inputs:
            written = self._flags.get(_key(path) or (-1, -1))
            if written is not None:
                name = "standard input" if path == STANDARD_INPUT else path
                raise UsageError(f"{written}: is read as {name}; name another file")

    def watch(self, sources: Iterator[Source]) -> Iterator[Source]:
        """The same images, each checked before it is passed on; of one in a tar file that."""
        from inceptcli.data.shards.index import index_path

        for source in sources:
            shard = source.in_tar and source.in_tar.shard
            self.check([source.path] if shard is None else [shard, index_path(shard)])
            yield source


def check_regular(flag: str, path: Path) -> None:
    """UsageError when `path` is there and no regular file, or is a link into /proc.

    Such as /dev/stdout, which is a regular file where the shell sends standard output to one. A
    file that takes its place would take the system's.
    """
    try:
        is_file = stat.S_ISREG(path.stat().st_mode)
    except OSError:  # not there, or reported by whoever writes it
        is_file = True
    if not is_file or _leads_into_proc(path):
        raise UsageError(
            f"{flag} {path}: not a regular file; results go to standard output without --output"
            if flag == "--output"
            else f"{flag} {path}: not a regular file"
        )


def _leads_into_proc(path: Path) -> bool:
    for _ in range(MAXIMUM_LINKS):
        path = Path(os.path.realpath(path.parent), path.name)
        if path.is_relative_to("/proc"):
            return True
        if not os.path.islink(path):  # noqa: PTH114 (Path raises where a folder is closed)
            return False
        path = path.parent / path.readlink()
    return False


def _key(path: Path | str | int) -> tuple[int, int] | None:
    try:
        found = os.stat(path)  # noqa: PTH116 (a Path would take twice the time)
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino
