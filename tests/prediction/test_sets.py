"""Temperatures and prediction sets of probabilities."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as some
from hypothesis.extra.numpy import arrays

from inceptcli.errors import UsageError
from inceptcli.prediction.ensemble import EnsembleRequest, softmax, tempered
from inceptcli.prediction.sets import SetRule, set_rule
from inceptcli.weights.calibration import COLDEST, HOTTEST, Calibration, kept_scores

temperatures = some.floats(COLDEST, HOTTEST)
logits = arrays(
    np.float32,
    some.tuples(some.sampled_from([1, 10]), some.integers(2, 7)),
    elements=some.floats(-60, 60, width=32),
)


@given(logits, temperatures)
@example(np.array([[0.0, np.float32(1e-8)]], np.float32), 20.0)
@example(np.zeros((1, 3), np.float32), 0.3)
def test_a_temperature_never_changes_the_most_probable_class(
    crops: Any, temperature: float
) -> None:
    probabilities = softmax(crops).mean(axis=0)
    found = tempered(probabilities, temperature)
    assert found.argmax() == probabilities.argmax()
    assert found.sum() == pytest.approx(1)
    assert ((found >= 0) & (found <= 1)).all()
    order = np.argsort(-probabilities, kind="stable")
    assert (np.diff(found[order]) <= 1e-15).all()


@pytest.mark.parametrize("temperature", [3.0, 10.0, 20.0])
def test_neither_does_rounding(temperature: float) -> None:
    probabilities = np.array([np.nextafter(0.4, 0), 0.4, 0.2])
    found = tempered(probabilities, temperature)
    assert found.argmax() == probabilities.argmax() == 1


def test_for_one_crop_it_divides_the_logits() -> None:
    random = np.random.default_rng(0)
    for row in random.normal(0, 4, (20, 9)).astype(np.float32):
        for temperature in (0.05, 0.7, 1.0, 3.0, 20.0):
            expected = softmax((row.astype(np.float64) / temperature).astype(np.float64))
            assert tempered(softmax(row), temperature) == pytest.approx(expected, abs=1e-12)
        assert (tempered(softmax(row), 1.0) == softmax(row)).all()


def test_probabilities_that_are_not_finite_stay_unknown() -> None:
    assert np.isnan(tempered(np.full(3, np.nan), 2.0)).all()


def test_a_set_has_the_classes_of_at_least_the_threshold_and_is_never_empty() -> None:
    probabilities = np.array([0.1, 0.3, 0.3, 0.25, 0.05])
    assert SetRule(0.9, 0.1).members(probabilities).tolist() == [1, 2, 3, 0]
    assert SetRule(0.9, 0.3).members(probabilities).tolist() == [1, 2]
    assert SetRule(0.5, 0.9).members(probabilities).tolist() == [1]
    assert SetRule(0.99, 0.0).members(probabilities).tolist() == [1, 2, 3, 0, 4]


SCORES = tuple(number / 20 for number in range(1, 20))
OF_ONE_CROP = Calibration(1.5, 19, kept_scores(SCORES), "val")
OF_FAST = Calibration(1.5, 19, kept_scores(SCORES), "val", options={"fast_decode": True})


@pytest.mark.parametrize(
    ("coverage", "changes", "found", "said"),
    [
        (0.95, {}, None, "a.safetensors is not calibrated; run `inceptcli calibrate a.safetensors"),
        (95.0, {}, OF_ONE_CROP, "--coverage must be above 0 and below 1 (0.95 for 95 %), got 95"),
        (1.0, {}, OF_ONE_CROP, "got 1"),
        (0.0, {}, OF_ONE_CROP, "got 0"),
        (float("nan"), {}, OF_ONE_CROP, "got nan"),
        (True, {}, OF_ONE_CROP, "got 1"),
        (0.99, {}, OF_ONE_CROP, "on at least 99 images, and a.safetensors was calibrated on 19"),
        (0.9, {"crops": 10}, OF_ONE_CROP, "with crops 1, and its sets do not hold with crops 10"),
        (0.9, {"image_size": 331}, OF_ONE_CROP, "do not hold with crops 1, image_size 331x331"),
        (0.9, {"precision": "bf16-true"}, OF_ONE_CROP, "with crops 1, precision bf16-true"),
        (0.9, {}, OF_FAST, "was calibrated with crops 1, fast_decode, and its sets do not hold"),
    ],
)
def test_a_coverage_that_does_not_hold_is_refused_in_one_line(
    coverage: float, changes: dict[str, Any], found: Calibration | None, said: str
) -> None:
    with pytest.raises(UsageError, match=re.escape(said)):
        set_rule(coverage, EnsembleRequest(("a.safetensors",), **changes), [found])


def test_several_networks_have_no_common_calibration() -> None:
    request = EnsembleRequest(("a.safetensors", "b.safetensors"))
    with pytest.raises(UsageError, match="--coverage needs one network"):
        set_rule(0.9, request, [OF_ONE_CROP, OF_ONE_CROP])
    assert set_rule(None, request, [OF_ONE_CROP, None]) is None


def test_the_rule_of_a_calibration() -> None:
    request = EnsembleRequest(("a.safetensors",))
    assert set_rule(0.9, request, [OF_ONE_CROP]) == SetRule(0.9, 0.1)
    fast = EnsembleRequest(("a.safetensors",), fast_decode=True)
    assert set_rule(0.95, fast, [OF_FAST]) == SetRule(0.95, 0.05)
