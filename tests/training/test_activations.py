from __future__ import annotations

import pytest
import torch

from inceptcli.networks.recomputing import recomputed
from inceptcli.weights.file import load_tensors
from tests.training.conftest import Train


@pytest.mark.train
def test_a_run_with_recomputed_activations_ends_with_the_same_weights(
    train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = load_tensors(train("kept").weights)
    calls: list[torch.Tensor] = []

    def counted(stage: torch.nn.Module, features: torch.Tensor) -> torch.Tensor:
        calls.append(features)
        return recomputed(stage, features)

    monkeypatch.setattr("inceptcli.networks.network.recomputed", counted)
    again = load_tensors(train("again", trainer__checkpoint_activations=True).weights)
    assert len(calls) == 2 * 5 * 6  # epochs, batches, stages
    assert all(torch.equal(again[key], tensor) for key, tensor in kept.items())
