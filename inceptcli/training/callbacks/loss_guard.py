"""Stop a run when its loss is not finite and write a diagnosis."""

from __future__ import annotations

import json
import math
from collections import defaultdict, deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.optim import Optimizer

from inceptcli.data.loading.dataset import Batch
from inceptcli.files.atomic_file import replacing
from inceptcli.training.optimizers import current_rate
from inceptcli.training.plan import Plan
from inceptcli.training.ranks import end_all, from_all_ranks
from inceptcli.training.run_directory import RunDirectory

CHECK_EVERY = 20
"""Batches between checks; each check synchronizes with the device."""

NUM_BEFORE = 10
"""Batches before the first bad one that the diagnosis lists."""

NUM_LARGEST = 5


@dataclass(frozen=True)
class TrainedBatch:
    """Figures of a training batch; tensors stay on their device.

    `norms` are the gradient norms of the parameters before clipping, or None if the gradients were
    only accumulated.
    """

    step: int
    epoch: int
    learning_rate: float
    loss: Tensor
    numbers: Tensor
    norms: Tensor | None


class LossGuard(Callback):
    """Callback that ends the run with `diagnosis.json` when a loss or saved weight is not finite.

    Losses are checked every CHECK_EVERY batches, before validation and before each save, so that
    no checkpoint contains later weights. Gradients are not checked: 16-mixed skips infinite ones.
    """

    def __init__(self, plan: Plan, directory: RunDirectory) -> None:
        self.plan, self.directory = plan, directory
        self._recent: deque[TrainedBatch] = deque(maxlen=CHECK_EVERY + NUM_BEFORE)
        self._unchecked = 0
        self._parameters: dict[str, Tensor] = {}
        self._names: list[str] = []
        self._norms: Tensor | None = None
        self._step, self._learning_rate = 0, 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Collect the trained parameters."""
        network = pl_module.get_submodule("network")
        self._parameters = {
            name: parameter
            for name, parameter in network.named_parameters()
            if parameter.requires_grad
        }

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        """Store step and learning rate, which change before the batch ends."""
        self._step = trainer.global_step + 1
        self._learning_rate = current_rate(trainer.optimizers[0])
        self._norms = None

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        """Compute the gradient norms; gradients are cleared before the loss is checked."""
        gradients = {
            name: parameter.grad
            for name, parameter in self._parameters.items()
            if parameter.grad is not None
        }
        self._names = list(gradients)
        self._norms = torch.stack(torch._foreach_norm(list(gradients.values()))).float()

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        """Store the batch's figures; check every CHECK_EVERY batches."""
        loss = outputs["batch_loss"]
        epoch = trainer.current_epoch + 1
        self._recent.append(
            TrainedBatch(self._step, epoch, self._learning_rate, loss, batch.numbers, self._norms)
        )
        self._unchecked += 1
        if self._unchecked >= CHECK_EVERY:
            self._check(trainer, weights=None)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check the losses before weights can be saved as the best."""
        self._check(trainer, weights=None)

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Check the losses and the weights."""
        self._check(trainer, weights=pl_module.get_submodule("network").state_dict())

    def _check(self, trainer: Trainer, weights: Mapping[str, Tensor] | None) -> None:
        recent = list(self._recent)
        first = len(recent) - self._unchecked
        losses = [entry.loss for entry in recent[first:]]
        self._unchecked = 0
        finite = torch.stack(losses).isfinite().tolist() if losses else []
        bad = first + finite.index(False) if False in finite else None
        damaged = bad is None and bool(recent and weights and not _all_finite(weights))
        if damaged:
            bad = len(recent) - 1
        wrong = bad is not None
        if trainer.world_size > 1:
            wrong = bool(trainer.strategy.reduce_boolean_decision(wrong, all=False))
        if not wrong:
            return
        found = None
        if bad is not None:
            cause = "the weights are not finite" if damaged else "the loss is not finite"
            found = {"cause": cause, "rank": trainer.global_rank, **self._diagnosis(recent, bad)}
        reports = [report for report in from_all_ranks(trainer, found) if report]
        self._end(trainer, min(reports, key=lambda report: int(report["step"])))

    def _end(self, trainer: Trainer, report: dict[str, Any]) -> None:
        path = self.directory.path / "diagnosis.json"
        if trainer.is_global_zero and self.directory.keeps:
            with replacing(path) as temporary:
                temporary.write_text(json.dumps(report, indent=2, allow_nan=False) + "\n")
        line = (
            f"{report['cause']} at step {report['step']}, epoch {report['epoch']}: loss "
            f"{report['loss']}, learning rate {report['learning_rate']:g}"
        )
        self.directory.log(line)
        end_all(
            trainer,
            f"{line}{self.directory.see(path.name)}; try a lower --lr, a longer "
            "schedule.warmup_epochs or --precision bf16-mixed or 32-true",
        )

    def _diagnosis(self, recent: list[TrainedBatch], bad: int) -> dict[str, Any]:
        entry = recent[bad]
        norms = self._by_name(entry)
        largest = sorted(norms, key=lambda name: _sort_key(norms[name]), reverse=True)[:NUM_LARGEST]
        return {
            **self._figures(entry),
            "precision": self.plan.recipe.trainer.precision,
            "files": [self.plan.train.name(number) for number in entry.numbers.tolist()],
            "largest_gradient_norms": {name: _json_number(norms[name]) for name in largest},
            "before": [self._figures(old) for old in recent[max(0, bad - NUM_BEFORE) : bad]],
        }

    def _figures(self, entry: TrainedBatch) -> dict[str, Any]:
        stages: defaultdict[str, float] = defaultdict(float)
        for name, norm in self._by_name(entry).items():
            stages[name.split(".")[0]] += norm**2
        return {
            "step": entry.step,
            "epoch": entry.epoch,
            "loss": _json_number(float(entry.loss)),
            "learning_rate": entry.learning_rate,
            "gradient_norm": _json_number(math.sqrt(sum(stages.values()))) if stages else None,
            "gradient_norms": {
                name: _json_number(math.sqrt(value)) for name, value in stages.items()
            },
        }

    def _by_name(self, entry: TrainedBatch) -> dict[str, float]:
        if entry.norms is None:
            return {}
        return dict(zip(self._names, entry.norms.tolist(), strict=True))


def _all_finite(tensors: Mapping[str, Tensor]) -> bool:
    floats = [tensor for tensor in tensors.values() if tensor.is_floating_point()]
    return bool(torch.stack([tensor.isfinite().all() for tensor in floats]).all())


def _sort_key(norm: float) -> float:
    return math.inf if math.isnan(norm) else norm


def _json_number(value: float) -> float | str:
    """Convert NaN and infinity, which JSON lacks, to text."""
    return value if math.isfinite(value) else str(value)
