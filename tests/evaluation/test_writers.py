from __future__ import annotations

import csv
import json
from dataclasses import replace
from io import StringIO
from unittest.mock import ANY

import numpy as np
import pytest

from inceptcli.evaluation.comparison import EnsembleMember, compare
from inceptcli.evaluation.measures import (
    Evaluation,
    ImageResult,
    Origin,
    evaluation_of,
    image_result,
)
from inceptcli.evaluation.multi_label import evaluation_of_labels, write_labels
from inceptcli.evaluation.writers import (
    as_table,
    evaluation_as_json,
    write_confusion,
    write_predictions,
)
from inceptcli.prediction.recorded_options import RecordedOptions
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
    for place in (values, *values["per_class"]):
        for name in ("coverage", "coverage_interval", "mean_set_size"):
            assert place.pop(name) is None
    assert values.pop("coverage_level") is None
    assert values["per_class"][0].pop("top1_interval") == [pytest.approx(0.0615, abs=1e-4), ANY]
    assert values == {
        "images": 3,
        "split": "all",
        "top1": 1 / 3,
        "top5": 1.0,
        "loss": 2.75 / 3,
        "macro_precision": 0.5,
        "macro_recall": 1 / 6,
        "macro_f1": 0.25,
        "weighted_precision": 1.0,
        "weighted_f1": 0.5,
        "balanced_accuracy": 1 / 3,
        "kappa": 0.0,
        "matthews": None,
        "auroc": None,
        "average_precision": 1.0,
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
                "recall": 1 / 3,
                "precision": 1.0,
                "f1": 0.5,
                "auroc": None,
                "average_precision": 1.0,
            },
            {
                "class": "n1",
                "name": "bell\x07",
                "images": 0,
                "top1": None,
                "top1_interval": None,
                "predicted": 2,
                "recall": None,
                "precision": 0.0,
                "f1": 0.0,
                "auroc": None,
                "average_precision": None,
            },
            {
                "class": "n2",
                "name": "fox",
                "images": 0,
                "top1": None,
                "top1_interval": None,
                "predicted": 0,
                "recall": None,
                "precision": None,
                "f1": None,
                "auroc": None,
                "average_precision": None,
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


OTHERS = (
    ImageResult("-a.jpg", 0, 2, 0.5, 1.25, 2),
    ImageResult("b, c.jpg", 0, 0, 0.75, 0.5, 1),
    ImageResult("d.jpg", 0, 1, 0.5, 1.0, 3),
)
COMPARED = replace(
    RESULT,
    members=(EnsembleMember(0.5, 1.5, -0.25), EnsembleMember(0.25, 2.0, 0.125)),
    against=compare(RESULT.images, OTHERS),
)


def test_the_other_predictions_and_flips_follow_in_the_same_line() -> None:
    stream = StringIO(newline="")
    write_predictions(COMPARED, stream, RecordedOptions(fast_decode=True))
    rows = [row[8:] for row in csv.reader(stream.getvalue().splitlines())]
    assert rows == [
        ["error", "against_predicted", "against_predicted_name", "against_probability",
         "against_loss", "against_rank", "flip", "fast_decode"],
        ["", "n2", "fox", "0.5", "1.25", "2", "gained", "true"],
        ["", "n0", "'=cat", "0.75", "0.5", "1", "lost", "true"],
        ["", "n1", "bell\x07", "0.5", "1.0", "3", "", "true"],
        ["empty file", "", "", "", "", "", "", "true"],
    ]  # fmt: skip


def test_json_has_the_members_and_the_comparison() -> None:
    values = json.loads(evaluation_as_json(COMPARED, ORIGIN._replace(against=["z.onnx"])))
    assert values["members"] == [
        {"weights": "a", "top1": 0.5, "loss": 1.5, "gain": -0.25},
        {"weights": "b", "top1": 0.25, "loss": 2.0, "gain": 0.125},
    ]
    found = values["against"]
    for key in ("difference_interval", "loss_difference_interval"):
        low, high = found.pop(key)
        assert low < 0 < high
    assert found == {
        "weights": ["z.onnx"],
        "top1": 1 / 3,
        "difference": 0.0,
        "mcnemar_p": 1.0,
        "gained": 1,
        "lost": 1,
        "loss": 2.75 / 3,
        "loss_difference": 0.0,
        "per_class": [{"class": "n0", "name": "=cat", "gained": 1, "lost": 1}],
    }


def test_the_table_ends_with_the_members_and_the_comparison() -> None:
    lines = as_table(COMPARED, ORIGIN._replace(against=["z\x07"])).splitlines()
    start = lines.index("   top-1     gain     loss  member")
    assert lines[start + 1 : start + 6] == [
        "  50.00%   -25.00   1.5000  a",
        "  25.00%   +12.50   2.0000  b",
        "           -16.67           the ensemble over its best member",
        "",
        r"against z\x07: top-1 33.33%, loss 0.9167",
    ]
    assert lines[start + 6].startswith("difference of top-1 +0.00 points, 95 % interval -")
    assert lines[start + 6].endswith("; McNemar's exact test: p = 1")
    assert lines[start + 7].startswith("difference of loss +0.0000, 95 % interval -1.0000 to +1.")
    assert lines[start + 9 :] == [
        "  gained     lost  images",
        "       1        1  of all classes",
        "       1        1  =cat",
    ]


def test_joined_labels_are_told_apart() -> None:
    classes = [ClassName("a;b", "a;b"), ClassName("c", "c"), ClassName("a", "a")]
    row = np.array([0.5, 0.3, 0.2])
    several = image_result("x", 0, row, (0, 1))
    stream = StringIO(newline="")
    write_predictions(evaluation_of([several], row[None], classes, []), stream)
    of_labels = evaluation_of_labels([("x", (0, 2))], row[None], np.full(3, 0.25), classes)
    write_labels(of_labels, stream)
    table = [*csv.reader(StringIO(stream.getvalue(), newline=""))]
    assert table[1][1:5] == ['"a;b";c', '"a;b";c', "a;b", "a;b"]
    assert table[3][1:3] == ['"a;b";a', '"a;b";c']
