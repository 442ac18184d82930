"""Write embeddings, one row per image: NumPy's .npy, or Parquet."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from inceptcli.data.pixels.decode import UnreadableImage
from inceptcli.files.atomic_file import replacing
from inceptcli.prediction.inputs import Source
from inceptcli.prediction.predict import Answer, Keep, Seen
from inceptcli.prediction.recorded_options import DEFAULT_OPTIONS, RecordedOptions
from inceptcli.text import defused, utf8

SUFFIXES = (".npy", ".parquet")

GROUP = 1024
"""Rows per Parquet row group, which is also the most that wait in memory."""

Add = Callable[[str, NDArray[np.float32]], None]


def paths_file(file: Path) -> Path:
    """Return the CSV beside an .npy file that gives the image of each row."""
    return file.with_name(f"{file.name}.csv")


@contextmanager
def embeddings(
    file: Path, width: int, recorded: RecordedOptions = DEFAULT_OPTIONS
) -> Iterator[Keep]:
    """Write each image's embedding, (width,), to `file`, which appears when the block ends.

    Rows are in input order; unreadable images have no row. `.npy` is float32 (N, width), with a CSV
    of row (from 0) and path beside it (`paths_file`). `.parquet` has the columns path and
    embedding. The last columns are the `recorded` options. Memory does not grow with the number of
    rows.
    """
    with (_npy if file.suffix == ".npy" else _parquet)(file, width, recorded) as add:

        def keep(source: Source, found: Seen | UnreadableImage, _: Answer) -> None:
            if isinstance(found, Seen):
                assert found.embedding is not None
                add(source.path, found.embedding)

        yield keep


@contextmanager
def _npy(file: Path, width: int, recorded: RecordedOptions) -> Iterator[Add]:
    with ExitStack() as stack:
        rows = stack.enter_context(stack.enter_context(replacing(file)).open("wb"))
        twin = stack.enter_context(replacing(paths_file(file)))
        text = twin.open("w", encoding="utf-8", errors="backslashreplace", newline="")
        table = csv.writer(stack.enter_context(text))
        said = recorded.as_texts()
        last = said.values()
        table.writerow(("row", "path", *said))
        _write_header(rows, 0, width)
        start, numbers = rows.tell(), count()

        def add(path: str, embedding: NDArray[np.float32]) -> None:
            rows.write(np.ascontiguousarray(embedding, "<f4").data)
            table.writerow((next(numbers), defused(path), *last))

        yield add
        rows.seek(0)
        _write_header(rows, next(numbers), width)
        assert rows.tell() == start  # NumPy leaves room for any number


def _write_header(rows: BinaryIO, number: int, width: int) -> None:
    npy.write_array_header_1_0(
        rows, {"descr": "<f4", "fortran_order": False, "shape": (number, width)}
    )


@contextmanager
def _parquet(file: Path, width: int, recorded: RecordedOptions) -> Iterator[Add]:
    import pyarrow
    from pyarrow.parquet import ParquetWriter

    embedding_type = pyarrow.list_(pyarrow.float32(), width)
    columns = [("path", pyarrow.string()), ("embedding", embedding_type)]
    said = recorded.as_dict()
    columns += [(name, pyarrow.infer_type([value])) for name, value in said.items()]
    schema = pyarrow.schema(columns)
    waiting: list[tuple[str, NDArray[np.float32]]] = []

    def flush(writer: ParquetWriter) -> None:
        paths = [utf8(path) for path, _ in waiting]
        values = np.array([row for _, row in waiting], np.float32).reshape(-1)
        last = [[value] * len(waiting) for value in said.values()]
        rows = pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(values), type=embedding_type)
        writer.write_table(pyarrow.table([paths, rows, *last], schema=schema))
        waiting.clear()

    with replacing(file) as temporary, ParquetWriter(temporary, schema) as writer:

        def add(path: str, embedding: NDArray[np.float32]) -> None:
            waiting.append((path, embedding))
            if len(waiting) == GROUP:
                flush(writer)

        yield add
        if waiting:
            flush(writer)
