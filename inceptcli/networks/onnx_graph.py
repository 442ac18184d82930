"""The ONNX graph of a described network: pixels in, logits and features out. No torch.

Nodes are named after the figures' boxes (`inception_a.0.twice.1`), parameters after their
state-dict keys. The graph contains only the shapes of the parameters; the caller adds the values.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from onnx import ModelProto, TensorProto, helper

from inceptcli.networks.boxes import (
    AveragePool,
    Boxes,
    Conv,
    Description,
    Fork,
    MaxPool,
    Residual,
    Window,
    channels_after,
    joined_channels,
)
from inceptcli.networks.state_dict import STATISTICS

OPSET = 20
"""Supported by ONNX Runtime since 1.17 (January 2024); these networks need no newer opset."""

IR_VERSIONS = {18: 8, 19: 9, 20: 9, 21: 10, 22: 10, 23: 11}
"""File format version released with each opset; older runtimes do not read newer versions."""

LUMA = (0.299, 0.587, 0.114)
"""ITU-R 601 weights of red, green and blue, as in data/pixels/normalization.py."""

SHORTEST = 1e-12
"""Lower bound of an embedding's length when normalizing, as in torch.nn.functional.normalize."""


def onnx_graph(
    description: Description,
    image_size: tuple[int, int],
    mean: Sequence[float],
    std: Sequence[float],
    *,
    has_classifier: bool = True,
    folded: bool = False,
    opset: int = OPSET,
) -> ModelProto:
    """Build the graph from `images` (N, H, W, 3), uint8 RGB, to `logits` and `features`.

    N is dynamic. Logits are (N, num_classes) and are left out without a trained classifier.
    Features are the embeddings (N, num_features). A single mean stands for a network with gray
    images. Parameters are external data. With `folded`, batch norms are folded into the
    convolutions, whose parameters are `NAME.conv.weight` and `NAME.conv.bias`.
    """
    graph = _Graph(description, folded)
    features = graph.normalized("images", mean, std)
    channels = description.options.in_channels
    for stage in description.stages:
        features = graph.boxes(stage.name, stage.boxes, features, channels)
        channels = channels_after(stage.boxes, channels)
    read = graph.pooled(features, channels)
    outputs = {"features": description.num_features}
    graph.embeddings(read, "features")
    if has_classifier:
        outputs = {"logits": description.options.num_classes} | outputs
        graph.linear("classifier", read, description.num_features, "logits")
    height, width = image_size
    made = helper.make_graph(
        graph.nodes,
        description.options.name,
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["batch", height, width, 3])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", size])
            for name, size in outputs.items()
        ],
        graph.initializers,
    )
    model: ModelProto = helper.make_model(
        made,
        opset_imports=[helper.make_opsetid("", opset)],
        ir_version=IR_VERSIONS[opset],
        producer_name="inceptcli",
    )
    return model


class _Graph:
    """Nodes and initializers under construction; each method returns the name of its output."""

    def __init__(self, description: Description, folded: bool) -> None:
        self.description, self.options = description, description.options
        self.folded = folded
        self.nodes: list[Any] = []
        self.initializers: list[TensorProto] = []

    def normalized(self, images: str, mean: Sequence[float], std: Sequence[float]) -> str:
        """Convert NHWC uint8 pixels to NCHW float32 (value / 255 - mean) / std."""
        turned = self._node("Transpose", "images.channels_first", [images], perm=[0, 3, 1, 2])
        pixels = self._node("Cast", "images.float32", [turned], to=TensorProto.FLOAT)
        if len(mean) == 1:
            weights = self._constant("images.luma_weights", LUMA, (1, 3, 1, 1))
            weighted = self._node("Mul", "images.weighted", [pixels, weights])
            axis = self._constant("images.channel_axis", [1])
            pixels = self._node("ReduceSum", "images.luma", [weighted, axis], keepdims=1)
        shape = (1, len(mean), 1, 1)
        scale = self._constant("images.scale", [1 / (255 * each) for each in std], shape)
        offset = self._constant(
            "images.offset", [m / s for m, s in zip(mean, std, strict=True)], shape
        )
        scaled = self._node("Mul", "images.scaled", [pixels, scale])
        return self._node("Sub", "images.normalized", [scaled, offset])

    def boxes(self, name: str, boxes: Boxes, features: str, channels: int) -> str:
        """Add `boxes`, with `features` of `channels` channels as input."""
        match boxes:
            case Conv():
                return self._relu(name, self._conv(name, boxes, features, channels))
            case MaxPool():
                return self._node("MaxPool", name, [features], **_window(boxes))
            case AveragePool():
                counted = int(self.options.count_padding)
                window = _window(boxes)
                return self._node(
                    "AveragePool", name, [features], count_include_pad=counted, **window
                )
            case Fork():
                paths = [
                    self.boxes(f"{name}.{path_name}", path, features, channels)
                    for path_name, path in boxes.paths.items()
                ]
                joined = self._node("Concat", f"{name}.concat", paths, axis=1)
                if not isinstance(boxes, Residual):
                    return joined
                return self._sum(name, boxes, features, joined, channels)
        for index, box in enumerate(boxes):
            features = self.boxes(f"{name}.{index}", box, features, channels)
            channels = channels_after(box, channels)
        return features

    def pooled(self, features: str, channels: int) -> str:
        """Add the penultimate features: the average over the grid, then the embedding, if any."""
        average = self._node("GlobalAveragePool", "average_pooling", [features])
        read = self._node("Flatten", "average_pooling.flat", [average])
        if (width := self.description.embedding_width) is None:
            return read
        if self.folded:
            return self.linear("embedding.linear", read, channels, "embedding", width)
        weight = self._parameter("embedding.linear.weight", (width, channels))
        embedded = self._node("Gemm", "embedding.linear", [read, weight], transB=1)
        return self._batch_norm("embedding.batch_norm", embedded, width)

    def linear(
        self, name: str, read: str, channels: int, output: str, width: int | None = None
    ) -> str:
        """Add a Linear with bias, with `width` or num_classes outputs."""
        width = width or self.options.num_classes
        weight = self._parameter(f"{name}.weight", (width, channels))
        bias = self._parameter(f"{name}.bias", (width,))
        return self._node("Gemm", name, [read, weight, bias], output, transB=1)

    def embeddings(self, read: str, output: str) -> None:
        """Add the embeddings, normalized to length 1 if the network has an embedding."""
        if self.description.embedding_width is None:
            self._node("Identity", output, [read], output)
            return
        axis = self._constant("embedding.axis", [1])
        length = self._node("ReduceL2", "embedding.length", [read, axis], keepdims=1)
        shortest = self._constant("embedding.shortest", [SHORTEST], ())
        divisor = self._node("Max", "embedding.divisor", [length, shortest])
        self._node("Div", output, [read, divisor], output)

    def _conv(self, name: str, conv: Conv, features: str, channels: int) -> str:
        weight = self._parameter(f"{name}.conv.weight", (conv.channels, channels, *conv.size))
        if self.folded:
            bias = self._parameter(f"{name}.conv.bias", (conv.channels,))
            return self._node("Conv", name, [features, weight, bias], **_window(conv))
        convolved = self._node("Conv", name, [features, weight], **_window(conv))
        return self._batch_norm(f"{name}.batch_norm", convolved, conv.channels)

    def _sum(self, name: str, residual: Residual, features: str, joined: str, channels: int) -> str:
        wide = joined_channels(residual, channels)
        weight = self._parameter(f"{name}.linear.weight", (channels, wide, 1, 1))
        bias = self._parameter(f"{name}.linear.bias", (channels,))
        total = self._node("Conv", f"{name}.linear", [joined, weight, bias], kernel_shape=[1, 1])
        if self.options.shortcut:
            scale = self._constant(f"{name}.scale", [residual.scale], ())
            scaled = self._node("Mul", f"{name}.scaled", [total, scale])
            total = self._node("Add", f"{name}.sum", [features, scaled])
        if residual.batch_norm:
            total = self._batch_norm(f"{name}.sum_batch_norm", total, channels)
        return self._relu(name, total) if residual.activation else total

    def _batch_norm(self, name: str, features: str, width: int) -> str:
        parameters = [self._parameter(f"{name}.{part}", (width,)) for part in STATISTICS]
        epsilon = self.options.batch_norm_eps
        return self._node("BatchNormalization", name, [features, *parameters], epsilon=epsilon)

    def _relu(self, name: str, features: str) -> str:
        return self._node("Relu", f"{name}.relu", [features])

    def _node(
        self, kind: str, name: str, inputs: list[str], output: str | None = None, **attributes: Any
    ) -> str:
        """Add a node; its output is named after the node unless `output` is given."""
        output = output or name
        self.nodes.append(helper.make_node(kind, inputs, [output], name, **attributes))
        return output

    def _constant(self, name: str, values: Sequence[float], shape: Sequence[int] = (1,)) -> str:
        kind = TensorProto.INT64 if isinstance(values[0], int) else TensorProto.FLOAT
        self.initializers.append(helper.make_tensor(name, kind, shape, values))
        return name

    def _parameter(self, name: str, shape: tuple[int, ...]) -> str:
        tensor = TensorProto(
            name=name,
            data_type=TensorProto.FLOAT,
            dims=shape,
            data_location=TensorProto.EXTERNAL,
        )
        tensor.external_data.add(key="location", value="parameters")
        self.initializers.append(tensor)
        return name


def _window(window: Window) -> dict[str, Any]:
    stride = [window.stride, window.stride]
    pads = [*window.padding, *window.padding]
    return {"kernel_shape": list(window.size), "strides": stride, "pads": pads}
