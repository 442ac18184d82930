"""What limits a network on a processor: the rate at which it multiplies float32 matrices."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch

from inceptcli.networks.registry import network_options
from inceptcli.networks.summary import summarize

SIDE, MATRICES = 2048, "product of matrices"


def multiplication() -> Callable[[], torch.Tensor]:
    """A product of two matrices of SIDE x SIDE, float32; a contestant called MATRICES."""
    return partial(torch.mm, torch.randn(SIDE, SIDE), torch.randn(SIDE, SIDE))


def shares(
    found: dict[str, dict[str, dict[str, float]]], network: str, images: int, passes: int = 1
) -> dict[str, float]:
    """Which share of the rate of MATRICES, taken out of `found`, the others reach; prints it.

    They compute `images` of 299 pixels; a training step is three passes: the activations and the
    gradients of both factors of each product.
    """
    product = found.pop(MATRICES)["seconds"]["median"]
    needed = passes * images * summarize(network_options(network), (299, 299)).multiply_adds
    limit = needed / SIDE**3 * product
    reached = {name: limit / row["seconds"]["median"] for name, row in found.items()}
    shown = ", ".join(f"{name} {share:.2f}" for name, share in reached.items())
    print(f"  of matrix multiplication: {shown}")
    return reached
