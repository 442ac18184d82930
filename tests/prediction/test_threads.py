"""On a CPU the torch engine computes many pictures in several threads, each of them in one."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from inceptcli.prediction.engine import load_engine
from inceptcli.prediction.torch_engine import TorchEngine
from tests.prediction.test_torch_engine import random_crops

THREADS = 3


@pytest.fixture(autouse=True)
def several_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    threads = torch.get_num_threads()
    for engine in ("torch_engine", "onnx_engine"):
        monkeypatch.setattr(f"inceptcli.prediction.{engine}.compute_threads", lambda: THREADS)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("form", ["weights", "onnx_weights"])
def test_the_batch_does_not_change_a_single_bit(
    form: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    file: Path = request.getfixturevalue(form)
    engine = load_engine(file, "cpu")
    crops = random_crops(7)
    together = engine.logits(crops)
    np.testing.assert_array_equal(together, np.concatenate([engine.logits(c[None]) for c in crops]))
    module = "torch_engine" if form == "weights" else "onnx_engine"
    monkeypatch.setattr(f"inceptcli.prediction.{module}.compute_threads", lambda: 1)
    np.testing.assert_array_equal(together, load_engine(file, "cpu").logits(crops))


@pytest.mark.parametrize("few_images", [True, False])
def test_pictures_are_computed_at_the_same_time_but_for_a_few(
    few_images: bool, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = TorchEngine.load(weights, "cpu", few_images=few_images)
    together = threading.Barrier(1 if few_images else THREADS)
    forward, used = engine._forward, set()

    def wait(images: torch.Tensor) -> torch.Tensor:
        together.wait(timeout=60)
        used.add(threading.get_ident())
        assert torch.get_num_threads() == (THREADS if few_images else 1)
        return forward(images)

    monkeypatch.setattr(engine, "_forward", wait)
    engine.logits(random_crops(THREADS))
    assert len(used) == together.parties
    assert (threading.get_ident() in used) is few_images


def test_embeddings_are_those_of_their_pictures(
    weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = TorchEngine.load(weights, "cpu")
    crops = random_crops(THREADS)
    alone = np.concatenate([engine.outputs(crop[None]).embeddings for crop in crops])
    logits = engine.logits(crops)
    together, forward = threading.Barrier(THREADS), engine._forward

    def wait(images: torch.Tensor) -> torch.Tensor:
        found = forward(images)
        together.wait(timeout=60)  # all have been through the network
        return found

    monkeypatch.setattr(engine, "_forward", wait)
    found = engine.outputs(crops)
    np.testing.assert_array_equal(found.embeddings, alone)
    np.testing.assert_array_equal(found.logits, logits)
