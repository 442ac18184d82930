"""Measures over classes, against scikit-learn, and their intervals, against a bootstrap by hand."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn import metrics

from inceptcli.errors import UsageError
from inceptcli.evaluation.bootstrap import RESAMPLES
from inceptcli.evaluation.class_measures import CLASS_AVERAGES, PER_CLASS
from inceptcli.evaluation.evaluate import with_options
from inceptcli.evaluation.measure_options import MeasureOptions
from inceptcli.evaluation.measures import Evaluation, evaluation_of, image_result
from inceptcli.evaluation.two_classes import positive_class
from inceptcli.weights.metadata import ClassName

Rows = NDArray[np.float64]


def measured(labels: Sequence[int] | NDArray[np.int64], rows: Rows) -> Evaluation:
    images = [
        image_result(f"{number}.jpg", int(label), row)
        for number, (label, row) in enumerate(zip(labels, rows, strict=True))
    ]
    classes = [ClassName(f"n{number}", f"class {number}") for number in range(rows.shape[1])]
    return evaluation_of(images, rows, classes, [])


def drawn(seed: int, count: int, size: int, digits: int | None) -> tuple[NDArray[np.int64], Rows]:
    """Labels, never the last class of more than two, and probabilities, tied if rounded."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, max(2, size - 1), count)
    rows = random.random((count, size))
    rows[np.arange(count), labels] += 0.3
    rows[:, size // 2] *= 0.2  # rarely or never predicted
    rows /= rows.sum(1, keepdims=True)
    return labels, rows if digits is None else np.round(rows, digits)


def by_scikit_learn(labels: NDArray[np.int64], rows: Rows) -> dict[str, Any]:
    """Its values, and None where the guide says that ours is null."""
    predicted = rows.argmax(1)
    own = labels[:, None] == np.arange(rows.shape[1])
    has, lacks = own.any(0), ~own.all(0)
    per_class: dict[str, list[float | None]] = {name: [] for name in PER_CLASS}
    every = {"labels": range(rows.shape[1]), "average": None}
    precision, recall, f1, _ = metrics.precision_recall_fscore_support(labels, predicted, **every)
    for label, scores in enumerate(rows.T):
        found = (predicted == label).any()
        per_class["recall"].append(recall[label] if has[label] else None)
        per_class["precision"].append(precision[label] if found else None)
        per_class["f1"].append(f1[label] if has[label] or found else None)
        area = metrics.roc_auc_score(own[:, label], scores) if has[label] & lacks[label] else None
        per_class["auroc"].append(area)
        score = metrics.average_precision_score(own[:, label], scores) if has[label] else None
        per_class["average_precision"].append(score)
    areas = [area for area in per_class["auroc"] if area is not None]
    kappa = metrics.cohen_kappa_score(labels, predicted)
    is_constant = len(set(labels)) == 1 or len(set(predicted)) == 1
    values = {
        "balanced_accuracy": metrics.balanced_accuracy_score(labels, predicted),
        "kappa": None if math.isnan(kappa) else kappa,
        "matthews": None if is_constant else metrics.matthews_corrcoef(labels, predicted),
        "auroc": np.mean(areas) if areas else None,
        "average_precision": np.mean([v for v in per_class["average_precision"] if v is not None]),
        "per_class": per_class,
    }
    for average in ("macro", "weighted"):
        of = {"average": average}
        found = metrics.precision_recall_fscore_support(labels, predicted, **of)
        names = ("precision", "recall", "f1")
        values |= {f"{average}_{name}": value for name, value in zip(names, found, strict=False)}
    return values


CASES = {
    "random": drawn(1, 400, 7, None),
    "tied": drawn(2, 300, 6, 1),
    "many classes, few images": drawn(3, 12, 9, 2),
    "two classes": drawn(4, 90, 2, 2),
    "one image": drawn(5, 1, 3, None),
    "two images": drawn(6, 2, 2, None),
    "one class among the labels": (np.zeros(20, np.int64), drawn(7, 20, 4, None)[1]),
    "one class predicted": (np.arange(20) % 3, np.tile([0.2, 0.7, 0.1], (20, 1))),
    "one class in both": (np.ones(5, np.int64), np.tile([0.2, 0.7, 0.1], (5, 1))),
    "all equal": (np.arange(6) % 3, np.full((6, 3), 1 / 3)),
    "a class of its own": (np.zeros(4, np.int64), np.ones((4, 1))),
}


@pytest.mark.parametrize("case", CASES)
def test_measures_are_those_of_scikit_learn(case: str) -> None:
    labels, rows = CASES[case]
    found = measured(labels, rows)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = by_scikit_learn(labels, rows)
    for name in CLASS_AVERAGES:
        close(getattr(found, name), expected[name], name)
    for name in PER_CLASS:
        for entry, value in zip(found.per_class, expected["per_class"][name], strict=True):
            close(getattr(entry, name), value, name)


def close(found: float | None, expected: float | None, name: str) -> None:
    if expected is None:
        assert found is None, name
    else:
        assert found == pytest.approx(expected, abs=1e-9), name


def test_a_saturated_network_is_ranked_by_what_its_numbers_still_tell_apart() -> None:
    rows = np.array([[1e-300, 1.0], [1e-200, 1.0], [1.0, 1e-300], [1.0, 0.0]])
    found = measured([1, 0, 0, 0], rows)
    assert found.per_class[0].auroc == 1.0
    assert found.per_class[1].auroc == pytest.approx(2.5 / 3)  # 1.0 twice is a tie


def by_hand(found: Evaluation, options: MeasureOptions, groups: NDArray[np.int64]) -> list[Any]:
    """The measures of each resample, drawn one after the other and measured from the start."""
    random = np.random.default_rng(0)
    count = groups.max() + 1
    resamples = []
    for _ in range(options.bootstrap or 0):
        images = [i for g in random.integers(0, count, count) for i in np.flatnonzero(groups == g)]
        again = evaluation_of(
            [found.images[image] for image in images],
            found.probabilities[images],
            [entry.name for entry in found.per_class],
            [],
        )
        positive = None if found.two_classes is None else found.two_classes.positive
        fixed = MeasureOptions(top_k=2, threshold=getattr(found.two_classes, "threshold", None))
        resamples.append(with_options(again, fixed, positive))
    return resamples


def check_interval(found: Any, values: Sequence[float | None]) -> None:
    defined = [value for value in values if value is not None]
    if not defined:
        assert found is None
        return
    assert found == pytest.approx(np.percentile(defined, [2.5, 97.5]).tolist(), abs=1e-9)


@pytest.mark.parametrize(
    ("case", "num_groups", "options"),
    [
        ("tied", None, {}),
        ("many classes, few images", None, {}),
        ("two classes", 6, {"sensitivity": 0.9}),
        ("one class among the labels", 4, {}),
    ],
)
def test_intervals_are_those_of_a_bootstrap_by_hand(
    case: str, num_groups: int | None, options: dict[str, Any]
) -> None:
    column = None if num_groups is None else "site"
    asked = MeasureOptions(top_k=2, bootstrap=100, group=column, **options)
    result = measured(*CASES[case])
    total = len(result.images)
    groups = np.arange(total) if num_groups is None else np.arange(total) ** 2 % num_groups
    groups = np.unique(groups, return_inverse=True)[1]
    group_of = {
        image.path: f"{group:03}" for image, group in zip(result.images, groups, strict=True)
    }
    positive = 1 if len(result.per_class) == 2 else None
    found = with_options(result, asked, positive, group_of if num_groups else None)
    drawn = found.bootstrap
    assert drawn is not None
    assert (drawn.resamples, drawn.group) == (100, column)
    assert drawn.groups == (num_groups and groups.max() + 1)
    resamples = by_hand(found, asked, groups)
    of_two = ("sensitivity", "specificity") if positive else ()
    assert {*drawn.intervals} == {*CLASS_AVERAGES, "top1", "top5", "topk", "loss", *of_two}
    for name, interval in drawn.intervals.items():
        sources = [each.two_classes for each in resamples] if name in of_two else resamples
        check_interval(interval, [getattr(each, name) for each in sources])
    for name in PER_CLASS:
        for label, interval in enumerate(drawn.per_class[name]):
            check_interval(interval, [getattr(r.per_class[label], name) for r in resamples])
    assert with_options(result, asked, positive, group_of if num_groups else None) == found


def test_one_image_or_one_group_has_no_interval() -> None:
    asked = MeasureOptions(bootstrap=RESAMPLES)
    for labels, rows, group_of in (
        (*CASES["one image"], None),
        (*CASES["two images"], {"0.jpg": "a", "1.jpg": "a"}),
    ):
        drawn = with_options(measured(labels, rows), asked, None, group_of).bootstrap
        assert drawn is not None
        assert {*drawn.intervals.values()} == {None}
        assert {value for values in drawn.per_class.values() for value in values} == {None}


@pytest.mark.parametrize("wanted", [0.001, 0.5, 0.75, 0.9, 0.95, 1.0])
@pytest.mark.parametrize("positive", [0, 1])
def test_the_threshold_reaches_what_is_wanted_and_no_other_is_better(
    wanted: float, positive: int
) -> None:
    result = measured(*CASES["two classes"])
    labels = np.array([image.label for image in result.images])
    scores = result.probabilities[:, positive]
    own, others = scores[labels == positive], scores[labels != positive]
    false, true, _ = metrics.roc_curve(labels == positive, scores, drop_intermediate=False)
    two: Any = with_options(result, MeasureOptions(sensitivity=wanted), positive).two_classes
    best = (true >= wanted).argmax()  # thresholds descend
    for rounding in (-1e-7, 0, 1e-7):  # of another runtime
        found = [scores + rounding >= two.threshold for scores in (own, others)]
        assert (found[0].mean(), found[1].mean()) == (true[best], pytest.approx(false[best]))
    assert (two.sensitivity, two.specificity) == (true[best], pytest.approx(1 - false[best]))
    two = with_options(result, MeasureOptions(specificity=wanted), positive).two_classes
    best = np.flatnonzero(1 - false >= wanted - 1e-12)[-1]
    for rounding in (-1e-7, 0, 1e-7):
        found = [scores + rounding >= two.threshold for scores in (own, others)]
        assert (found[0].mean(), found[1].mean()) == (true[best], pytest.approx(false[best]))
    assert (two.sensitivity, two.specificity) == (true[best], pytest.approx(1 - false[best]))
    assert two.specificity >= wanted


def test_thresholds_at_the_limits_and_between_neighboring_numbers(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """None is more than 1, which `--threshold` refuses."""
    below = math.nextafter(0.5, 0)
    for scores, name, expected in (
        ((1.0, 0.0), "sensitivity", (0, 1, 0)),
        ((1.0, math.nextafter(1, 2)), "sensitivity", (1, 1, 0)),
        ((1.0, 0.0), "specificity", (None, None, None)),
        ((below, 0.5), "sensitivity", (0.5, 1, 1)),
        ((below, 0.5), "specificity", (0.5, 1, 1)),
    ):
        result = measured([0, 1], np.array([[1 - score, score] for score in scores]))
        options = replace(MeasureOptions(), **{name: 1.0})  # type: ignore[arg-type]
        two = with_options(result, options, 1).two_classes
        assert two is not None
        assert (two.threshold, two.sensitivity, two.specificity) == expected
    assert "--specificity 1.0: no threshold reaches it" in caplog.text


def test_sensitivity_and_specificity_at_a_threshold() -> None:
    result = measured([1, 1, 0, 0], np.array([[0.4, 0.6], [0.7, 0.3], [0.5, 0.5], [0.9, 0.1]]))
    shares = []
    for threshold in (None, 0.3, 0.51, 0.0, 1.0):
        options = MeasureOptions(threshold=threshold)
        two = with_options(result, options, 1).two_classes
        assert two is not None
        shares.append((two.threshold, two.sensitivity, two.specificity))
    assert shares == [(0.5, 0.5, 0.5), (0.3, 1, 0.5), (0.51, 0.5, 1), (0, 1, 0), (1, 0, 1)]
    without = measured([0, 0], np.array([[0.4, 0.6], [0.7, 0.3]]))
    for options, expected in (
        (MeasureOptions(), (0.5, None, 0.5)),
        (MeasureOptions(sensitivity=0.9), (None, None, None)),
        (MeasureOptions(specificity=1.0), (0.8, None, 1.0)),
    ):
        two = with_options(without, options, 1).two_classes
        assert two is not None
        assert (two.threshold, two.sensitivity, two.specificity) == expected


def test_the_positive_class_is_the_second_or_the_one_named() -> None:
    two = [ClassName("n0", "ant"), ClassName("n1", "bee")]
    assert positive_class(MeasureOptions(), two) == 1
    for name in ("ant", "n0", "0"):
        assert positive_class(MeasureOptions(positive=name), two) == 0
    assert positive_class(MeasureOptions(), two[:1]) is None
    with pytest.raises(UsageError, match="--positive cat: is not a class of the weights"):
        positive_class(MeasureOptions(positive="cat"), two)
    for given, flag in (({"positive": "ant"}, "--positive ant"), ({"threshold": 0.5}, "--thr")):
        with pytest.raises(UsageError, match=f"{flag}.*: is for two classes; the weights have 1"):
            positive_class(MeasureOptions(**given), two[:1])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"top_k": 0}, "--top-k 0: must be at least 1"),
        ({"threshold": math.nan}, "--threshold nan: must be 0 to 1"),
        ({"threshold": 1.5}, "--threshold 1.5: must be 0 to 1"),
        ({"sensitivity": 0.0}, "--sensitivity 0.0: must be above 0 and at most 1"),
        ({"specificity": 95.0}, "--specificity 95.0: must be above 0 and at most 1"),
        ({"threshold": 0.5, "sensitivity": 0.9}, "--threshold and --sensitivity: each sets the"),
        ({"group": "site"}, "--group site: is for intervals; give --bootstrap N, too"),
        ({"bootstrap": 99}, "--bootstrap 99: must be 100 to 10000"),
        ({"bootstrap": 10001}, "--bootstrap 10001: must be 100 to 10000"),
    ],
)
def test_options_that_make_no_sense_are_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        MeasureOptions(**given)
