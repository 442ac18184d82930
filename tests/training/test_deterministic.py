"""trainer.deterministic: the same bits on a GPU; without it cuDNN chooses the fastest kernels."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from inceptcli.recipe.file import override
from inceptcli.recipe.schema import check
from inceptcli.training.module import Classifier
from inceptcli.training.resuming import differing_keys
from tests.training.conftest import TINY, Train
from tests.training.test_resume import assert_same_run, stop_at


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """Lightning sets these for the whole process."""
    deterministic = torch.are_deterministic_algorithms_enabled()
    benchmark, workspace = torch.backends.cudnn.benchmark, os.environ.get("CUBLAS_WORKSPACE_CONFIG")
    yield
    torch.use_deterministic_algorithms(deterministic)
    torch.backends.cudnn.benchmark = benchmark
    os.environ.pop("CUBLAS_WORKSPACE_CONFIG", None)
    if workspace is not None:
        os.environ["CUBLAS_WORKSPACE_CONFIG"] = workspace


@pytest.mark.parametrize("deterministic", [False, True])
def test_kernels_are_chosen_for_speed_or_for_the_same_bits(
    train: Train, monkeypatch: pytest.MonkeyPatch, deterministic: bool
) -> None:
    original = Classifier.training_step
    seen: set[tuple[bool, bool]] = set()

    def training_step(self: Classifier, batch: Any, batch_idx: int) -> Any:
        seen.add((torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark))
        return original(self, batch, batch_idx)

    monkeypatch.setattr(Classifier, "training_step", training_step)
    train(trainer__epochs=1, trainer__deterministic=deterministic)
    assert seen == {(deterministic, not deterministic)}


def test_a_run_keeps_to_its_choice() -> None:
    exact = check(override(TINY, {"trainer.deterministic": True}))
    assert differing_keys(check(TINY), exact) == ["trainer.deterministic"]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_on_a_gpu_a_run_resumes_to_the_same_bits(
    train: Train, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    exact = {
        "trainer__deterministic": True, "trainer__accelerator": "gpu",
        "trainer__precision": precision,
    }  # fmt: skip
    undisturbed = train("undisturbed", **exact)
    with monkeypatch.context() as patch:
        stop_at(3, patch)
        with pytest.raises(SystemExit):
            train("stopped", **exact)
    assert_same_run(undisturbed, train("stopped", **exact))
