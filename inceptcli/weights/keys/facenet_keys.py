"""facenet-pytorch's keys of Inception-ResNet-v1 for faces."""

from __future__ import annotations

from inceptcli.data.pixels.preprocessing import Preprocessing
from inceptcli.weights.keys.key_table import KeyTable

INCEPTION_RESNET_V1 = KeyTable(
    family="facenet-pytorch, Inception-ResNet-v1",
    network="irv1-facenet",
    modules={
        "stem.0": "conv2d_1a",
        "stem.1": "conv2d_2a",
        "stem.2": "conv2d_2b",
        "stem.4": "conv2d_3b",
        "stem.5": "conv2d_4a",
        "stem.6": "conv2d_4b",
        "inception_a.0-4.direct.0": "repeat_1.0-4.branch0",
        "inception_a.0-4.once": "repeat_1.0-4.branch1",
        "inception_a.0-4.twice": "repeat_1.0-4.branch2",
        "inception_a.0-4.linear": "repeat_1.0-4.conv2d",
        "reduction_a.strided.0": "mixed_6a.branch0",
        "reduction_a.deep": "mixed_6a.branch1",
        "inception_b.0-9.direct.0": "repeat_2.0-9.branch0",
        "inception_b.0-9.deep": "repeat_2.0-9.branch1",
        "inception_b.0-9.linear": "repeat_2.0-9.conv2d",
        "reduction_b.short": "mixed_7a.branch0",
        "reduction_b.once": "mixed_7a.branch1",
        "reduction_b.twice": "mixed_7a.branch2",
        "inception_c.0-4.direct.0": "repeat_3.0-4.branch0",
        "inception_c.0-4.deep": "repeat_3.0-4.branch1",
        "inception_c.0-4.linear": "repeat_3.0-4.conv2d",
        "inception_c.5.direct.0": "block8.branch0",
        "inception_c.5.deep": "block8.branch1",
        "inception_c.5.linear": "block8.conv2d",
        "embedding.linear": "last_linear",
        "embedding.batch_norm": "last_bn",
        "classifier": "logits",
    },
    # The library normalizes aligned faces of 160x160 pixels by (value - 127.5) / 128.
    preprocessing=Preprocessing(
        (160, 160),
        "squash",
        1.0,
        "bilinear",
        mean=(127.5 / 255, 127.5 / 255, 127.5 / 255),
        std=(128 / 255, 128 / 255, 128 / 255),
    ),
    imagenet=False,
)
