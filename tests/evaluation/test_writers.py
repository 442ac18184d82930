from __future__ import annotations

import csv
import json
from io import StringIO
from unittest.mock import ANY

import pytest

from inceptcli.evaluation.measures import Evaluation, ImageResult, Origin, evaluation_of
from inceptcli.evaluation.writers import (
    as_table,
    evaluation_as_json,
    write_confusion,
    write_predictions,
)
from inceptcli.weights.metadata import ClassName
from tests.evaluation.made_results import made_probabilities

CLASSES = (ClassName("n0", "=cat"), ClassName("n1", "bell\x07"), ClassName("n2", "fox"))
ORIGIN = Origin(["a", "b"], "flowers", 12, 4)
IMAGES = (
    ImageResult("-a.jpg", 0, 0, 0.75, 0.25, 1),
    ImageResult("b, c.jpg", 0, 1, 0.5, 1.5, 2),
    ImageResult("d.jpg", 0, 1, 0.5, 1.0, 3),
)
RESULT: Evaluation = evaluation_of(
    IMAGES,
    made_probabilities(IMAGES, 3),
    CLASSES,
    [("@e.jpg", "empty file")],
)


def test_every_image_has_a_line_that_no_spreadsheet_runs() -> None:
    stream = StringIO(newline="")
    write_predictions(RESULT, stream)
    rows = list(csv.reader(stream.getvalue().splitlines()))
    assert rows == [
        ["path", "label", "label_name", "predicted", "predicted_name", "probability", "loss",
         "rank", "error"],
        ["'-a.jpg", "n0", "'=cat", "n0", "'=cat", "0.75", "0.25", "1", ""],
        ["b, c.jpg", "n0", "'=cat", "n1", "bell\x07", "0.5", "1.5", "2", ""],
        ["d.jpg", "n0", "'=cat", "n1", "bell\x07", "0.5", "1.0", "3", ""],
        ["'@e.jpg", "", "", "", "", "", "", "", "empty file"],
    ]  # fmt: skip


def test_every_pair_that_occurs_has_a_line() -> None:
    stream = StringIO(newline="")
    write_confusion(RESULT, stream)
    assert list(csv.reader(stream.getvalue().splitlines())) == [
        ["label", "label_name", "predicted", "predicted_name", "images"],
        ["n0", "'=cat", "n0", "'=cat", "1"],
        ["n0", "'=cat", "n1", "bell\x07", "2"],
    ]


def test_json_has_every_figure_and_how_it_was_made() -> None:
    values = json.loads(evaluation_as_json(RESULT, ORIGIN))
    for figure in ("top1", "loss"):
        low, high = values.pop(f"{figure}_interval")
        assert low < values[figure] < high
    assert values.pop("top5_interval") == pytest.approx([0.4385, 1.0], abs=1e-4)
    assert 0 < values.pop("calibration_error") < 1
    bins = values.pop("calibration")
    assert len(bins) == 15
    assert bins[7] == {"low": 7 / 15, "high": 8 / 15, "images": 2, "probability": 0.5, "top1": 0.0}
    assert bins[0]["probability"] is bins[0]["top1"] is None
    assert values["per_class"][0].pop("top1_interval") == [pytest.approx(0.0615, abs=1e-4), ANY]
    assert values == {
        "images": 3,
        "split": "all",
        "top1": 1 / 3,
        "top5": 1.0,
        "loss": 2.75 / 3,
        "crops": 12,
        "weights": ["a", "b"],
        "excluded": 4,
        "per_class": [
            {
                "class": "n0",
                "name": "=cat",
                "images": 3,
                "top1": 1 / 3,
                "predicted": 1,
                "precision": 1.0,
            },
            {
                "class": "n1",
                "name": "bell\x07",
                "images": 0,
                "top1": None,
                "top1_interval": None,
                "predicted": 2,
                "precision": 0.0,
            },
            {
                "class": "n2",
                "name": "fox",
                "images": 0,
                "top1": None,
                "top1_interval": None,
                "predicted": 0,
                "precision": None,
            },
        ],
        "confusion": [
            {"label": "n0", "predicted": "n0", "images": 1},
            {"label": "n0", "predicted": "n1", "images": 2},
        ],
        "skipped": [{"path": "@e.jpg", "reason": "empty file"}],
    }


def test_the_table_says_how_and_shows_no_control_code() -> None:
    first, *lines = as_table(RESULT, ORIGIN).splitlines()
    assert first.startswith("3 images, 4 excluded, 12 crops each, 2 networks: top-1 33.33%, ")
    assert lines[0].startswith("95 % interval of top-1 6.15% to 79.23%, calibration error ")
    assert lines[-1].split() == ["2", "=cat", "as", "bell\\x07"]
    plain = as_table(RESULT, Origin(["a"], "flowers", 1, 0))
    assert plain.startswith("3 images: top-1 33.33%, loss 0.9167")
