"""The running average of the parameters: Lightning's own, with a warm-up of its memory."""

from __future__ import annotations

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor, nn

Tensors = tuple[Tensor, ...] | list[Tensor]


class ParameterAverage(WeightAveraging):
    """Exponential average of parameters and batch norm statistics, updated every optimizer step.

    At update n (0-based) the memory is `decay`, or with `warm_up` min(decay, (1 + n) / (10 + n)).
    The network holds the average while it is validated and after training.
    """

    def __init__(self, decay: float, warm_up: bool) -> None:
        super().__init__(multi_avg_fn=self._average)
        self.decay, self.warm_up = decay, warm_up

    def decay_at(self, update: int) -> float:
        """The share of the old average that update number `update` (0-based) keeps."""
        return min(self.decay, (1 + update) / (10 + update)) if self.warm_up else self.decay

    @torch.no_grad()
    def _average(self, averaged: Tensors, current: Tensors, updates: Tensor | int) -> None:
        if averaged[0].is_floating_point():
            torch._foreach_lerp_(averaged, current, 1 - self.decay_at(int(updates)))
        else:  # counters of batches
            torch._foreach_copy_(averaged, current)


class SharedBatchNorm(Callback):
    """Gives every rank the buffers of rank 0, running and averaged, before they are validated.

    Between batches each rank has statistics of its own; without this the ranks would validate
    different networks. Stands before ParameterAverage, which then swaps the average in.
    """

    def __init__(self, average: ParameterAverage | None) -> None:
        self.average = average

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Broadcast from rank 0."""
        if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
            return
        averaged = self.average._average_model if self.average else None
        modules: list[nn.Module] = [pl_module] if averaged is None else [pl_module, averaged]
        for module in modules:
            for buffer in module.buffers():
                torch.distributed.broadcast(buffer, src=0)
