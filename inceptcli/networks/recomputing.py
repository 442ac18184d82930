"""Activations that are computed again when the backward pass needs them, instead of kept."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from inceptcli.networks.torch_modules import ResidualModule, regions


def recomputed(stage: nn.Module, features: Tensor) -> Tensor:
    """`stage(features)`, keeping only what enters its modules, or the stage where it has none.

    Gradients and running statistics are the same to the bit.
    """
    for module in regions(stage):
        if isinstance(module, ResidualModule):
            # The ReLU reads its output, which the next module keeps. Without it nothing reads what
            # the Linear gives, and that convolution, a third of the module, is not computed again.
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
    """Or a batch would move the running mean and variance twice."""
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
