"""The overall figure: named stages, global average pool, dropout, classifier."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from inceptcli.networks.blocks import Residual, Step
from inceptcli.networks.recomputing import recomputed
from inceptcli.networks.registry import MINIMUM_IMAGE_SIZE, NetworkOptions


class Stage(NamedTuple):
    """One box of the overall figure (Figures 9 and 15)."""

    name: str
    figure: str
    step: Step


class Network(nn.Module):
    """Images (N, C, H, W) in [-1, 1], sides of at least 75 -> logits (N, num_classes).

    Stages follow the overall figure. `figures` says where each is drawn and `head_figures` where
    average pool, dropout and classifier are; `num_features` is the width of `embed`. With
    `recompute` training keeps few activations; see recomputing.py.
    """

    recompute = False

    def __init__(
        self, options: NetworkOptions, stages: Sequence[Stage], overall_figure: str
    ) -> None:
        super().__init__()
        self.options = options
        self.figures = {stage.name: stage.figure for stage in stages}
        self.head_figures = dict.fromkeys(
            ("average_pooling", "dropout", "classifier"), overall_figure
        )
        channels = options.in_channels
        for stage in stages:
            box = stage.step(channels)
            self.add_module(stage.name, box)
            channels = box.out_channels
        if options.batch_norm_on_sums:
            for module in list(self.modules()):
                if isinstance(module, Residual):
                    module.normalize_sum()
        self.num_features = channels
        self.dropout = nn.Dropout(options.dropout)
        self.classifier = nn.Linear(channels, options.num_classes)
        set_batch_norm(self, options)
        initialize(self)

    def forward_stages(self, images: Tensor) -> Iterator[tuple[str, Tensor]]:
        """(N, C, H, W) -> each stage's name and its output (N, C', H', W'), in order.

        Raises:
            ValueError: a side is under 75.
        """
        height, width = images.shape[-2:]
        if min(height, width) < MINIMUM_IMAGE_SIZE:
            smallest = f"{MINIMUM_IMAGE_SIZE}x{MINIMUM_IMAGE_SIZE}"
            raise ValueError(f"images must be at least {smallest} pixels, got {height}x{width}")
        features = images
        for name in self.figures:
            stage = self.get_submodule(name)
            if self.recompute and self.training and torch.is_grad_enabled():
                features = recomputed(stage, features)
            else:
                features = stage(features)
            yield name, features

    def forward_features(self, images: Tensor) -> Tensor:
        """(N, C, H, W) -> the last stage's (N, C', H', W'); ValueError as `forward_stages`."""
        features = images
        for _, features in self.forward_stages(images):  # noqa: B007 (the last one is returned)
            pass
        return features

    def embed(self, images: Tensor) -> Tensor:
        """(N, C, H, W) -> pooled features (N, num_features)."""
        return self.embedding_of(self.forward_features(images).mean(dim=(2, 3)))

    def embedding_of(self, read: Tensor) -> Tensor:
        """What the classifier reads (N, num_features) as `embed` gives it: here unchanged."""
        return read

    def classify(self, features: Tensor) -> Tensor:
        """The last stage's output (N, C, H, W) -> logits (N, num_classes)."""
        logits: Tensor = self.classifier(self.dropout(features.mean(dim=(2, 3))))
        return logits

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) -> logits (N, num_classes)."""
        return self.classify(self.forward_features(images))


def set_batch_norm(network: nn.Module, options: NetworkOptions) -> None:
    """Give every batch norm of `network` the epsilon and the momentum of `options`."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):
            module.eps, module.momentum = options.batch_norm_eps, options.batch_norm_momentum


def initialize(network: nn.Module) -> None:
    """He initialisation: variance 2 / fan-in before a ReLU, 1 / fan-in for what is linear.

    Truncated normal at two deviations, as TensorFlow's variance_scaling_initializer in the released
    Inception-v4 code. Biases start at zero, batch norm at identity.
    """
    for module in network.modules():
        # On the meta device there is nothing to set, and torch 2.11 imports its compiler for it.
        if isinstance(module, nn.Conv2d | nn.Linear) and not module.weight.is_meta:
            before_relu = isinstance(module, nn.Conv2d) and module.bias is None
            variance = (2.0 if before_relu else 1.0) / module.weight[0].numel()
            # Cutting the tails at two deviations leaves 0.8796 of the deviation.
            deviation = variance**0.5 / 0.8796
            nn.init.trunc_normal_(module.weight, std=deviation, a=-2 * deviation, b=2 * deviation)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
