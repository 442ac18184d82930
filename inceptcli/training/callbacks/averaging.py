"""Moving average of the weights: Lightning's WeightAveraging with a warm-up of the decay."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor, nn


class ParameterAverage(WeightAveraging):
    """Exponential moving average of weights and batch norm statistics, per optimizer step.

    Update 0 copies the weights. The decay in update n is `decay`, or with `warm_up`
    min(decay, (1 + n) / (10 + n)). The network holds the average during validation, from
    `on_validation_epoch_start` to `on_validation_end`, and after training.
    """

    def __init__(self, decay: float, warm_up: bool) -> None:
        super().__init__()
        self.decay, self.warm_up = decay, warm_up
        self._pairs: list[tuple[list[Tensor], list[Tensor]]] = []

    def decay_at(self, update: int) -> float:
        """Return the decay in update number `update` (0-based), 0 to 1."""
        return min(self.decay, (1 + update) / (10 + update)) if self.warm_up else self.decay

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Move the average to the network's device and pair their tensors.

        Lightning creates the average on the CPU, so each step would copy all parameters there.
        """
        assert self._average_model is not None
        self._average_model.to(pl_module.device)
        self.pair(self._average_model.module, pl_module)

    def pair(self, average: nn.Module, module: nn.Module) -> None:
        """Pair the tensors of `average` and `module` for `update`, grouped by dtype."""
        by_type: defaultdict[torch.dtype, tuple[list[Tensor], list[Tensor]]]
        by_type = defaultdict(lambda: ([], []))
        for ours, theirs in zip(_tensors(average), _tensors(module), strict=True):
            for side, tensor in zip(by_type[ours.dtype], (ours, theirs), strict=True):
                side.append(tensor)
        self._pairs = list(by_type.values())

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Update the average after an optimizer step.

        AveragedModel.update_parameters reads its counter, which synchronizes with the device.
        """
        if trainer.global_step > self._latest_update_step:
            assert self._average_model is not None
            self.update(self._latest_update_step)
            self._average_model.n_averaged.add_(1)
            self._latest_update_step = trainer.global_step

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the average in the network for other callbacks; Lightning would swap it out here."""

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Restore the raw weights."""
        super().on_validation_epoch_end(trainer, pl_module)

    @torch.no_grad()
    def update(self, number: int) -> None:
        """Apply update `number` (0-based) to the tensors given to `pair`."""
        for averaged, current in self._pairs:
            if number and averaged[0].is_floating_point():
                torch._foreach_lerp_(averaged, current, 1 - self.decay_at(number))
            else:  # the first update, and integer batch counters
                torch._foreach_copy_(averaged, current)


def _tensors(module: nn.Module) -> list[Tensor]:
    return [*module.parameters(), *module.buffers()]


class SharedBatchNorm(Callback):
    """Callback that averages batch norm statistics over the ranks after each optimizer step.

    All ranks then validate, average and save the same network. With `trainer.batch_norm_updates`,
    N ranks have the statistics of one that accumulates N batches, but for the order of the batches.
    """

    def __init__(self) -> None:
        self._latest_step = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note the step at which the training starts or continues."""
        self._latest_step = trainer.global_step

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Replace the statistics by their mean over the ranks, if the batch completed a step."""
        if trainer.world_size == 1 or trainer.global_step == self._latest_step:
            return
        self._latest_step = trainer.global_step
        average_over_ranks(trained_statistics(pl_module))


def trained_statistics(module: nn.Module) -> list[Tensor]:
    """Return the batch norm statistics that training changes; a mean could round frozen ones."""
    trained = [
        part
        for part in module.modules()
        if isinstance(part, nn.modules.batchnorm._BatchNorm) and part.training
    ]
    statistics = [(part.running_mean, part.running_var) for part in trained]
    return [tensor for pair in statistics for tensor in pair if tensor is not None]


@torch.no_grad()
def average_over_ranks(tensors: list[Tensor]) -> None:
    """Replace tensors of one dtype by their mean over all ranks, in one communication."""
    if not tensors:
        return
    together = torch.cat([tensor.flatten() for tensor in tensors])
    torch.distributed.all_reduce(together)
    together /= torch.distributed.get_world_size()
    start = 0
    for tensor in tensors:
        tensor.copy_(together[start : start + tensor.numel()].view_as(tensor))
        start += tensor.numel()
