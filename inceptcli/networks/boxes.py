"""Building blocks of the paper's figures as data: boxes, forks, residual modules, stages.

A figure is a box or a list of boxes in the order of the data flow. Nothing here computes. The torch
modules, the ONNX graph, the summary, the comparison and the state-dict keys are all derived from
these descriptions. Each box takes its input channels from the box before it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from math import floor
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias

if TYPE_CHECKING:
    from inceptcli.networks.registry import NetworkOptions

Kernel = Literal["1x1", "1x3", "3x1", "3x3", "5x5", "1x7", "7x1"]
"""Height x width, as the figures print it."""

Grid = tuple[int, int]
"""Height and width."""

Boxes: TypeAlias = "Box | Sequence[Box]"


class Window:
    """Sliding window: a kernel of `size`, same-padded unless `valid` ("V" in the figures)."""

    size: Grid
    stride: int
    valid: bool

    @property
    def padding(self) -> Grid:
        """Rows added above and below, columns added left and right."""
        return (0, 0) if self.valid else (self.size[0] // 2, self.size[1] // 2)

    def grid_after(self, grid: Grid) -> Grid:
        """Return the output height and width for an input `grid`."""
        height, width = (
            (side + 2 * padding - kernel) // self.stride + 1
            for side, padding, kernel in zip(grid, self.padding, self.size, strict=True)
        )
        return height, width


@dataclass(frozen=True)
class Conv(Window):
    """Convolution without bias, then batch norm and ReLU: every conv box except "Linear" ones."""

    kernel: Kernel
    channels: int
    stride: int = 1
    valid: bool = False

    @property
    def size(self) -> Grid:  # type: ignore[override]  # derived from the printed kernel
        """Height and width of the kernel."""
        height, width = map(int, self.kernel.split("x"))
        return height, width


@dataclass(frozen=True)
class MaxPool(Window):
    """3x3 max pooling with stride 2 and no padding ("stride 2 V"), as in all figures."""

    size: Grid = (3, 3)
    stride: int = 2
    valid: bool = True


@dataclass(frozen=True)
class AveragePool(Window):
    """Average pooling; by default 3x3, stride 1, same-padded.

    Figures 4-6 do not print the kernel; every implementation uses 3x3. TensorFlow divides by the
    number of pixels inside the image. Counting the padding as well lowers the top-1 accuracy of the
    released Inception-v4 by 0.2 points. NetworkOptions.count_padding is for weights trained that
    way.
    """

    size: Grid = (3, 3)
    stride: int = 1
    valid: bool = False


@dataclass(frozen=True, init=False)
class Fork:
    """Parallel paths over one input, concatenated in the given order.

    The order is that of the released code. The figures draw the pooling path leftmost, but the
    released networks concatenate it last.
    """

    paths: Mapping[str, Sequence[Box]]

    def __init__(self, **paths: Sequence[Box]) -> None:
        object.__setattr__(self, "paths", paths)

    def widened(self, width: float) -> Self:
        """Return the fork with `width` times the channels in its paths."""
        paths = {name: [widened(box, width) for box in path] for name, path in self.paths.items()}
        return self.changed(paths=paths)

    def changed(self, **attributes: Any) -> Self:
        """Return the fork with other `attributes` (dataclasses.replace needs its own __init__)."""
        fork = copy(self)
        for name, value in attributes.items():
            object.__setattr__(fork, name, value)
        return fork


@dataclass(frozen=True, init=False)
class Residual(Fork):
    """Figure 20: ReLU(input + scale * Linear(paths)); the 1x1 Linear restores the input channels.

    The Linear has a bias, as in the released networks. The sum has no batch norm (section 3.2)
    unless NetworkOptions.batch_norm_on_sums chooses it. The scale is not applied if
    NetworkOptions.shortcut is off. Without `activation` there is no ReLU.
    """

    scale: float
    activation: bool
    batch_norm: bool

    def __init__(
        self,
        scale: float,
        activation: bool = True,
        batch_norm: bool = False,
        **paths: Sequence[Box],
    ) -> None:
        super().__init__(**paths)
        object.__setattr__(self, "scale", scale)
        object.__setattr__(self, "activation", activation)
        object.__setattr__(self, "batch_norm", batch_norm)


Box = Conv | MaxPool | AveragePool | Fork | Residual


@dataclass(frozen=True)
class Stage:
    """One box of the overall figure (Figures 9 and 15), and the figure that shows it in detail.

    `boxes` is a single figure, a list of its boxes, or a list of repeated modules.
    """

    name: str
    figure: str
    boxes: Boxes

    def widened(self, width: float) -> Stage:
        """Return the stage with `width` times the channels."""
        boxes = self.boxes
        if isinstance(boxes, Sequence):
            return replace(self, boxes=[widened(box, width) for box in boxes])
        return replace(self, boxes=widened(boxes, width))

    @property
    def modules(self) -> Sequence[Fork] | None:
        """The repeated modules ("5 x Inception-resnet-A"); None if the stage has no repeats."""
        boxes = self.boxes if isinstance(self.boxes, Sequence) else []
        modules = [box for box in boxes if isinstance(box, Fork)]
        return modules if modules and len(modules) == len(boxes) else None

    @property
    def has_sums(self) -> bool:
        """Whether the modules are residual."""
        return any(isinstance(module, Residual) for module in self.modules or ())

    def with_batch_norm_on_sums(self, only_last: bool) -> Stage:
        """Return the stage with batch norm on the sums of all its modules or the last one."""
        modules = list(self.modules or ())
        first = len(modules) - 1 if only_last else 0
        changed = [module.changed(batch_norm=True) for module in modules[first:]]
        return replace(self, boxes=[*modules[:first], *changed])


@dataclass(frozen=True)
class Description:
    """The overall figure: stages, global average pool, dropout, classifier.

    `embedding_width` is the width of a Linear without bias and its batch norm between dropout and
    classifier, or None if there is no embedding.
    """

    options: NetworkOptions
    stages: Sequence[Stage]
    overall_figure: str
    embedding_width: int | None = None

    def completed(self) -> Description:
        """Return the figures with the options' width and batch norm on sums."""
        width, on_sums = self.options.width, self.options.batch_norm_on_sums
        stages = [stage.widened(width) for stage in self.stages]
        with_sums = [place for place, stage in enumerate(stages) if stage.has_sums]
        for place in {"none": [], "last": with_sums[-1:], "all": with_sums}[on_sums]:
            stages[place] = stages[place].with_batch_norm_on_sums(only_last=on_sums == "last")
        embedding = self.embedding_width and scaled_channels(self.embedding_width, width)
        return replace(self, stages=stages, embedding_width=embedding)

    def channels_after(self, stage_name: str) -> int:
        """Return the number of output channels of a stage."""
        channels = self.options.in_channels
        for stage in self.stages:
            channels = channels_after(stage.boxes, channels)
            if stage.name == stage_name:
                break
        return channels

    @property
    def pooled_channels(self) -> int:
        """Number of channels entering the global average pool."""
        return self.channels_after(self.stages[-1].name)

    @property
    def num_features(self) -> int:
        """Width of the penultimate features, which are also the embeddings."""
        return self.embedding_width or self.pooled_channels


def scaled_channels(channels: int, width: float) -> int:
    """Return `width` times `channels`, rounded to the nearest whole number, half up, at least 1."""
    return max(1, floor(channels * width + 0.5))


def widened(box: Box, width: float) -> Box:
    """Return a box with `width` times the channels of all its convolutions.

    Pools and sums have the channels of their input, and so has the Linear of a residual module.
    """
    match box:
        case Conv():
            return replace(box, channels=scaled_channels(box.channels, width))
        case Fork():
            return box.widened(width)
    return box


def channels_after(boxes: Boxes, channels: int) -> int:
    """Return the number of output channels of `boxes` for an input with `channels` channels."""
    match boxes:
        case Conv():
            return boxes.channels
        case MaxPool() | AveragePool() | Residual():
            return channels
        case Fork():
            return joined_channels(boxes, channels)
    for box in boxes:
        channels = channels_after(box, channels)
    return channels


def joined_channels(fork: Fork, channels: int) -> int:
    """Return the sum of the output channels of a fork's paths, for `channels` input channels."""
    return sum(channels_after(path, channels) for path in fork.paths.values())
