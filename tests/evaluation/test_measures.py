"""Figures of results, against torchmetrics, scikit-learn and numbers worked out by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.stats import norm, sem
from sklearn.calibration import calibration_curve
from sklearn.metrics import confusion_matrix
from torch.nn.functional import cross_entropy
from torchmetrics.classification import MulticlassAccuracy, MulticlassCalibrationError

from inceptcli.evaluation.measures import (
    Evaluation,
    ImageResult,
    evaluation_of,
    image_result,
    wilson_interval,
)
from inceptcli.prediction.ensemble import softmax
from inceptcli.weights.metadata import ClassName

CLASSES = tuple(ClassName(f"n{number}", f"class {number}") for number in range(8))


def measured(labels: Sequence[int], probabilities: NDArray[np.float64]) -> Evaluation:
    """The measures of images with these labels and rows of probabilities."""
    images = [
        image_result(f"{number}.jpg", label, row)
        for number, (label, row) in enumerate(zip(labels, probabilities, strict=True))
    ]
    return evaluation_of(images, probabilities, CLASSES[: probabilities.shape[1]], [])


def drawn(count: int) -> tuple[torch.Tensor, torch.Tensor, Evaluation]:
    """Logits, labels (never the last class) and measures; about half are right."""
    random = np.random.default_rng(0)
    labels = random.integers(0, len(CLASSES) - 1, count)
    logits = random.normal(0, 1, (count, len(CLASSES))).astype(np.float32)
    logits[np.arange(count), labels] += 1.5
    logits *= 1.6  # too sure of itself at times, and not sure enough at others
    found = measured(labels.tolist(), softmax(logits))
    return torch.from_numpy(logits), torch.from_numpy(labels), found


def test_accuracies_loss_and_calibration_are_those_of_the_libraries() -> None:
    logits, labels, found = drawn(500)
    top1 = MulticlassAccuracy(len(CLASSES), average="micro")(logits, labels)
    top5 = MulticlassAccuracy(len(CLASSES), top_k=5, average="micro")(logits, labels)
    assert found.top1 == pytest.approx(float(top1), abs=1e-7)
    assert found.top5 == pytest.approx(float(top5), abs=1e-7)
    assert 0.3 < found.top1 < found.top5 < 1
    assert found.loss == pytest.approx(float(cross_entropy(logits, labels)), abs=1e-6)
    error = MulticlassCalibrationError(len(CLASSES), n_bins=15)(logits.softmax(1), labels)
    assert found.calibration_error == pytest.approx(float(error), abs=1e-6)
    other = MulticlassCalibrationError(len(CLASSES), n_bins=10)(logits.softmax(1), labels)
    assert abs(error - other) > 0.001


def test_classes_and_confusions_are_counted() -> None:
    _, labels, found = drawn(500)
    predicted = [result.predicted for result in found.images]
    table = confusion_matrix(labels.numpy(), predicted, labels=range(len(CLASSES)))
    expected = [(row, column, table[row, column]) for row, column in np.argwhere(table)]
    assert list(found.confusion) == expected
    assert [entry.images for entry in found.per_class] == table.sum(axis=1).tolist()
    assert [entry.predicted for entry in found.per_class] == table.sum(axis=0).tolist()
    for label, entry in enumerate(found.per_class[:-1]):
        assert entry.top1 == table[label, label] / table[label].sum()
        assert entry.precision == table[label, label] / table[:, label].sum()
    assert found.per_class[-1].top1 is None
    assert sum(pair.images for pair in found.confusion) == 500


def test_the_bins_of_the_calibration_error_are_those_of_scikit_learn() -> None:
    _, _, found = drawn(500)
    probabilities = [result.probability for result in found.images]
    right = [result.rank == 1 for result in found.images]
    shares, means = calibration_curve(right, probabilities, n_bins=15)
    filled = [entry for entry in found.calibration if entry.images]
    assert [entry.top1 for entry in filled] == pytest.approx(shares)
    assert [entry.probability for entry in filled] == pytest.approx(means)
    assert sum(entry.images for entry in found.calibration) == 500
    edges = measured([0, 0], np.array([[p, 1 - p] for p in (1.0, 14 / 15)]))
    assert edges.calibration[-1].images == 2


def test_the_interval_of_the_loss_is_that_of_scipy() -> None:
    _, _, found = drawn(500)
    losses = [result.loss for result in found.images]
    expected = norm.interval(0.95, loc=np.mean(losses), scale=sem(losses))
    assert found.loss_interval == pytest.approx(expected)
    assert measured([0], found.probabilities[:1]).loss_interval is None


def test_the_order_of_images_changes_no_bit() -> None:
    _, _, there = drawn(200)
    back = evaluation_of(there.images[::-1], there.probabilities[::-1], CLASSES, [])
    for name in (
        "top1",
        "top5",
        "loss",
        "loss_interval",
        "calibration",
        "calibration_error",
        "confusion",
        "per_class",
    ):
        assert getattr(there, name) == getattr(back, name)


def test_one_image_by_hand() -> None:
    result = image_result("a.jpg", 2, np.array([0.2, 0.3, 0.2, 0.3]))
    assert result == ImageResult("a.jpg", 2, 1, 0.3, -math.log(0.2), 4)
    assert image_result("a.jpg", 0, np.array([0.2, 0.3, 0.2, 0.3])).rank == 3
    assert image_result("a.jpg", 1, np.array([0.2, 0.3, 0.2, 0.3])).rank == 1


def test_a_probability_beyond_float64_has_a_finite_loss() -> None:
    result = image_result("a.jpg", 1, np.array([1 + 2e-16, 0.0]))
    assert result.loss == pytest.approx(744.44, abs=0.01)
    assert result.probability == 1.0
    assert math.isfinite(measured([1], np.array([[1 + 2e-16, 0.0]])).calibration_error)


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [(0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (81, 263, 0.2553, 0.3662), (1, 1, 0.2065, 1.0)],
)
def test_wilsons_interval(successes: int, trials: int, low: float, high: float) -> None:
    assert wilson_interval(successes, trials) == pytest.approx((low, high), abs=1e-4)
    assert wilson_interval(successes, trials)[0] >= 0
