"""Thresholds maximize each class's F1; the counts give scikit-learn's F1."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import f1_score

from inceptcli.prediction.thresholds import UNKNOWN, best_thresholds, count_labels


@pytest.mark.parametrize("decimals", [1, 8], ids=["ties", "no ties"])
def test_no_threshold_gives_a_class_a_better_f1(decimals: int) -> None:
    random = np.random.default_rng(decimals)
    labels = random.random((60, 5)) < [0.1, 0.5, 0.9, 0.3, 0]
    probabilities = (random.random((60, 5)) * 0.8 + labels * 0.2).round(decimals)
    found = best_thresholds(probabilities, labels)
    for own, truth, threshold in zip(probabilities.T, labels.T, found, strict=True):
        if not truth.any():
            assert threshold == UNKNOWN
            continue
        assert threshold not in own  # between two images
        tried = [f1_score(truth, own >= other) for other in own]
        assert f1_score(truth, own >= threshold) == pytest.approx(max(tried), abs=1e-12)


def test_the_counts_give_micro_and_macro_f1() -> None:
    random = np.random.default_rng(3)
    labels, predicted = random.random((2, 50, 6)) < 0.3
    counts = count_labels(predicted, labels)
    assert counts.micro_f1 == pytest.approx(f1_score(labels, predicted, average="micro"), abs=1e-12)
    assert counts.macro_f1 == pytest.approx(f1_score(labels, predicted, average="macro"), abs=1e-12)
    none = np.zeros((4, 2), bool)
    assert np.isnan(count_labels(none, none).macro_f1)
    assert np.isnan(count_labels(none, none).micro_f1)
