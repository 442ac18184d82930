"""The vocabulary of the paper's figures: boxes, paths of boxes, forks of paths, residual modules.

A step is a box whose input width is not known yet: a function from input channels to a module.
Inside a figure no width is written twice, since each step learns its input from the step before.
Shapes are (N, C, H, W).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

Kernel = Literal["1x1", "1x3", "3x1", "3x3", "5x5", "1x7", "7x1"]
"""Height x width, as the figures print it."""


class Box(nn.Module):
    """A module that knows how many channels leave it."""

    out_channels: int


Step = Callable[[int], Box]


def _size(kernel: Kernel) -> tuple[int, int]:
    height, width = kernel.split("x")
    return int(height), int(width)


def _padding(kernel: tuple[int, int], valid: bool) -> tuple[int, int]:
    return (0, 0) if valid else (kernel[0] // 2, kernel[1] // 2)


class ConvUnit(Box):
    """Convolution without bias, batch norm, ReLU: every conv box that is not called Linear."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: tuple[int, int],
        stride: int,
        valid: bool,
    ) -> None:
        super().__init__()
        self.out_channels = out_channels
        padding = _padding(kernel, valid)
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, stride, padding, bias=False)
        self.batch_norm = nn.BatchNorm2d(out_channels)

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, out_channels, H', W')."""
        return functional.relu(self.batch_norm(self.conv(features)), inplace=True)


class Pool(Box):
    """Maximum or average over a window; an average counts the pixels inside the image only."""

    def __init__(
        self,
        channels: int,
        kind: Literal["average", "maximum"],
        stride: int,
        valid: bool,
        side: int = 3,
    ) -> None:
        super().__init__()
        self.out_channels = channels
        padding = 0 if valid else side // 2
        # TensorFlow divides by the pixels inside the image; counting the padding costs the
        # released Inception-v4 0.2 points of top-1 accuracy.
        self.pool: nn.Module = (
            nn.AvgPool2d(side, stride, padding, count_include_pad=False)
            if kind == "average"
            else nn.MaxPool2d(side, stride, padding)
        )

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H', W')."""
        pooled: Tensor = self.pool(features)
        return pooled


class Path(Box):
    """Steps in the order in which data flows; numbered from 0 in the state dict."""

    def __init__(self, in_channels: int, steps: Sequence[Step]) -> None:
        super().__init__()
        self.out_channels = in_channels
        for index, step in enumerate(steps):
            box = step(self.out_channels)
            self.add_module(str(index), box)
            self.out_channels = box.out_channels

    def forward(self, features: Tensor) -> Tensor:
        """Through every step."""
        for step in self.children():
            features = step(features)
        return features


class Fork(Box):
    """Parallel paths over one input, concatenated in the order given, which is the released code's.

    The figures draw the pooling path leftmost; the released networks concatenate it last.
    """

    def __init__(self, in_channels: int, **paths: Sequence[Step]) -> None:
        super().__init__()
        self.path_names = tuple(paths)
        self.out_channels = 0
        for name, steps in paths.items():
            path = Path(in_channels, steps)
            self.add_module(name, path)
            self.out_channels += path.out_channels

    @property
    def paths(self) -> dict[str, Path]:
        """The paths by name, in concatenation order."""
        return {name: self.get_submodule(name) for name in self.path_names}  # type: ignore[misc]

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, out_channels, H', W')."""
        return torch.cat([path(features) for path in self.paths.values()], dim=1)


class Residual(Fork):
    """Figure 20: ReLU(input + scale * Linear(paths)); the 1x1 Linear restores the input's depth.

    The Linear has a bias, as in the released networks. No batch norm on the sum (section 3.2),
    unless `normalize_sum` puts one there. The scale belongs to the sum: without the shortcut it is
    not applied.
    """

    def __init__(
        self,
        in_channels: int,
        scale: float,
        shortcut: bool = True,
        activation: bool = True,
        **paths: Sequence[Step],
    ) -> None:
        super().__init__(in_channels, **paths)
        self.scale, self.shortcut, self.activation = scale, shortcut, activation
        self.linear = nn.Conv2d(self.out_channels, in_channels, 1)
        self.sum_batch_norm: nn.BatchNorm2d | None = None
        self.out_channels = in_channels

    def normalize_sum(self) -> None:
        """Batch norm between the sum and its ReLU, which section 3.3 tried against dying."""
        self.sum_batch_norm = nn.BatchNorm2d(self.out_channels)

    def forward(self, features: Tensor, activated: bool = True) -> Tensor:
        """Shape unchanged; the sum alone, for `activate`, unless it is to be `activated`."""
        residual = self.linear(super().forward(features))
        total = torch.add(features, residual, alpha=self.scale) if self.shortcut else residual
        if self.sum_batch_norm is not None:
            total = self.sum_batch_norm(total)
        return self.activate(total) if activated else total

    def activate(self, total: Tensor) -> Tensor:
        """The ReLU of the sum, in its place; the sum where the figure has none."""
        return functional.relu(total, inplace=True) if self.activation else total


def conv(kernel: Kernel, channels: int, stride: int = 1, valid: bool = False) -> Step:
    """A convolution box; same-padded unless `valid`, the figures' "V"."""
    return lambda in_channels: ConvUnit(in_channels, channels, _size(kernel), stride, valid)


def max_pool() -> Step:
    """A MaxPool box: 3x3, "stride 2 V", the only kind that the figures draw."""
    return lambda in_channels: Pool(in_channels, "maximum", 2, valid=True)


def average_pool() -> Step:
    """An Avg Pooling box: 3x3, stride 1, same-padded, padding not counted.

    The kernel is printed nowhere in Figures 4-6; every implementation uses 3x3.
    """
    return lambda in_channels: Pool(in_channels, "average", 1, valid=False)


def fork(**paths: Sequence[Step]) -> Step:
    """Parallel paths as one step of a path."""
    return lambda in_channels: Fork(in_channels, **paths)


def repeat(count: int, step: Step, last: Step | None = None) -> Step:
    """`count` modules after one another ("5 x Inception-resnet-A"); `last` replaces the last."""
    steps = [step] * count
    if last is not None:
        steps[-1] = last
    return lambda in_channels: Path(in_channels, steps)


def regions(stage: nn.Module) -> list[nn.Module]:
    """The modules of a repeat in order, or the stage alone where it is none."""
    modules = list(stage.children()) if isinstance(stage, Path) else []
    repeated = bool(modules) and all(isinstance(module, Fork) for module in modules)
    return modules if repeated else [stage]
