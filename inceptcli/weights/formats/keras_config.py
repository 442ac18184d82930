"""What a Keras model's configuration says of itself: its layers, and how it prepares images.

Layers are JSON, by which Keras would build them; here they are only looked at. No keras, no torch.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

CONVOLUTIONS = {"Conv2D", "Convolution2D"}
UNREAD = {"Lambda", "Normalization", "SlicingOpLambda", "TFOpLambda", "TensorFlowOpLayer"}
"""Layers that may change pixel values in a way that is not looked at."""

ARITHMETIC = {"Add", "Divide", "Multiply", "Subtract", "TrueDivide"}
"""Of a tensor and a number."""

FUNCTIONS = {
    "__operators__.add": "Add",
    "math.add": "Add",
    "math.divide": "Divide",
    "math.multiply": "Multiply",
    "math.subtract": "Subtract",
    "math.truediv": "TrueDivide",
}
"""The same in Keras 2, where all of it is a TFOpLambda."""

Layer = tuple[str, str, dict[str, Any]]
"""Class, name and JSON."""

MOST_LAYERS = 100_000


@dataclass
class KerasConfig:
    """What a configuration says; nothing where there is none.

    `order` are the names of all layers in the order of `model.layers`, nested ones where their
    model stands. `convolutions` has the strides and the padding ("same" or "valid") of each
    convolution by name, `epsilon` is that of the batch norms. `preprocessing` has fields of
    Preprocessing. `unread` are layers before the first convolution that change pixel values in
    another way than those that are read.
    """

    order: list[str] = field(default_factory=list)
    convolutions: dict[str, tuple[tuple[int, ...], str]] = field(default_factory=dict)
    epsilon: float | None = None
    preprocessing: dict[str, Any] = field(default_factory=dict)
    unread: list[str] = field(default_factory=list)


def parse_keras_config(text: bytes | str | None) -> KerasConfig:
    """The configuration in JSON; ValueError where it is none."""
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
    # Keras counts pixel values to 255, Preprocessing to 1.
    std = [1 / (255 * one) for one in scale]
    mean = [-one * part for one, part in zip(offset, std, strict=True)]
    found.preprocessing["mean"] = tuple(round(value, 9) + 0.0 for value in mean)
    found.preprocessing["std"] = tuple(round(value, 9) for value in std)


def _layers(config: Any) -> Iterator[Layer]:
    """Class, name and JSON of every layer in order, those of nested models in their place."""
    waiting = [config]
    for _ in range(MOST_LAYERS):
        if not waiting:
            return
        layer = waiting.pop()
        if not isinstance(layer, dict):
            continue
        inner = layer.get("config")
        # Sequential models of Keras before 2.2.3 are a list themselves.
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
    """Height and width of the images that leave this layer, where it says so."""
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
    """Factor and summand of each channel; None where the layer does something else."""
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
    """The number that stands after the tensor in a call such as `x / 127.5`."""
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
    """Three numbers for red, green and blue, of one or of a list of three."""
    values = value if isinstance(value, list) else [value]
    if len(values) not in (1, 3) or not all(
        isinstance(one, int | float) and not isinstance(one, bool) for one in values
    ):
        return None
    return [float(one) for one in values] * (3 // len(values))
