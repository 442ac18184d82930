"""Parameters, multiply-adds and shapes of a network by stage and box. No torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

from inceptcli.networks.boxes import (
    AveragePool,
    Boxes,
    Conv,
    Description,
    Fork,
    MaxPool,
    Residual,
    Stage,
)
from inceptcli.networks.registry import (
    NETWORKS,
    NetworkOptions,
    check_image_size,
    describe,
)
from inceptcli.networks.state_dict import Shape


@dataclass(frozen=True)
class LayerSummary:
    """One box of a figure: a convolution with its batch norm and ReLU, a Linear, a pool.

    `module` is the number of the repeated module, or None in stages without repeats. `box` is the
    path within the module or stage, "" for the whole stage. Shapes are (C, H, W) or (C,).
    Multiply-adds are counted for convolutions and linear layers only.
    """

    stage: str
    module: int | None
    box: str
    kind: str
    output_shape: Shape
    parameters: int
    multiply_adds: int

    @property
    def name(self) -> str:
        """Name of the torch module."""
        number = "" if self.module is None else str(self.module)
        return ".".join(filter(None, (self.stage, number, self.box)))


@dataclass(frozen=True)
class StageSummary:
    """One box of the overall figure, with sums over its layers; `figure` shows it in detail.

    The stage has `repeats` modules; its layers number them from 0.
    """

    name: str
    figure: str
    repeats: int
    output_shape: Shape
    parameters: int
    multiply_adds: int
    layers: list[LayerSummary]


@dataclass(frozen=True)
class Summary:
    """A network at one image size (height, width); the totals are sums over the stages."""

    name: str
    layout: str
    num_classes: int
    image_size: tuple[int, int]
    parameters: int
    multiply_adds: int
    stages: list[StageSummary]


def summarize(options: NetworkOptions, image_size: tuple[int, int]) -> Summary:
    """Summarize the network with these `options` for one image of (height, width) pixels.

    Raises:
        ValueError: an unknown network, or a side under 75 pixels.
    """
    check_image_size(image_size)
    description = describe(options)
    shape: Shape = (options.in_channels, *image_size)
    stages = []
    for stage in description.stages:
        found = _stage(stage, shape, options)
        stages.append(found)
        shape = found.output_shape
    stages += _head(description)
    return Summary(
        options.name,
        NETWORKS[options.name].layout,
        options.num_classes,
        image_size,
        sum(stage.parameters for stage in stages),
        sum(stage.multiply_adds for stage in stages),
        stages,
    )


def _stage(stage: Stage, shape: Shape, options: NetworkOptions) -> StageSummary:
    modules = stage.modules
    layers: list[LayerSummary] = []
    for number, boxes in enumerate([stage.boxes] if modules is None else modules):
        walk = _Walk(stage.name, None if modules is None else number, options)
        shape = walk.shape_after("", boxes, shape)
        layers += walk.layers
    return _summed(stage.name, stage.figure, len(modules or [0]), shape, layers)


def _summed(
    name: str, figure: str, repeats: int, shape: Shape, layers: list[LayerSummary]
) -> StageSummary:
    parameters = sum(layer.parameters for layer in layers)
    multiply_adds = sum(layer.multiply_adds for layer in layers)
    return StageSummary(name, figure, repeats, shape, parameters, multiply_adds, layers)


def _head(description: Description) -> Iterator[StageSummary]:
    """Yield the parts after the last stage, which the overall figure shows."""
    pooled, figure = description.pooled_channels, description.overall_figure
    yield _summed("average_pooling", figure, 1, (pooled,), [])
    dropout = LayerSummary("dropout", None, "", "dropout", (pooled,), 0, 0)
    yield _summed("dropout", figure, 1, (pooled,), [dropout])
    if (width := description.embedding_width) is not None:
        weights = pooled * width
        linear = LayerSummary(
            "embedding",
            None,
            "",
            "linear",
            (width,),
            weights + _of_batch_norm(width, description.options),
            weights,
        )
        yield _summed("embedding", "released code", 1, (width,), [linear])
    classes, read = description.options.num_classes, description.num_features
    linear = LayerSummary(
        "classifier", None, "", "linear", (classes,), (read + 1) * classes, read * classes
    )
    yield _summed("classifier", figure, 1, (classes,), [linear])


class _Walk:
    """Traversal of the boxes of one module or stage; collects their summaries in `layers`."""

    def __init__(self, stage: str, module: int | None, options: NetworkOptions) -> None:
        self.stage, self.module, self.options = stage, module, options
        self.layers: list[LayerSummary] = []

    def shape_after(self, place: str, boxes: Boxes, shape: Shape) -> Shape:
        """Record `boxes` at `place` and return their output shape for an input shape (C, H, W)."""
        channels, *grid = shape
        match boxes:
            case Conv():
                shape = boxes.channels, *boxes.grid_after((grid[0], grid[1]))
                weights = channels * boxes.channels * prod(boxes.size)
                self._add(
                    place,
                    _conv(boxes),
                    shape,
                    weights,
                    _of_batch_norm(boxes.channels, self.options),
                )
            case MaxPool() | AveragePool():
                shape = channels, *boxes.grid_after((grid[0], grid[1]))
                self._add(place, _pool(boxes), shape)
            case Fork():
                paths = [
                    self.shape_after(_below(place, name), path, shape)
                    for name, path in boxes.paths.items()
                ]
                joined = sum(path[0] for path in paths)
                if not isinstance(boxes, Residual):
                    return joined, *paths[0][1:]
                self._add_sum(place, boxes, joined, shape)
            case _:
                for index, box in enumerate(boxes):
                    shape = self.shape_after(_below(place, str(index)), box, shape)
        return shape

    def _add_sum(self, place: str, residual: Residual, joined: int, shape: Shape) -> None:
        kind = "1x1 linear"
        kind += f", scale {residual.scale:g}" if self.options.shortcut else ", no shortcut"
        kind += "" if residual.activation else ", no ReLU after the sum"
        self._add(_below(place, "linear"), kind, shape, joined * shape[0], shape[0])
        if residual.batch_norm:
            self._add(
                _below(place, "sum_batch_norm"),
                "batch norm",
                shape,
                0,
                _of_batch_norm(shape[0], self.options),
            )

    def _add(
        self, place: str, kind: str, shape: Shape, weights: int = 0, other_parameters: int = 0
    ) -> None:
        """Record a box; each of its `weights` is used once per output position."""
        multiply_adds = weights * prod(shape[1:])
        self.layers.append(
            LayerSummary(
                self.stage,
                self.module,
                place,
                kind,
                shape,
                weights + other_parameters,
                multiply_adds,
            )
        )


def _of_batch_norm(width: int, options: NetworkOptions) -> int:
    """Return the number of a batch norm's parameters: offsets, and scales where it has them."""
    return (1 + options.batch_norm_scale) * width


def _below(place: str, name: str) -> str:
    return f"{place}.{name}" if place else name


def _conv(conv: Conv) -> str:
    """Describe a convolution as the figures print it."""
    strided = ", stride 2" if conv.stride == 2 else ""
    valid = conv.valid and conv.kernel != "1x1"
    return f"{conv.kernel} conv{strided}{', valid' if valid else ''}"


def _pool(pool: MaxPool | AveragePool) -> str:
    return "3x3 max pool, stride 2, valid" if isinstance(pool, MaxPool) else "3x3 average pool"
