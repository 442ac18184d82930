"""Convert answers to lines of JSON and back."""

from __future__ import annotations

import json
from typing import Any

from inceptcli.prediction.predict import Answer, Prediction
from inceptcli.prediction.recorded_options import DEFAULT_OPTIONS, RecordedOptions

LONGEST_ROW = 64 * 1024**2
"""Bytes; 100,000 classes of 600 bytes each."""


def as_line(answer: Answer, recorded: RecordedOptions = DEFAULT_OPTIONS) -> str:
    """Return an ASCII JSON object with path, predictions (class, index, probability) and error.

    It has the `recorded` options, and the set (names of classes) if the answer has one.
    """
    predictions: list[dict[str, Any]] = [
        {"class": p.name, "index": p.index, "probability": p.probability} for p in answer.top
    ]
    row = {"path": answer.path, "predictions": predictions, "error": answer.error}
    sets = {} if answer.set is None else {"set": answer.set}
    return json.dumps(row | sets | recorded.as_dict())


def from_line(line: bytes) -> Answer:
    """Parse a line that `as_line` wrote; raise ValueError if it is anything else."""
    try:
        return answer_of(json.loads(line))
    except (KeyError, TypeError, RecursionError) as error:
        raise ValueError("no answer") from error


def answer_of(row: dict[str, Any]) -> Answer:
    """Return the answer of an object that `as_line` writes; raise ValueError on other types."""
    predictions = tuple(
        Prediction(p["class"], p["index"], p["probability"]) for p in row["predictions"]
    )
    members = row.get("set")
    texts = [row["path"], *(p.name for p in predictions), *(members or ())]
    if (
        not all(isinstance(text, str) for text in texts)
        or not isinstance(row["error"], str | None)
        or not isinstance(members, list | None)
        or not all(isinstance(p.index, int) for p in predictions)
        or not all(isinstance(p.probability, int | float) for p in predictions)
    ):
        raise ValueError("no answer")
    return Answer(
        row["path"], predictions, row["error"], None if members is None else tuple(members)
    )
