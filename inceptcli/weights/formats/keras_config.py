"""A Keras model's configuration: its layers and the preprocessing they perform.

The JSON from which Keras would build the layers is only inspected. No keras, no torch.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

CONVOLUTIONS = {"Conv2D", "Convolution2D"}
UNREAD = {"Lambda", "Normalization", "SlicingOpLambda", "TFOpLambda", "TensorFlowOpLayer"}
"""Layers that may change pixel values in an unsupported way."""

ARITHMETIC = {"Add", "Divide", "Multiply", "Subtract", "TrueDivide"}
"""Operations on a tensor and a number."""

FUNCTIONS = {
    "__operators__.add": "Add",
    "math.add": "Add",
    "math.divide": "Divide",
    "math.multiply": "Multiply",
    "math.subtract": "Subtract",
    "math.truediv": "TrueDivide",
}
"""The same operations in Keras 2, where each is a TFOpLambda."""

Layer = tuple[str, str, dict[str, Any]]
"""Class, name and JSON."""

MOST_LAYERS = 100_000


@dataclass
class KerasConfig:
    """Relevant parts of a configuration; empty without one.

    Attributes:
        order: Layer names in the order of `model.layers`, nested layers in place of their model.
        convolutions: Strides and padding ("same" or "valid") of each convolution by name.
        epsilon: Epsilon of the batch norms.
        preprocessing: Fields of Preprocessing.
        unread: Layers before the first convolution that change pixel values in an unsupported way.
    """

    order: list[str] = field(default_factory=list)
    convolutions: dict[str, tuple[tuple[int, ...], str]] = field(default_factory=dict)
    epsilon: float | None = None
    preprocessing: dict[str, Any] = field(default_factory=dict)
    unread: list[str] = field(default_factory=list)


def parse_keras_config(text: bytes | str | None) -> KerasConfig:
    """Parse a configuration in JSON; raise ValueError if it is invalid."""
    if text is None:
        return KerasConfig()
    try:
        layers = list(_layers(json.loads(text)))
    except RecursionError as error:
        raise ValueError("its configuration is nested too deeply") from error
    found = KerasConfig([name for _, name, _ in layers])
    _note_computation(found, layers)
    first = next((i for i, (kind, *_) in enumerate(layers) if kind in CONVOLUTIONS), len(layers))
    _note_preprocessing(found, layers[:first])
    return found


def _note_computation(found: KerasConfig, layers: list[Layer]) -> None:
    epsilons = set()
    for kind, name, layer in layers:
        config = layer["config"]
        strides, padding = config.get("strides"), config.get("padding")
        if kind in CONVOLUTIONS and isinstance(strides, list) and padding in ("same", "valid"):
            found.convolutions[name] = tuple(strides), padding
        if kind == "BatchNormalization" and isinstance(config.get("epsilon"), float):
            epsilons.add(config["epsilon"])
    if len(epsilons) > 1:
        raise ValueError(f"its batch norms have several epsilons: {sorted(epsilons)[:3]}")
    found.epsilon = next(iter(epsilons), None)


def _note_preprocessing(found: KerasConfig, layers: list[Layer]) -> None:
    size: tuple[int, int] | None = None
    scale, offset = [1.0] * 3, [0.0] * 3
    for kind, name, layer in layers:
        size = _size(kind, layer) or size
        numbers = _numbers(kind, layer)
        if numbers is not None:
            factors, summands = numbers
            scale = [a * b for a, b in zip(scale, factors, strict=True)]
            offset = [a * b + c for a, b, c in zip(offset, factors, summands, strict=True)]
        elif kind in UNREAD | ARITHMETIC | {"Rescaling"}:
            found.unread.append(name)
    if size is not None:
        found.preprocessing["image_size"] = size
    if (scale, offset) == ([1.0] * 3, [0.0] * 3):
        return
    if min(scale) <= 0:
        found.unread.append("Rescaling")
        return
    # Pixel values go up to 255 in Keras and up to 1 in Preprocessing.
    std = [1 / (255 * one) for one in scale]
    mean = [-one * part for one, part in zip(offset, std, strict=True)]
    found.preprocessing["mean"] = tuple(round(value, 9) + 0.0 for value in mean)
    found.preprocessing["std"] = tuple(round(value, 9) for value in std)


def _layers(config: Any) -> Iterator[Layer]:
    """Yield class, name and JSON of every layer in order, nested layers in place of their model."""
    waiting = [config]
    for _ in range(MOST_LAYERS):
        if not waiting:
            return
        layer = waiting.pop()
        if not isinstance(layer, dict):
            continue
        inner = layer.get("config")
        # Before Keras 2.2.3 the config of a Sequential model is a list.
        nested = inner.get("layers") if isinstance(inner, dict) else inner
        if isinstance(nested, list):
            waiting += reversed(nested)
        elif isinstance(inner, dict):
            kind = str(layer.get("class_name"))
            if kind == "TFOpLambda":
                kind = FUNCTIONS.get(str(inner.get("function")), kind)
            yield kind, str(inner.get("name")), layer
    raise ValueError(f"its configuration has over {MOST_LAYERS} layers")


def _size(kind: str, layer: dict[str, Any]) -> tuple[int, int] | None:
    """Return the layer's output height and width if it states them, else None."""
    config = layer["config"]
    if kind == "Resizing":
        sides = [config.get("height"), config.get("width")]
    else:
        shape = config.get("batch_shape") or config.get("batch_input_shape")
        if not isinstance(shape, list) or len(shape) != 4:
            return None
        sides = shape[1:3] if shape[3] in (1, 3) else shape[2:4]
    if all(isinstance(side, int) and side > 0 for side in sides):
        return sides[0], sides[1]
    return None


def _numbers(kind: str, layer: dict[str, Any]) -> tuple[list[float], list[float]] | None:
    """Return the factor and summand per channel; None if the layer does something else."""
    if kind == "Rescaling":
        config = layer["config"]
        factors, summands = _channels(config.get("scale")), _channels(config.get("offset", 0))
        return None if factors is None or summands is None else (factors, summands)
    if kind not in ARITHMETIC:
        return None
    value = _operand(layer)
    if value is None or (kind in ("Divide", "TrueDivide") and 0 in value):
        return None
    ones, zeros = [1.0] * 3, [0.0] * 3
    return {
        "Add": (ones, value),
        "Subtract": (ones, [-number for number in value]),
        "Multiply": (value, zeros),
    }.get(kind) or ([1 / number for number in value], zeros)


def _operand(layer: dict[str, Any]) -> list[float] | None:
    """Return the number in a call such as `x / 127.5`, per channel; None if there is none."""
    try:
        (node,) = layer["inbound_nodes"]
        if isinstance(node, list):  # Keras 2: the tensor's layer, two indices, other arguments
            tensor, _, _, named = node
            return _channels(named["y"]) if isinstance(tensor, str) else None
        tensor, number = node["args"]
        return _channels(number) if isinstance(tensor, dict) else None
    except (KeyError, TypeError, ValueError):
        return None


def _channels(value: Any) -> list[float] | None:
    """Return numbers for red, green and blue from one number or three; None if invalid."""
    values = value if isinstance(value, list) else [value]
    if len(values) not in (1, 3) or not all(
        isinstance(one, int | float) and not isinstance(one, bool) for one in values
    ):
        return None
    return [float(one) for one in values] * (3 // len(values))
