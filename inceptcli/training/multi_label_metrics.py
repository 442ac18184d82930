"""Measures of a validation of multi-label data."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from lightning.pytorch import Trainer
from torch import Tensor, nn
from torch.nn import functional
from torchmetrics.functional.classification import binary_average_precision

from inceptcli.prediction.thresholds import best_thresholds, count_labels
from inceptcli.training.ranks import from_all_ranks


class MultiLabelMetrics(nn.Module):
    """Mean binary cross-entropy, mean average precision and F1, exact over all ranks.

    Attributes:
        thresholds: Thresholds of the classes for F1; without given ones, `results` sets those that
            maximize the F1 of each class.
    """

    def __init__(self, num_classes: int, thresholds: Sequence[float] | None = None) -> None:
        super().__init__()
        self._given, self._num_classes = thresholds, num_classes
        self.thresholds: list[float] | None = None if thresholds is None else list(thresholds)
        self._logits: list[Tensor] = []
        self._labels: list[Tensor] = []

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Add a batch: logits and labels of 0 and 1, each (N, classes)."""
        self._logits.append(logits.detach())
        self._labels.append(labels)

    def results(self, part: str, trainer: Trainer) -> dict[str, float]:
        """Return PART_loss, PART_average_precision, PART_micro_f1 and PART_macro_f1; reset them.

        The mean average precision is over the classes that occur among the labels. A collective
        call. Undefined measures are 0.
        """
        none = torch.empty(0, self._num_classes)
        own = [torch.cat(parts or [none]).cpu() for parts in (self._logits, self._labels)]
        self._logits, self._labels = [], []
        logits, labels = map(torch.cat, zip(*from_all_ranks(trainer, own), strict=True))
        losses = functional.binary_cross_entropy_with_logits(
            logits.double(), labels.double(), reduction="none"
        )
        occurring = labels.any(dim=0).nonzero().flatten().tolist()
        precisions = [
            float(binary_average_precision(logits[:, place].double(), labels[:, place].long()))
            for place in occurring
        ]
        probabilities, truth = logits.double().sigmoid().numpy(), labels.numpy().astype(bool)
        if self._given is None:
            self.thresholds = best_thresholds(probabilities, truth).tolist()
        counts = count_labels(probabilities >= np.array(self.thresholds), truth)
        figures = {
            "loss": math.fsum(losses.flatten().tolist()) / max(1, losses.numel()),
            "average_precision": math.fsum(precisions) / max(1, len(precisions)),
            "micro_f1": counts.micro_f1,
            "macro_f1": counts.macro_f1,
        }
        return {
            f"{part}_{name}": 0.0 if math.isnan(value) and name != "loss" else value
            for name, value in figures.items()
        }
