"""Write results to standard output or atomically to a file, and report failures."""

from __future__ import annotations

import gzip
import logging
import os
import stat
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from typer import echo

from inceptcli.errors import UsageError, UserError
from inceptcli.text import fitted, printable

if TYPE_CHECKING:
    from inceptcli.data.sources import ImageSource
    from inceptcli.prediction.inputs import Source
    from inceptcli.prediction.predict import Answer

logger = logging.getLogger(__name__)


@contextmanager
def results_stream(output: Path | None, flag: str = "--output") -> Iterator[TextIO]:
    """Open standard output, or a file that replaces `output` when the block ends; UTF-8.

    Raises UsageError if the file cannot be created, and UserError if writing fails.
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
def output_replaced(
    output: Path, replace: Callable[[Path], AbstractContextManager[Path]]
) -> Iterator[Path]:
    """Yield a temporary file or folder that replaces --output when the block ends.

    Raises UsageError if `replace` cannot create it.
    """
    with ExitStack() as stack:
        try:
            temporary = stack.enter_context(replace(output))
        except OSError as error:
            raise UsageError(f"--output {output}: {error.strerror}") from error
        yield temporary


@contextmanager
def writing(place: str) -> Iterator[None]:
    """Turn a failure to write to `place` into UserError."""
    try:
        yield
    except OSError as error:
        if error.filename is not None and not place.endswith(str(error.filename)):
            raise  # an input file's error
        raise UserError(f"{place}: {error.strerror or error}") from error


def say_written(path: Path | str | None, *contents: str) -> None:
    """Log the name and contents of a written file; do nothing for None."""
    if path is not None:
        logger.info(f"wrote {', '.join([str(path), *contents])}")


def print_fitted(text: str) -> None:
    """Print lines on standard output, wrapped at words on a terminal."""
    echo("\n".join(fitted(line, sys.stdout, indent=2) for line in text.splitlines()))


def reported(
    answers: Iterable[Answer], failed: list[str], advance: Callable[[], None]
) -> Iterator[Answer]:
    """Yield the same answers; print errors on standard error and add their paths to `failed`."""
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
"""Output formats by file extension."""

ROWS_SUFFIXES_IN_WORDS = (
    f"{' '.join(suffix for suffix, name in FORMATS.items() if name != 'table')}, text formats also "
    "with .gz"
)
SUFFIXES_IN_WORDS = f"{' '.join(FORMATS)}, text formats also with .gz"


def format_of(output: Path | None) -> str | None:
    """Return the format for a file's extension; None for standard output or no extension.

    Raises UsageError for an unknown extension.
    """
    suffix = "" if output is None else _suffix(output)
    found = FORMATS.get(suffix.removesuffix(".gz"))
    if suffix in ("", ".gz") or (found and not (found == "parquet" and suffix.endswith(".gz"))):
        return found
    raise UsageError(
        f"--output {output}: unknown extension {suffix}; must end in {SUFFIXES_IN_WORDS}, or give "
        "--format"
    )


def check_suffix(flag: str, output: Path | None, *suffixes: str) -> None:
    """Raise UsageError for a wrong file extension; a file without one is accepted."""
    if output is not None and _suffix(output) not in ("", *suffixes):
        raise UsageError(f"{flag} {output}: must end in {' or '.join(suffixes)}")


def _suffix(output: Path) -> str:
    """Return the extension in lower case, including one before .gz."""
    suffix = output.suffix.lower()
    return f"{Path(output.stem).suffix.lower()}.gz" if suffix == ".gz" else suffix


class _Gzip(gzip.GzipFile):
    """A gzip file that ignores flushes: writers flush each row, which would compress badly."""

    def flush(self, zlib_mode: int = 0) -> None:
        """Do nothing: the file appears when it is complete."""


def _opened(file: Path, *, compressed: bool) -> TextIO:
    binary = _Gzip(file, "wb", mtime=0) if compressed else file.open("wb")
    return TextIOWrapper(binary, encoding="utf-8", errors="backslashreplace", newline="")


def check_installed(output_format: str) -> None:
    """Raise UserError if the extra that the format needs is not installed."""
    if output_format == "parquet":
        from inceptcli.prediction.outputs.parquet import check_pyarrow

        check_pyarrow("--format parquet")


def what_stays(output_format: str) -> str:
    """Describe the state of standard output after an interruption."""
    rows = output_format in ("table", "jsonl", "csv", "tsv")
    return f"standard output has {'their rows' if rows else 'an incomplete result'}"


def check_no_terminal(output_format: str, stream: TextIO) -> None:
    """Raise UsageError for a binary format on a terminal."""
    if output_format == "parquet" and stream.isatty():
        raise UsageError("--format parquet cannot be shown on a terminal; give --output FILE")


MAXIMUM_LINKS = 40
STANDARD_INPUT = 0


class OutputFiles:
    """Output files by flag; existing ones are identified by device and inode."""

    def __init__(self, paths: Mapping[str, Path | None]) -> None:
        """Take paths by flag; None means that the flag is not given.

        Raises UsageError if a path is not a regular file (links are followed), or if two paths are
        the same file.
        """
        self._flags: dict[tuple[int, int], str] = {}
        places: dict[str, str] = {}
        for flag, path in paths.items():
            if path is None:
                continue
            check_regular(flag, path)
            # A file that does not exist yet has no inode to compare.
            place = os.path.realpath(path)
            first = places.setdefault(place, flag)
            if first != flag:
                raise UsageError(f"{flag} {path}: {first} names the same file")
            if (key := _key(path)) is not None:
                self._flags[key] = f"{flag} {path}"

    def check(self, inputs: Iterable[Path | str | int]) -> None:
        """Raise UsageError if an input is also an output, under any name.

        STANDARD_INPUT may be redirected from a file.
        """
        if not self._flags:
            return
        for path in inputs:
            written = self._flags.get(_key(path) or (-1, -1))
            if written is not None:
                name = "standard input" if path == STANDARD_INPUT else path
                raise UsageError(f"{written}: is also the input {name}; give another file")

    def watch(self, sources: Iterator[Source]) -> Iterator[Source]:
        """Yield the same images, each checked first; for an image in a tar file, the tar file."""
        from inceptcli.data.shards.index import index_path

        for source in sources:
            shard = source.in_tar and source.in_tar.shard
            self.check([source.path] if shard is None else [shard, index_path(shard)])
            yield source


def check_regular(flag: str, path: Path) -> None:
    """Raise UsageError if `path` exists and is not a regular file, or is a link into /proc, or "-".

    /dev/stdout is such a link, and a regular file if the shell redirects standard output to one.
    An atomic write would replace the link itself. "-" means standard output, too.
    """
    try:
        is_file = stat.S_ISREG(path.stat().st_mode)
    except OSError:  # missing, or reported when it is written
        is_file = True
    if not is_file or str(path) == "-" or _leads_into_proc(path):
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


def input_files(files: Iterable[Path], data: str | None, source: ImageSource) -> Iterator[Path]:
    """Yield all input files: `files` (weights, labels), lists, and images or shards."""
    from inceptcli.data.selected_images import SelectedImages
    from inceptcli.data.shards.files import CLASS_FILES
    from inceptcli.data.shards.index import index_path
    from inceptcli.data.shards.source import ShardSource
    from inceptcli.data.sources import FolderSource

    yield from files
    folders = set() if data is None else {Path(data), Path(data).parent}
    if data is not None:
        yield Path(data)
    while isinstance(source, SelectedImages):
        source = source.whole
    if isinstance(source, FolderSource):
        yield from source.images.paths
    if isinstance(source, ShardSource):
        yield from source.shards
        yield from map(index_path, source.shards)
        folders |= {folder for shard in source.shards for folder in shard.absolute().parents[:2]}
    for folder in folders:
        for name in CLASS_FILES:
            yield folder / name
