"""A temperature is the most likely one, and sets contain the label as often as asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.stats import betabinom

from inceptcli.evaluation.calibrating import (
    Calibrated,
    calibrate_on,
    calibration_as_table,
    fit_temperature,
)
from inceptcli.evaluation.coverage import SetCounts, measure_sets
from inceptcli.evaluation.measures import Origin, evaluation_of, image_result
from inceptcli.jobs.calibrate import unfitted
from inceptcli.prediction.ensemble import softmax, tempered
from inceptcli.prediction.sets import SetRule
from inceptcli.weights.calibration import COLDEST, HOTTEST, rank_for
from inceptcli.weights.metadata import ClassName

CLASSES = tuple(ClassName(f"n{number}", str(number)) for number in range(8))


def drawn(images: int, seed: int, cold: float = 2.5) -> tuple[NDArray[np.float64], list[int]]:
    """Probabilities and labels that follow them, but for a temperature and noise."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 1.5, (images, len(CLASSES)))
    labels = (softmax_of(logits).cumsum(axis=1) > random.random((images, 1))).argmax(axis=1)
    noisy = cold * (logits + random.normal(0, 0.3, logits.shape))
    return softmax_of(noisy), labels.tolist()


def softmax_of(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    return softmax(logits.astype(np.float32))


def calibrated(probabilities: NDArray[np.float64], labels: list[int]) -> Calibrated:
    rows = zip(labels, probabilities, strict=True)
    images = [image_result(f"{n}.png", label, row) for n, (label, row) in enumerate(rows)]
    before = evaluation_of(images, probabilities, CLASSES, [])
    return calibrate_on(before, Origin(["run"], "flowers", 1, 0))


@pytest.mark.parametrize("cold", [0.1, 0.5, 1.0, 2.5, 9.0])
def test_the_temperature_is_the_one_that_an_optimizer_finds(cold: float) -> None:
    probabilities, labels = drawn(300, 1, cold)

    def loss(power: float) -> float:
        rows = [tempered(row, 1 / power) for row in probabilities]
        return -float(np.log([row[label] for row, label in zip(rows, labels, strict=True)]).mean())

    expected = minimize_scalar(loss, bounds=(1 / 20, 20), method="bounded", options={"xatol": 1e-9})
    found = fit_temperature(probabilities, labels)
    assert found == pytest.approx(1 / expected.x, rel=1e-5)
    done = calibrated(probabilities, labels)
    assert done.after.loss == pytest.approx(expected.fun)
    assert done.after.loss <= done.before.loss
    assert [image.predicted for image in done.after.images] == [
        image.predicted for image in done.before.images
    ]


@pytest.mark.parametrize(
    ("rows", "labels"),
    [
        ([[0.6, 0.4], [0.1, 0.9]], [0, 1]),
        ([[0.6, 0.4]], [0]),
        ([[0.5, 0.5]], [1]),
        ([[1.0, 0.0]], [0]),
    ],
    ids=["all right", "one right", "ties", "certain"],
)
def test_without_a_most_likely_temperature_probabilities_stay(rows: Any, labels: list[int]) -> None:
    probabilities = np.array(rows)
    assert fit_temperature(probabilities, labels) is None
    padded = np.hstack([probabilities, np.zeros((len(rows), len(CLASSES) - 2))])
    done = calibrated(padded, labels)
    assert (done.is_fitted, done.calibration.temperature) == (False, 1.0)
    assert done.after.loss == done.before.loss
    assert "needs at least 99 images" in calibration_as_table(done)


@pytest.mark.parametrize(
    ("rows", "labels"), [([[0.6, 0.4]], [1]), ([[0.9, 0.1], [0.9, 0.1], [0.1, 0.9]], [0, 1, 0])]
)
def test_worse_than_chance_has_the_hottest_temperature(rows: Any, labels: list[int]) -> None:
    probabilities = np.array(rows)
    assert fit_temperature(probabilities, labels) == HOTTEST
    padded = np.hstack([probabilities, np.zeros((len(rows), len(CLASSES) - 2))])
    done = calibrated(padded, labels)
    assert (done.is_fitted, done.calibration.temperature) == (False, HOTTEST)
    assert done.after.loss < done.before.loss


def test_probabilities_that_are_far_too_even_have_the_coldest_temperature() -> None:
    rows = np.full((10, len(CLASSES)), 1 / len(CLASSES))
    rows[:, 0] += 1e-4
    rows[:, 1] -= 1e-4
    done = calibrated(rows, [0] * 8 + [1, 2])
    assert (done.is_fitted, done.calibration.temperature) == (False, COLDEST)
    assert done.after.loss < done.before.loss
    assert "far too even on 10 images: the most likely temperature is below" in unfitted(done)


def test_a_label_of_probability_0_has_a_finite_temperature() -> None:
    probabilities = np.array([[1.0, 0.0]] * 99 + [[0.0, 1.0]])
    found = fit_temperature(probabilities, [0] * 99 + [0])
    assert found is None or 0.05 <= found <= 20


def test_sets_are_counted_as_in_a_written_out_case() -> None:
    probabilities = np.array(
        [[0.7, 0.2, 0.1], [0.4, 0.35, 0.25], [0.1, 0.5, 0.4], [0.34, 0.33, 0.33]]
    )
    labels = [0, 2, 2, 0]
    images = [
        image_result("", label, row) for label, row in zip(labels, probabilities, strict=True)
    ]
    found = measure_sets(images, probabilities, SetRule(0.9, 0.35))
    # {0}, {0, 1}, {1, 2} and {0}, which no class reaches but the most probable one
    assert found.overall == SetCounts(4, 3, 6)
    assert found.per_class == (SetCounts(2, 2, 2), SetCounts(0, 0, 0), SetCounts(2, 1, 4))
    assert (found.overall.coverage, found.overall.mean_size) == (0.75, 1.5)
    assert (found.per_class[1].coverage, found.per_class[1].mean_size) == (None, None)


@pytest.mark.parametrize("images", [60, 1500])
def test_the_coverage_of_new_images_lies_in_its_interval(images: int) -> None:
    new, labels = drawn(10_000, 77)
    counts: dict[float, list[int]] = {0.9: [], 0.95: []}
    for seed in range(10):
        found = calibrated(*drawn(images, 100 + seed)).calibration
        powers = new ** (1 / found.temperature)
        own = powers[np.arange(len(labels)), labels] / powers.sum(axis=1)
        for coverage, covered in counts.items():
            threshold = found.threshold(coverage)
            assert threshold is not None
            covered.append(int((own >= threshold).sum()))
    for coverage, covered in counts.items():
        # Over calibrations and new images, the number covered is beta-binomial.
        rank = rank_for(coverage, images)
        law = betabinom(len(labels), images + 1 - rank, rank)
        low, high = law.ppf([1e-4, 1 - 1e-4])
        assert all(low <= count <= high for count in covered)
        assert abs(np.mean(covered) - law.mean()) <= 4 * law.std() / len(covered) ** 0.5
