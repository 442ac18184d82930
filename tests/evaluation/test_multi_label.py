"""Measures of multi-label data, against scikit-learn."""

from __future__ import annotations

import csv
import json
from io import StringIO

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score, log_loss, roc_auc_score

from inceptcli.evaluation.bootstrap import percentile_interval, resamples
from inceptcli.evaluation.measures import Origin
from inceptcli.evaluation.multi_label import (
    evaluation_of_labels,
    labels_as_json,
    labels_as_table,
    with_intervals,
    write_labels,
)
from inceptcli.weights.metadata import ClassName

CLASSES = tuple(ClassName(f"n{number}", f"class {number}") for number in range(5))
ORIGIN = Origin(("run",), "labels.csv", 1, 0)


@pytest.mark.parametrize("count", [1, 2, 40])
def test_the_measures_are_those_of_scikit_learn(count: int) -> None:
    random = np.random.default_rng(count)
    labels = random.random((count, 5)) < [0.5, 0.3, 0.6, 0.4, 0]  # class 4 never occurs
    probabilities = (random.random((count, 5)) * 0.9 + 0.05).round(2)
    thresholds = np.array([0.3, 0.5, 0.6, 0.9, 0.99])
    images = [(f"{n}.jpg", np.flatnonzero(row).tolist()) for n, row in enumerate(labels)]
    found = evaluation_of_labels(images, probabilities, thresholds, CLASSES)
    predicted = probabilities >= thresholds
    occurring = labels.any(axis=0)
    if occurring.any():
        precisions = [
            average_precision_score(labels[:, place], probabilities[:, place])
            for place in np.flatnonzero(occurring)
        ]
        assert found.average_precision == pytest.approx(np.mean(precisions), abs=1e-9)
    used = occurring | predicted.any(axis=0)
    macro = f1_score(labels, predicted, average="macro", labels=np.flatnonzero(used))
    assert found.macro_f1 == pytest.approx(macro, abs=1e-9)
    assert found.micro_f1 == pytest.approx(f1_score(labels, predicted, average="micro"), abs=1e-9)
    losses = [
        log_loss(row, values, labels=[0, 1])
        for row, values in zip(labels, probabilities, strict=True)
    ]
    assert found.loss == pytest.approx(np.mean(losses), abs=1e-9)
    for place, entry in enumerate(found.per_class):
        truth = labels[:, place]
        assert entry.images == truth.sum()
        if 0 < truth.sum() < count:
            auroc = roc_auc_score(truth, probabilities[:, place])
            assert entry.auroc == pytest.approx(auroc, abs=1e-9)
        else:
            assert entry.auroc is None
    assert found.per_class[4].average_precision is None
    assert found.per_class[4].f1 is None


@pytest.mark.parametrize("group", [None, "site"])
def test_intervals_are_those_of_a_bootstrap_by_hand(group: str | None) -> None:
    random = np.random.default_rng(5)
    labels = random.random((30, 5)) < [0.5, 0.3, 0.1, 0.4, 0]
    probabilities, thresholds = random.random((30, 5)).round(2), np.full(5, 0.4)
    images = [(f"{n}.jpg", np.flatnonzero(row).tolist()) for n, row in enumerate(labels)]
    groups = np.arange(30) // (3 if group else 1)
    group_of = {path: f"g{n:02}" for (path, _), n in zip(images, groups, strict=True)}
    whole = evaluation_of_labels(images, probabilities, thresholds, CLASSES)
    found = with_intervals(whole, 100, group, group_of if group else None)
    drawn = found.bootstrap
    assert drawn is not None
    assert (drawn.group, drawn.groups) == (group, 10 if group else None)
    each = []
    for times in resamples(groups, 100):
        rows = np.repeat(np.arange(30), times)
        each.append(evaluation_of_labels(
            [images[row] for row in rows], probabilities[rows], thresholds, CLASSES
        ))  # fmt: skip
    for name in ("average_precision", "auroc", "micro_f1", "macro_f1", "loss"):
        by_hand = percentile_interval([getattr(one, name) for one in each])
        assert drawn.intervals[name] == pytest.approx(by_hand, abs=1e-9)
    for name, intervals in drawn.per_class.items():
        for place, interval in enumerate(intervals):
            values = [getattr(one.per_class[place], name) for one in each]
            defined = [value for value in values if value is not None]
            if defined:
                assert interval == pytest.approx(percentile_interval(defined), abs=1e-9)
            else:
                assert interval is None
    values = json.loads(labels_as_json(found, ORIGIN))
    assert values["macro_f1_interval"] == list(drawn.intervals["macro_f1"] or ())
    assert values["bootstrap"]["loss_interval"] == list(drawn.intervals["loss"] or ())
    assert values["per_class"][4]["auroc_interval"] is None
    low, high = values["micro_f1_interval"]
    lines = labels_as_table(found, ORIGIN).splitlines()
    assert f"Micro F1: 95 % interval {low:.2%} to {high:.2%}" in lines
    what = "10 groups (site)" if group else "images"
    assert f"intervals from 100 resamples of {what}, seed 0" in lines


def test_the_outputs_name_labels_and_leave_out_measures_of_one_label() -> None:
    probabilities = np.array([[0.9, 0.1], [0.2, 0.3]])
    images = [("a.jpg", (0,)), ("=b.jpg", ())]
    skipped = [("c.jpg", "empty file")]
    thresholds = np.array([0.5, 0.3])
    found = evaluation_of_labels(images, probabilities, thresholds, CLASSES[:2], skipped)
    values = json.loads(labels_as_json(found, ORIGIN))
    assert values["top1"] is values["calibration"] is values["confusion"] is None
    assert values["per_class"][1] == {
        "class": "n1", "name": "class 1", "images": 0, "predicted": 1, "threshold": 0.3,
        "recall": None, "precision": 0.0, "f1": 0.0, "auroc": None, "average_precision": None,
    }  # fmt: skip
    assert labels_as_table(found, ORIGIN).startswith("2 images: mAP 100.00%, micro F1 66.67%")
    stream = StringIO()
    write_labels(found, stream)
    rows = list(csv.reader(StringIO(stream.getvalue())))
    assert rows[0] == ["path", "labels", "predicted", "loss", "error"]
    assert [row[:3] for row in rows[1:]] == [["a.jpg", "n0", "n0"], ["'=b.jpg", "", "n1"],
                                             ["c.jpg", "", ""]]  # fmt: skip
    assert rows[3][4] == "empty file"
