"""Activation checkpointing: recompute activations in the backward pass instead of storing them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from inceptcli.networks.torch_modules import ResidualModule, regions


def recomputed(stage: nn.Module, features: Tensor) -> Tensor:
    """Compute `stage(features)`, storing only the inputs of its repeated modules or of the stage.

    Gradients and running statistics are bit-identical to those of a plain forward pass.
    """
    for module in regions(stage):
        if isinstance(module, ResidualModule):
            # The backward pass of the ReLU reads its output, which the next module stores anyway.
            # With the ReLU outside, nothing reads the Linear's output, and that convolution, a
            # third of the module, is not recomputed.
            features = module.activate(_recomputed(module, features, False))
        else:
            features = _recomputed(module, features)
    return features


def _recomputed(module: nn.Module, *inputs: Tensor | bool) -> Tensor:
    found: Tensor = checkpoint(
        module,
        *inputs,
        use_reentrant=False,
        preserve_rng_state=False,  # nothing in a stage is random
        context_fn=lambda: (nullcontext(), _statistics_left_alone(module)),
    )
    return found


@contextmanager
def _statistics_left_alone(module: nn.Module) -> Iterator[None]:
    """Freeze running statistics; otherwise a batch would update mean and variance twice."""
    kinds = (nn.BatchNorm2d, nn.SyncBatchNorm)
    norms = [part for part in module.modules() if isinstance(part, kinds)]
    momenta = [norm.momentum for norm in norms]
    counters = [norm.num_batches_tracked for norm in norms if norm.num_batches_tracked is not None]
    counts = [counter.clone() for counter in counters]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        for counter, count in zip(counters, counts, strict=True):
            counter.copy_(count)
