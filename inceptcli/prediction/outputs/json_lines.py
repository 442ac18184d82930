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

    Answers of multi-label weights have labels, in the same form as predictions, and those with a
    coverage the set (names of classes). It has the `recorded` options.
    """
    row = {
        "path": answer.path,
        "predictions": list(map(as_dict, answer.top)),
        "error": answer.error,
        **({} if answer.labels is None else {"labels": list(map(as_dict, answer.labels))}),
        **({} if answer.set is None else {"set": answer.set}),
    }
    return json.dumps(row | recorded.as_dict())


def as_dict(prediction: Prediction) -> dict[str, Any]:
    """Return the fields of a prediction in results."""
    name, index, probability = prediction.name, prediction.index, prediction.probability
    return {"class": name, "index": index, "probability": probability}


def from_line(line: bytes) -> Answer:
    """Parse a line that `as_line` wrote; raise ValueError if it is anything else."""
    try:
        return answer_of(json.loads(line))
    except (KeyError, TypeError, RecursionError) as error:
        raise ValueError("no answer") from error


def answer_of(row: Any) -> Answer:
    """Return the answer of an object that `as_line` writes; raise ValueError on other types."""
    if not isinstance(row, dict):
        raise ValueError("no answer")
    named = row.get("labels")
    predictions, labels = (
        tuple(Prediction(p["class"], p["index"], p["probability"]) for p in entries)
        for entries in (row["predictions"], named or ())
    )
    members, every = row.get("set"), (*predictions, *labels)
    texts = [row["path"], *(p.name for p in every), *(members or ())]
    if (
        not all(isinstance(text, str) for text in texts)
        or not isinstance(row["error"], str | None)
        or not isinstance(members, list | None)
        or not all(isinstance(p.index, int) for p in every)
        or not all(isinstance(p.probability, int | float) for p in every)
    ):
        raise ValueError("no answer")
    return Answer(
        row["path"],
        predictions,
        row["error"],
        None if members is None else tuple(members),
        None if named is None else labels,
    )
