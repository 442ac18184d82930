"""State-dict keys and tensor shapes of a described network. No torch."""

from __future__ import annotations

from collections.abc import Iterator

from inceptcli.networks.boxes import (
    AveragePool,
    Boxes,
    Conv,
    Description,
    Fork,
    MaxPool,
    Residual,
    channels_after,
    joined_channels,
)
from inceptcli.networks.figures.auxiliary_head import AUXILIARY_STAGE, auxiliary_path
from inceptcli.networks.registry import NetworkOptions

Shape = tuple[int, ...]

COUNTER = ".num_batches_tracked"
"""Key ending of a batch norm's batch counter, the only integer tensor; it is never used."""

STATISTICS = ("weight", "bias", "running_mean", "running_var")
"""A batch norm's scale, offset, mean and variance."""


def state_dict_shapes(description: Description) -> dict[str, Shape]:
    """Return the shape of every tensor by key, in the order of the torch module's state dict."""
    options, channels = description.options, description.options.in_channels
    shapes: dict[str, Shape] = {}
    for stage in description.stages:
        shapes |= _boxes(stage.name, stage.boxes, channels, options)
        channels = channels_after(stage.boxes, channels)
    if (width := description.embedding_width) is not None:
        shapes["embedding.linear.weight"] = width, channels
        shapes |= _batch_norm("embedding.batch_norm", width)
        channels = width
    return shapes | _linear("classifier", (options.num_classes, channels))


def auxiliary_head_shapes(description: Description) -> dict[str, Shape]:
    """Return the shapes of the network's auxiliary head by key, without a prefix."""
    options, path = description.options, auxiliary_path(description.options.width)
    channels = description.channels_after(AUXILIARY_STAGE)
    classifier = _linear("classifier", (options.num_classes, channels_after(path, channels)))
    return dict(_boxes("path", path, channels, options)) | classifier


def _boxes(
    name: str, boxes: Boxes, channels: int, options: NetworkOptions
) -> Iterator[tuple[str, Shape]]:
    match boxes:
        case Conv():
            yield f"{name}.conv.weight", (boxes.channels, channels, *boxes.size)
            yield from _batch_norm(f"{name}.batch_norm", boxes.channels).items()
        case MaxPool() | AveragePool():
            pass
        case Fork():
            for path_name, path in boxes.paths.items():
                yield from _boxes(f"{name}.{path_name}", path, channels, options)
            if isinstance(boxes, Residual):
                joined = joined_channels(boxes, channels)
                yield from _linear(f"{name}.linear", (channels, joined, 1, 1)).items()
                if boxes.batch_norm:
                    yield from _batch_norm(f"{name}.sum_batch_norm", channels).items()
        case _:
            for index, box in enumerate(boxes):
                yield from _boxes(f"{name}.{index}", box, channels, options)
                channels = channels_after(box, channels)


def _batch_norm(name: str, width: int) -> dict[str, Shape]:
    return {f"{name}.{part}": (width,) for part in STATISTICS} | {f"{name}{COUNTER}": ()}


def _linear(name: str, shape: Shape) -> dict[str, Shape]:
    return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
