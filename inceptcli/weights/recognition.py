"""Whose weights are these? Told by their keys, never by the file's name."""

from __future__ import annotations

from pathlib import Path

from inceptcli.errors import UserError
from inceptcli.weights import facenet_keys, keras_keys, timm_keys
from inceptcli.weights.foreign_file import ForeignFile
from inceptcli.weights.key_table import KeyTable

TABLES = (
    timm_keys.INCEPTION_V4,
    timm_keys.INCEPTION_RESNET_V2,
    timm_keys.CADENE_INCEPTION_RESNET_V2,
    facenet_keys.INCEPTION_RESNET_V1,
)

KNOWN = "timm, Cadene, facenet-pytorch and Keras's InceptionResNetV2 are read"

OTHER_NETWORKS = {
    "Mixed_5b.branch1x1.": "torchvision's Inception-v3",
    "inception3a.branch1.": "torchvision's GoogLeNet",
    "layer1.0.conv1.": "a ResNet",
    "features.denseblock1.": "a DenseNet",
    "features.0.0.": "torchvision's MobileNet or EfficientNet",
    "conv_stem.": "timm's EfficientNet or MobileNet",
    "features.0.weight": "a VGG or an AlexNet",
    "stages.0.blocks.": "timm's ConvNeXt or a relative",
    "blocks.0.attn.": "a vision transformer",
    "encoder.layers.encoder_layer_0.": "torchvision's vision transformer",
    "model.layers.0.": "a language model",
}
"""Beginnings of keys that people's other networks have."""


def recognise(path: Path, file: ForeignFile) -> KeyTable:
    """The table that knows most of the file's keys.

    Raises:
        UserError: no table knows half of them; says which network it looks like.
    """
    if file.is_keras:
        try:
            return keras_keys.table(file.tensors)
        except ValueError as error:
            raise UserError(f"{path}: looks like another Keras network: {error}") from error
    known = {table.family: table.num_known(file.tensors) for table in TABLES}
    best = max(TABLES, key=lambda table: known[table.family])
    if known[best.family] * 2 <= len(file.tensors):
        raise UserError(f"{path}: {_looks_like(list(file.tensors))}; {KNOWN}")
    return best


def _looks_like(keys: list[str]) -> str:
    for start, network in OTHER_NETWORKS.items():
        if any(key.startswith(start) for key in keys):
            return f"looks like {network}"
    return f"looks like none of the networks known here (its first keys: {', '.join(keys[:3])})"
