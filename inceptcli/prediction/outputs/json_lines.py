"""An answer as a line of JSON, and back."""

from __future__ import annotations

import json
from typing import Any

from inceptcli.prediction.predict import Answer, Prediction
from inceptcli.prediction.shortcuts import NO_SHORTCUTS, Shortcuts

LONGEST_ROW = 64 * 1024**2
"""Bytes; 100,000 classes of 600 each."""


def as_line(answer: Answer, shortcuts: Shortcuts = NO_SHORTCUTS) -> str:
    """An object with path, predictions (class, index, probability) and error; plain ASCII.

    It says which `shortcuts` were used.
    """
    predictions: list[dict[str, Any]] = [
        {"class": p.name, "index": p.index, "probability": p.probability} for p in answer.top
    ]
    row = {"path": answer.path, "predictions": predictions, "error": answer.error}
    return json.dumps(row | shortcuts.as_dict())


def from_line(line: bytes) -> Answer:
    """The answer that `as_line` wrote; ValueError when the line is none."""
    try:
        return answer_of(json.loads(line))
    except (KeyError, TypeError, RecursionError) as error:
        raise ValueError("no answer") from error


def answer_of(row: dict[str, Any]) -> Answer:
    """The answer of an object such as `as_line` writes; ValueError when it is of other types."""
    predictions = tuple(
        Prediction(p["class"], p["index"], p["probability"]) for p in row["predictions"]
    )
    texts = [row["path"], *(p.name for p in predictions)]
    if (
        not all(isinstance(text, str) for text in texts)
        or not isinstance(row["error"], str | None)
        or not all(isinstance(p.index, int) for p in predictions)
        or not all(isinstance(p.probability, int | float) for p in predictions)
    ):
        raise ValueError("no answer")
    return Answer(row["path"], predictions, row["error"])
