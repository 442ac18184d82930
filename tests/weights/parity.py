"""What every comparison with another library needs: crops, weights that can fail, a limit."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from inceptcli.data.pixels.normalization import normalize
from inceptcli.data.pixels.preprocessing import Preprocessing

SIZES = ((299, 299), (299, 395))
"""Grids of 35, 17 and 8, and of 47, 23 and 11: odd and even, square and not."""

CLASSES = 11
LIMIT = 1e-4
SPREAD = 0.5


def batch(
    photos: list[NDArray[np.uint8]], preprocessing: Preprocessing, size: tuple[int, int]
) -> Tensor:
    """Crops of the photographs as networks read them, (N, 3, *size)."""
    at_size = dataclasses.replace(preprocessing, image_size=size)
    crops = torch.from_numpy(np.stack([at_size.crop(photo) for photo in photos]))
    return normalize(crops.permute(0, 3, 1, 2), preprocessing.mean, preprocessing.std)


def make_able_to_fail(network: nn.Module, images: Tensor) -> None:
    """Kaiming convolutions, statistics of one training pass, all batch norms jittered by 10-25 %.

    With plainly random statistics the logits of all images agree and any mistake would pass. The
    classifier's bias takes away what the images have in common, else luck would decide.
    """
    generator = torch.Generator().manual_seed(1)
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        network.train()(images)
        for norm in norms:
            norm.bias.normal_(std=0.1, generator=generator)
            assert norm.running_mean is not None
            assert norm.running_var is not None
            for tensor in (norm.weight, norm.running_mean, norm.running_var):
                amount = torch.empty_like(tensor).uniform_(0.10, 0.25, generator=generator)
                sign = torch.empty_like(tensor).bernoulli_(0.5, generator=generator) * 2 - 1
                tensor *= 1 + sign * amount
    classifier = [module for module in network.modules() if isinstance(module, nn.Linear)][-1]
    with torch.no_grad():
        classifier.bias.sub_(network.eval()(images).mean(0))


def assert_tell_photographs_apart(logits: Tensor) -> None:
    assert (logits - logits.mean(0)).std() >= SPREAD * logits.std()


def difference(logits: Tensor, expected: Tensor) -> float:
    """The largest, in standard deviations of what is expected."""
    return float((logits - expected).abs().max() / expected.std())


def assert_same(logits: Tensor, expected: Tensor) -> None:
    assert_tell_photographs_apart(expected)
    assert difference(logits, expected) <= LIMIT
    assert torch.equal(logits.argmax(1), expected.argmax(1))
