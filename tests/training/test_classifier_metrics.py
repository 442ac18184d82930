"""Measures of a validation, against scikit-learn and over several ranks."""

from __future__ import annotations

import warnings

import pytest
import torch
from sklearn.metrics import balanced_accuracy_score, f1_score

from inceptcli.training.module import ClassifierMetrics


@pytest.mark.parametrize("count", [1, 7, 500])
def test_macro_f1_and_balanced_accuracy_are_those_of_scikit_learn_on_any_ranks(count: int) -> None:
    random = torch.Generator().manual_seed(count)
    labels = torch.randint(0, 6, (count,), generator=random)  # class 6 is absent
    logits = torch.randn(count, 8, generator=random)
    logits[torch.arange(count), labels] += 1
    logits[:, 7] = -9  # class 7 is absent and never predicted
    alone, *ranks = (ClassifierMetrics(8) for _ in range(4))
    alone.update(logits, labels)
    for rank, measures in enumerate(ranks):
        measures.update(logits[rank::3], labels[rank::3])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        predicted = logits.argmax(1)
        expected = {
            "val_macro_f1": f1_score(labels, predicted, average="macro"),
            "val_balanced_accuracy": balanced_accuracy_score(labels, predicted),
        }
    for name, value in expected.items():
        total, *others = (measures.named("val")[name] for measures in ranks)
        for other in others:
            total.merge_state(other)
        assert float(total.compute()) == float(alone.named("val")[name].compute())
        assert float(total.compute()) == pytest.approx(value, abs=1e-6)
