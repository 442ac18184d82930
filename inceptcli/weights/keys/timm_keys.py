"""timm's and Cadene's keys of the two networks released for ImageNet.

Cadene's pretrained-models use another name for one classifier, which has 1001 rows; the first is
TensorFlow's background class.
"""

from __future__ import annotations

from inceptcli.data.pixels.preprocessing import Preprocessing
from inceptcli.weights.keys.key_table import KeyTable

INCEPTION_V4 = KeyTable(
    family="timm or Cadene, Inception-v4",
    network="iv4-tf",
    modules={
        "stem.0": "features.0",
        "stem.1": "features.1",
        "stem.2": "features.2",
        "stem.3.strided.0": "features.3.conv",
        "stem.4.short": "features.4.branch0",
        "stem.4.deep": "features.4.branch1",
        "stem.5.strided.0": "features.5.conv",
        "inception_a.0-3.direct.0": "features.6-9.branch0",
        "inception_a.0-3.once": "features.6-9.branch1",
        "inception_a.0-3.twice": "features.6-9.branch2",
        "inception_a.0-3.pooled": "features.6-9.branch3",
        "reduction_a.strided.0": "features.10.branch0",
        "reduction_a.deep": "features.10.branch1",
        "inception_b.0-6.direct.0": "features.11-17.branch0",
        "inception_b.0-6.once": "features.11-17.branch1",
        "inception_b.0-6.twice": "features.11-17.branch2",
        "inception_b.0-6.pooled": "features.11-17.branch3",
        "reduction_b.short": "features.18.branch0",
        "reduction_b.deep": "features.18.branch1",
        "inception_c.0-2.direct.0": "features.19-21.branch0",
        "inception_c.0-2.once.0": "features.19-21.branch1_0",
        "inception_c.0-2.once.1.wide.0": "features.19-21.branch1_1a",
        "inception_c.0-2.once.1.tall.0": "features.19-21.branch1_1b",
        "inception_c.0-2.twice.0": "features.19-21.branch2_0",
        "inception_c.0-2.twice.1": "features.19-21.branch2_1",
        "inception_c.0-2.twice.2": "features.19-21.branch2_2",
        "inception_c.0-2.twice.3.wide.0": "features.19-21.branch2_3a",
        "inception_c.0-2.twice.3.tall.0": "features.19-21.branch2_3b",
        "inception_c.0-2.pooled": "features.19-21.branch3",
        "classifier": "last_linear",
    },
    preprocessing=Preprocessing((299, 299), crop_fraction=0.875),
)

_INCEPTION_RESNET_V2 = {
    "stem.0": "conv2d_1a",
    "stem.1": "conv2d_2a",
    "stem.2": "conv2d_2b",
    "stem.4": "conv2d_3b",
    "stem.5": "conv2d_4a",
    "stem.7.direct.0": "mixed_5b.branch0",
    "stem.7.once": "mixed_5b.branch1",
    "stem.7.twice": "mixed_5b.branch2",
    "stem.7.pooled": "mixed_5b.branch3",
    "inception_a.0-9.direct.0": "repeat.0-9.branch0",
    "inception_a.0-9.once": "repeat.0-9.branch1",
    "inception_a.0-9.twice": "repeat.0-9.branch2",
    "inception_a.0-9.linear": "repeat.0-9.conv2d",
    "reduction_a.strided.0": "mixed_6a.branch0",
    "reduction_a.deep": "mixed_6a.branch1",
    "inception_b.0-19.direct.0": "repeat_1.0-19.branch0",
    "inception_b.0-19.deep": "repeat_1.0-19.branch1",
    "inception_b.0-19.linear": "repeat_1.0-19.conv2d",
    "reduction_b.short": "mixed_7a.branch0",
    "reduction_b.once": "mixed_7a.branch1",
    "reduction_b.twice": "mixed_7a.branch2",
    "inception_c.0-8.direct.0": "repeat_2.0-8.branch0",
    "inception_c.0-8.deep": "repeat_2.0-8.branch1",
    "inception_c.0-8.linear": "repeat_2.0-8.conv2d",
    "inception_c.9.direct.0": "block8.branch0",
    "inception_c.9.deep": "block8.branch1",
    "inception_c.9.linear": "block8.conv2d",
    "projection": "conv2d_7b",
}

INCEPTION_RESNET_V2 = KeyTable(
    family="timm, Inception-ResNet-v2",
    network="irv2-tf",
    modules={**_INCEPTION_RESNET_V2, "classifier": "classif"},
    preprocessing=Preprocessing((299, 299), crop_fraction=0.8975),
)

CADENE_INCEPTION_RESNET_V2 = KeyTable(
    family="Cadene, Inception-ResNet-v2",
    network="irv2-tf",
    modules={**_INCEPTION_RESNET_V2, "classifier": "last_linear"},
    preprocessing=Preprocessing((299, 299), crop_fraction=0.8975),
)
