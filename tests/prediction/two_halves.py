"""Pictures whose halves show different classes, and a small network that has learnt them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from inceptcli.data.pixels.normalization import normalize
from inceptcli.data.pixels.preprocessing import Preprocessing
from inceptcli.networks.registry import build, network_options
from inceptcli.weights.file import save
from inceptcli.weights.metadata import ClassName, WeightsMetadata

STRIPES, DISCS = 0, 1
CLASSES = (ClassName("n0", "stripes"), ClassName("n1", "discs"))


def halves(
    random: np.random.Generator, left: int | None, right: int | None, size: int
) -> NDArray[np.uint8]:
    """A picture (size, size, 3) of two halves: stripes, discs, or with None one color."""
    parts = [_half(random, left, (size, size // 2)), _half(random, right, (size, size - size // 2))]
    noise = random.normal(0, 8, (size, size, 3))
    return np.clip(np.concatenate(parts, axis=1) + noise, 0, 255).astype(np.uint8)


def _half(
    random: np.random.Generator, kind: int | None, size: tuple[int, int]
) -> NDArray[np.int64]:
    paper = random.integers(0, 256, 3)
    period, across, down = random.integers(8, 13), *random.integers(0, 12, 2)
    y, x = np.mgrid[: size[0], : size[1]]
    x, y = (x + across) % period, (y + down) % period
    inked = np.zeros(size, bool)
    if kind == STRIPES:
        inked = x < period / 2
    elif kind == DISCS:
        inked = (x - period / 2) ** 2 + (y - period / 2) ** 2 < (0.38 * period) ** 2
    return np.where(inked[..., None], (paper + 128) % 256, paper)


def save_trained(path: Path, size: int, steps: int) -> None:
    """Weights of an Inception-ResNet-v1 that tells stripes from discs, each beside one color."""
    torch.manual_seed(0)
    random = np.random.default_rng(0)
    options = network_options("irv1", num_classes=2, repeats=(1, 1, 1))
    network = build(options).train().to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, steps)
    preprocessing = Preprocessing((size, size), crop_fraction=1.0)
    for _ in range(steps):
        kinds = random.integers(2, size=16)
        sides = [(kind, None) if random.integers(2) else (None, kind) for kind in kinds.tolist()]
        pictures = [halves(random, left, right, size) for left, right in sides]
        pixels = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)
        images = normalize(pixels, preprocessing.mean, preprocessing.std)
        loss = functional.cross_entropy(network(images), torch.from_numpy(kinds))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    save(path, network.state_dict(), WeightsMetadata(options, CLASSES, preprocessing))
