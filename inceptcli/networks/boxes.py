"""The vocabulary of the paper's figures, as data: boxes, forks of paths, residual modules, stages.

A figure is a box, or a list of boxes in the order in which data flows. Nothing here computes: the
torch modules, the ONNX graph, the summary, the difference and the state-dict keys all read this.
No width is written twice, since each box learns its input from the box before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from inceptcli.networks.registry import NetworkOptions

Kernel = Literal["1x1", "1x3", "3x1", "3x3", "5x5", "1x7", "7x1"]
"""Height x width, as the figures print it."""

Grid = tuple[int, int]
"""Height and width."""

Boxes: TypeAlias = "Box | Sequence[Box]"


class Window:
    """What slides over a grid: a kernel of `size`, same-padded unless `valid`, the figures' "V"."""

    size: Grid
    stride: int
    valid: bool

    @property
    def padding(self) -> Grid:
        """Rows above and below, columns left and right."""
        return (0, 0) if self.valid else (self.size[0] // 2, self.size[1] // 2)

    def grid_after(self, grid: Grid) -> Grid:
        """The height and width that leave it."""
        height, width = (
            (side + 2 * padding - kernel) // self.stride + 1
            for side, padding, kernel in zip(grid, self.padding, self.size, strict=True)
        )
        return height, width


@dataclass(frozen=True)
class Conv(Window):
    """Convolution without bias, batch norm, ReLU: every conv box that is not called Linear."""

    kernel: Kernel
    channels: int
    stride: int = 1
    valid: bool = False

    @property
    def size(self) -> Grid:  # type: ignore[override]  # the figures print it as one word
        """Height and width of the kernel."""
        height, width = map(int, self.kernel.split("x"))
        return height, width


@dataclass(frozen=True)
class MaxPool(Window):
    """3x3, "stride 2 V", the only kind that the figures draw."""

    size: Grid = (3, 3)
    stride: int = 2
    valid: bool = True


@dataclass(frozen=True)
class AveragePool(Window):
    """3x3, stride 1, same-padded where nothing else is said.

    The kernel is printed nowhere in Figures 4-6; every implementation uses 3x3. TensorFlow divides
    by the pixels inside the image. Counting the padding, too, costs the released Inception-v4 0.2
    points of top-1 accuracy; NetworkOptions.count_padding is for weights that were trained so.
    """

    size: Grid = (3, 3)
    stride: int = 1
    valid: bool = False


@dataclass(frozen=True, init=False)
class Fork:
    """Parallel paths over one input, concatenated in the order given, which is the released code's.

    The figures draw the pooling path leftmost; the released networks concatenate it last.
    """

    paths: Mapping[str, Sequence[Box]]

    def __init__(self, **paths: Sequence[Box]) -> None:
        object.__setattr__(self, "paths", paths)


@dataclass(frozen=True, init=False)
class Residual(Fork):
    """Figure 20: ReLU(input + scale * Linear(paths)); the 1x1 Linear restores the input's depth.

    The Linear has a bias, as in the released networks. No batch norm on the sum (section 3.2),
    unless NetworkOptions.batch_norm_on_sums puts one there. The scale belongs to the sum: where
    NetworkOptions.shortcut is off it is not applied. Without `activation` there is no ReLU.
    """

    scale: float
    activation: bool

    def __init__(self, scale: float, activation: bool = True, **paths: Sequence[Box]) -> None:
        super().__init__(**paths)
        object.__setattr__(self, "scale", scale)
        object.__setattr__(self, "activation", activation)


Box = Conv | MaxPool | AveragePool | Fork | Residual


@dataclass(frozen=True)
class Stage:
    """One box of the overall figure (Figures 9 and 15), and the figure that draws it.

    `boxes` is one figure, or the list of its boxes, or of modules that repeat.
    """

    name: str
    figure: str
    boxes: Boxes

    @property
    def modules(self) -> Sequence[Fork] | None:
        """The modules of a stage that repeats them ("5 x Inception-resnet-A"); None of another."""
        boxes = self.boxes if isinstance(self.boxes, Sequence) else []
        modules = [box for box in boxes if isinstance(box, Fork)]
        return modules if modules and len(modules) == len(boxes) else None


@dataclass(frozen=True)
class Description:
    """The overall figure: stages, global average pool, dropout, classifier.

    Of `embedding_width` is a Linear without bias, and its batch norm, between dropout and
    classifier; None means that there is none.
    """

    options: NetworkOptions
    stages: Sequence[Stage]
    overall_figure: str
    embedding_width: int | None = None

    def channels_after(self, stage_name: str) -> int:
        """The channels that leave a stage."""
        channels = self.options.in_channels
        for stage in self.stages:
            channels = channels_after(stage.boxes, channels)
            if stage.name == stage_name:
                break
        return channels

    @property
    def pooled_channels(self) -> int:
        """The channels that are pooled."""
        return self.channels_after(self.stages[-1].name)

    @property
    def num_features(self) -> int:
        """What the classifier reads of an image, and embeddings are."""
        return self.embedding_width or self.pooled_channels


def channels_after(boxes: Boxes, channels: int) -> int:
    """How many channels leave what `channels` of them enter."""
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
    """How many channels the paths of a fork, which `channels` of them enter, have together."""
    return sum(channels_after(path, channels) for path in fork.paths.values())
