"""Write answers to a Parquet file and read them back, in row groups of bounded size; no torch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from inceptcli.errors import UserError
from inceptcli.prediction.outputs.json_lines import answer_of, as_dict
from inceptcli.prediction.predict import Answer, Prediction, peek
from inceptcli.prediction.recorded_options import DEFAULT_OPTIONS, RecordedOptions
from inceptcli.text import utf8

if TYPE_CHECKING:
    import pyarrow

ROWS, PREDICTIONS = 10_000, 10_000
"""Limits of a row group; the first one reached ends it."""

LARGEST_GROUP, MOST_VALUES = 2**28, 2**20
"""Limits when reading: bytes of a row group, values of a column.

A row has at most 100,000 predictions.
"""

ROWS_AT_ONCE = 100
"""Rows converted from Arrow to Python objects at once; these take more memory."""


def check_pyarrow(flag: str) -> None:
    """Raise UserError, with a message that begins with `flag`, if pyarrow is not installed."""
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError as error:
        raise UserError(f"{flag} needs pyarrow; pip install 'inceptcli[parquet]'") from error


def write_parquet(
    answers: Iterable[Answer], file: BinaryIO, recorded: RecordedOptions = DEFAULT_OPTIONS
) -> None:
    r"""Write a row per answer: path, predictions (class, index, probability), error (null if none).

    Answers of multi-label weights have labels, in the same form as predictions. Further columns are
    set, with a coverage level, and the `recorded` options. Bytes of a path that are not UTF-8
    become text, \udc80 to \udcff.
    """
    from pyarrow.parquet import ParquetWriter

    is_multi_label, answers = peek(answers)
    schema = _schema(recorded, is_multi_label)
    with ParquetWriter(file, schema, compression="zstd") as writer:
        for group in _groups(answers):
            writer.write_batch(_batch(group, schema, recorded))


def read_parquet(path: Path) -> Iterator[Answer]:
    """Yield the answers of a file that `write_parquet` wrote.

    Raises ValueError or OSError if it is anything else.
    """
    from pyarrow.parquet import ParquetFile

    with ParquetFile(path) as file:
        number_of_groups = file.num_row_groups
    for number in range(number_of_groups):
        with ParquetFile(path) as file:  # closed in between: a job may have thousands
            about = file.metadata.row_group(number)
            size = max(about.total_byte_size, about.num_rows)
            values = (about.column(place).num_values for place in range(about.num_columns))
            if size > LARGEST_GROUP or max(values, default=0) > MOST_VALUES:
                raise ValueError("row group over the size limit")
            group = file.read_row_group(number)
        for start in range(0, len(group), ROWS_AT_ONCE):
            yield from map(_answer, group.slice(start, ROWS_AT_ONCE).to_pylist())


def _answer(row: dict[str, Any]) -> Answer:
    try:
        return answer_of(row)
    except (KeyError, TypeError) as error:
        raise ValueError("no answer") from error


def _groups(answers: Iterable[Answer]) -> Iterator[list[Answer]]:
    group: list[Answer] = []
    predictions = 0
    for answer in answers:
        group.append(answer)
        predictions += len(answer.top) + len(answer.set or ())
        if len(group) == ROWS or predictions >= PREDICTIONS:
            yield group
            group, predictions = [], 0
    if group:
        yield group


def _schema(recorded: RecordedOptions, is_multi_label: bool) -> pyarrow.Schema:
    import pyarrow as pa

    prediction = pa.struct(
        {"class": pa.string(), "index": pa.int32(), "probability": pa.float64()}.items()
    )
    columns = {"path": pa.string(), "predictions": pa.list_(prediction), "error": pa.string()}
    if recorded.coverage_level is not None:
        columns["set"] = pa.list_(pa.string())
    if is_multi_label:
        columns["labels"] = pa.list_(prediction)
    for name, value in recorded.as_dict().items():
        columns[name] = pa.infer_type([value])
    return pa.schema(columns.items())


def _batch(
    answers: list[Answer], schema: pyarrow.Schema, recorded: RecordedOptions
) -> pyarrow.RecordBatch:
    import pyarrow as pa

    rows: list[dict[str, Any]] = [
        {
            "path": utf8(answer.path),
            "predictions": list(map(_as_dict, answer.top)),
            "labels": list(map(_as_dict, answer.labels or ())),
            "error": None if answer.error is None else utf8(answer.error),
            "set": [utf8(name) for name in answer.set or ()],  # ignored if the schema has none
            **recorded.as_dict(),
        }
        for answer in answers
    ]
    return pa.RecordBatch.from_pylist(rows, schema=schema)


def _as_dict(prediction: Prediction) -> dict[str, Any]:
    return as_dict(prediction) | {"class": utf8(prediction.name)}
