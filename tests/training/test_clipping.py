"""Gradients are clipped in every precision, also those of fused optimizers, and never scaled."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from lightning.pytorch.plugins import MixedPrecision, Precision
from lightning.pytorch.trainer.connectors.accelerator_connector import _AcceleratorConnector
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_post_hook

from inceptcli.training.module import Classifier
from tests.training.conftest import Train

PRECISIONS = ["32-true", "bf16-mixed", "16-mixed"]
SGD = {"name": "sgd", "learning_rate": 0.01}
OPTIMIZERS: dict[str, dict[str, Any]] = {
    "adamw": {"name": "adamw"}, "sgd": SGD, "rmsprop_tf": {"name": "rmsprop_tf"}
}  # fmt: skip
SHORT: dict[str, Any] = {"trainer__epochs": 1, "data__train_size": 8, "averaging__decay": 0.0}
"""Two steps."""

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def norm(tensors: Iterator[Tensor | None]) -> float:
    return float(torch.stack([it.float().norm() for it in tensors if it is not None]).norm())


class Steps:
    """Of each optimizer step: its optimizer and the norm of its gradients, before and as used."""

    def __init__(self) -> None:
        self.optimizers: list[Optimizer] = []
        self.before: list[float] = []
        self.used: list[float] = []
        self.moved: list[bool] = []
        self._weights: list[Tensor] = []

    def note(self, module: Classifier, optimizer: Optimizer, factor: float) -> None:
        parameters = [parameter for parameter in module.parameters() if parameter.grad is not None]
        self.before.append(norm(parameter.grad for parameter in parameters))
        for parameter in parameters:
            assert parameter.grad is not None
            parameter.grad.mul_(factor)
        groups = module.trainer.optimizers[0].param_groups
        self._weights = [p.detach().clone() for group in groups for p in group["params"]]

    def __call__(self, optimizer: Optimizer, *_: object) -> None:
        after = [p for group in optimizer.param_groups for p in group["params"]]
        self.optimizers.append(optimizer)
        self.used.append(norm(parameter.grad for parameter in after))
        self.moved.append(not all(map(torch.equal, self._weights, after)))


@pytest.fixture(autouse=True)
def _scale(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under 16-mixed by 256, so that no first step overflows, and on a CPU too.

    There Lightning takes bf16-mixed instead, but torch has a scaler as well.
    """
    original = _AcceleratorConnector._check_and_init_precision

    def precision(self: _AcceleratorConnector) -> Precision:
        if self._precision_flag != "16-mixed":
            return original(self)
        device = "cpu" if self._accelerator_flag == "cpu" else "cuda"
        return MixedPrecision("16-mixed", device, torch.amp.GradScaler(device, init_scale=256))

    monkeypatch.setattr(_AcceleratorConnector, "_check_and_init_precision", precision)


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Iterator[Steps]:
    """Notes each step; gradients are enlarged by `Classifier.enlarged` before they are clipped."""
    found = Steps()

    def enlarge(self: Classifier, optimizer: Optimizer) -> None:
        found.note(self, optimizer, getattr(Classifier, "enlarged", 1.0))

    monkeypatch.setattr(Classifier, "on_before_optimizer_step", enlarge)
    handle = register_optimizer_step_post_hook(found)
    yield found
    handle.remove()


@pytest.mark.parametrize(
    ("accelerator", "precision", "name"),
    [
        *(("cpu", precision, name) for precision in PRECISIONS for name in OPTIMIZERS),
        pytest.param("gpu", "bf16-mixed", "adamw", marks=needs_cuda),
        pytest.param("gpu", "16-mixed", "adamw", marks=needs_cuda),
        pytest.param("gpu", "16-mixed", "sgd", marks=needs_cuda),
    ],
)
def test_large_gradients_are_clipped_in_every_precision(
    train: Train,
    steps: Steps,
    monkeypatch: pytest.MonkeyPatch,
    accelerator: str,
    precision: str,
    name: str,
) -> None:
    monkeypatch.setattr(Classifier, "enlarged", 1e6, raising=False)
    train(
        optimizer=OPTIMIZERS[name], trainer__clip_norm=0.5, trainer__precision=precision,
        trainer__accelerator=accelerator, **SHORT,
    )  # fmt: skip
    assert len(steps.used) == 2
    assert all(found > 0.01 for found in steps.before)
    assert steps.used == pytest.approx([0.5, 0.5], rel=1e-4)


def test_small_gradients_stay_as_they_are(train: Train, steps: Steps) -> None:
    train(trainer__clip_norm=1e6, trainer__precision="bf16-mixed", **SHORT)
    assert steps.used == pytest.approx(steps.before, rel=1e-6)


def test_without_a_limit_nothing_is_clipped(train: Train, steps: Steps) -> None:
    train(trainer__clip_norm=None, trainer__precision="bf16-mixed", **SHORT)
    assert steps.used == pytest.approx(steps.before, rel=1e-6)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_gradients_are_unscaled_where_they_are_measured_and_clipped(
    train: Train, steps: Steps, name: str
) -> None:
    for precision in ("32-true", "16-mixed"):  # 16-mixed scales by 256
        train(precision, optimizer=OPTIMIZERS[name], trainer__precision=precision, **SHORT)
    assert steps.before[2] == pytest.approx(steps.before[0], rel=0.2)


@pytest.mark.parametrize(
    ("name", "precision", "fused"),
    [
        ("adamw", "32-true", True), ("adamw", "bf16-mixed", True), ("adamw", "16-mixed", True),
        ("sgd", "bf16-mixed", True), ("sgd", "16-mixed", False),
    ],
)  # fmt: skip
def test_optimizers_are_fused_where_that_is_right(
    train: Train, steps: Steps, name: str, precision: str, fused: bool
) -> None:
    train(optimizer=OPTIMIZERS[name], trainer__precision=precision, **SHORT)
    assert {optimizer.defaults["fused"] for optimizer in steps.optimizers} == {fused}


@pytest.mark.parametrize("name", ["adamw", "sgd"])
@pytest.mark.parametrize("accelerator", ["cpu", pytest.param("gpu", marks=needs_cuda)])
def test_a_step_that_overflows_is_skipped_and_leaves_no_trace(
    train: Train, steps: Steps, monkeypatch: pytest.MonkeyPatch, accelerator: str, name: str
) -> None:
    original, batches = Classifier.training_step, []

    def training_step(self: Classifier, batch: Any, batch_idx: int) -> Any:
        found = original(self, batch, batch_idx)
        batches.append(batch_idx)
        if len(batches) == 1:
            found["loss"] = found["loss"] * torch.inf  # its gradients overflow, as in 16 bits
        return found

    monkeypatch.setattr(Classifier, "training_step", training_step)
    directory = train(
        optimizer=OPTIMIZERS[name], trainer__precision="16-mixed",
        trainer__accelerator=accelerator, **SHORT,
    )  # fmt: skip
    saved = torch.load(directory.checkpoints()[-1], weights_only=True)
    for state in saved["optimizer_states"][0]["state"].values():
        for key, value in state.items():
            assert value.isfinite().all(), key
            if key == "step":
                assert value == 1
    assert all(value.isfinite().all() for value in saved["state_dict"].values())
    if name == "adamw":  # called in both steps; the kernel skips the first
        assert steps.moved[0] is False
    assert steps.moved[-1] is True
