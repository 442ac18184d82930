"""On a CPU an engine divides its threads among the pictures that it is given at once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from inceptcli.prediction.engines.engine import load_engine
from inceptcli.prediction.engines.onnx_engine import OnnxEngine
from tests.prediction.test_torch_engine import random_crops

THREADS = 3


@pytest.fixture(autouse=True)
def several_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    threads = torch.get_num_threads()
    pretend(monkeypatch, THREADS)
    yield
    torch.set_num_threads(threads)


def pretend(monkeypatch: pytest.MonkeyPatch, threads: int) -> None:
    for module in ("processes.cores", "prediction.engines.torch_engine"):
        monkeypatch.setattr(f"inceptcli.{module}.compute_threads", lambda: threads)


@pytest.mark.parametrize("form", ["weights", "onnx_weights"])
def test_the_batch_does_not_change_a_single_bit(
    form: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    file: Path = request.getfixturevalue(form)
    engine = load_engine(file, "cpu", batch_size=7)
    crops = random_crops(7)
    together = engine.logits(crops)
    np.testing.assert_array_equal(together, np.concatenate([engine.logits(c[None]) for c in crops]))
    pretend(monkeypatch, 1)
    np.testing.assert_array_equal(together, load_engine(file, "cpu").logits(crops))


@pytest.mark.parametrize(
    ("batch_size", "images", "at_once", "each"),
    [(16, None, THREADS, 1), (1, None, 1, THREADS), (16, 1, 1, THREADS)],
)
def test_onnx_runtime_divides_its_threads_among_the_pictures(
    batch_size: int,
    images: int | None,
    at_once: int,
    each: int,
    weights: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine = load_engine(weights, "cpu", batch_size=batch_size, images=images)
    assert isinstance(engine, OnnxEngine)
    assert engine.session.get_session_options().intra_op_num_threads == each
    together = threading.Barrier(at_once)
    run, used = engine._run, set()

    def wait(images: NDArray[np.uint8], names: list[str]) -> list[NDArray[np.float32]]:
        together.wait(timeout=600)
        used.add(threading.get_ident())
        return run(images, names)

    monkeypatch.setattr(engine, "_run", wait)
    engine.logits(random_crops(THREADS))
    assert len(used) == at_once


def test_embeddings_are_those_of_their_pictures(
    weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = OnnxEngine(weights, "cpu", at_once=THREADS)
    crops = random_crops(THREADS)
    alone = np.concatenate([engine.outputs(crop[None]).embeddings for crop in crops])
    logits = engine.logits(crops)
    together, run = threading.Barrier(THREADS), engine._run

    def wait(images: NDArray[np.uint8], names: list[str]) -> list[NDArray[np.float32]]:
        found = run(images, names)
        together.wait(timeout=600)  # all have been through the network
        return found

    monkeypatch.setattr(engine, "_run", wait)
    found = engine.outputs(crops)
    np.testing.assert_array_equal(found.embeddings, alone)
    np.testing.assert_array_equal(found.logits, logits)
