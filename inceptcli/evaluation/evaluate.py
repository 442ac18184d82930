"""Labelled images to accuracy and loss, through the same path as `predict`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import cross_entropy
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassAccuracy

from inceptcli.data.decode import UnreadableImage
from inceptcli.data.sources import ImageSource
from inceptcli.errors import UserError
from inceptcli.prediction.engine import Engine
from inceptcli.weights.metadata import ClassName


@dataclass(frozen=True)
class ClassResult:
    """One class: how many images it has and the share of them named right (None without images)."""

    name: ClassName
    images: int
    top1: float | None


@dataclass(frozen=True)
class Evaluation:
    """Fractions, not percent; `loss` is the mean cross entropy in nats.

    `skipped` has the path of each image that could not be read, and why; it counts nowhere else.
    """

    images: int
    top1: float
    top5: float
    loss: float
    per_class: tuple[ClassResult, ...]
    skipped: tuple[tuple[str, str], ...] = ()


def evaluate(
    engine: Engine,
    source: ImageSource,
    batch_size: int,
    progress: Callable[[int], None],
    skip_unreadable: bool = False,
) -> Evaluation:
    """Every image of `source` once; `progress` is told how many images each batch had.

    Raises UserError that names an image that cannot be read, for its answer would be missing; with
    `skip_unreadable` only when none can be read.
    """
    num_classes = len(engine.classes)
    top1 = MulticlassAccuracy(num_classes, average="micro")
    top5 = MulticlassAccuracy(num_classes, top_k=min(5, num_classes), average="micro")
    each = MulticlassAccuracy(num_classes, average=None)
    loss = MeanMetric()
    counts = torch.zeros(num_classes, dtype=torch.int64)
    skipped: list[tuple[str, str]] = []
    for start in range(0, len(source), batch_size):
        indices = range(start, min(start + batch_size, len(source)))
        progress(len(indices))
        crops, unreadable = _crops(engine, source, indices)
        if unreadable and not skip_unreadable:
            name, reason = unreadable[0]
            raise UserError(f"{name}: {reason}; --skip-unreadable leaves such images out")
        skipped += unreadable
        if not crops:
            continue
        logits = torch.from_numpy(engine.logits(np.stack(list(crops.values()))))
        labels = torch.tensor([source.label(index) for index in crops])
        for metric in (top1, top5, each):
            metric.update(logits, labels)
        loss.update(cross_entropy(logits, labels, reduction="none"))
        counts += torch.bincount(labels, minlength=num_classes)
    if len(skipped) == len(source):
        raise UserError(f"none of the {len(source)} images can be read: {': '.join(skipped[0])}")
    per_class = tuple(
        ClassResult(name, int(count), float(value) if count else None)
        for name, count, value in zip(engine.classes, counts, each.compute(), strict=True)
    )
    return Evaluation(
        len(source) - len(skipped),
        float(top1.compute()),
        float(top5.compute()),
        float(loss.compute()),
        per_class,
        tuple(skipped),
    )


def _crops(
    engine: Engine, source: ImageSource, indices: Sequence[int]
) -> tuple[dict[int, NDArray[np.uint8]], list[tuple[str, str]]]:
    """Crops by index, and the names of what cannot be read with the reasons."""
    crops: dict[int, NDArray[np.uint8]] = {}
    unreadable = []
    for index in indices:
        try:
            crops[index] = engine.preprocessing.crop(source.image(index))
        except UnreadableImage as error:
            unreadable.append((source.name(index), str(error)))
    return crops, unreadable
