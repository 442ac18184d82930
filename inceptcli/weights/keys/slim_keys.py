"""TF-slim's names of the two networks released by the paper's authors, with auxiliary heads.

facenet's Inception-ResNet-v1 also uses TF-slim. Source: nets/inception_v4.py and
nets/inception_resnet_v2.py in TF-slim, src/models/inception_resnet_v1.py in facenet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from inceptcli.data.pixels.preprocessing import Preprocessing
from inceptcli.weights.keys import facenet_keys
from inceptcli.weights.keys.key_table import KeyTable

if TYPE_CHECKING:
    from torch import Tensor

# TF-slim crops the central 87.5 % of each side and resizes without keeping the aspect ratio and
# without antialiasing.
PREPROCESSING = Preprocessing((299, 299), "squash", 0.875, "bilinear", antialias=False)

GAMMA, BETA = "/BatchNorm/gamma", "/BatchNorm/beta"

ENDINGS = {
    ".weight": "/weights",
    ".bias": "/biases",
    ".conv.weight": "/weights",
    ".linear.weight": "/weights",
    ".batch_norm.weight": GAMMA,
    ".batch_norm.bias": BETA,
    ".batch_norm.running_mean": "/BatchNorm/moving_mean",
    ".batch_norm.running_var": "/BatchNorm/moving_variance",
}


def _convolutions(scope: str, paths: dict[str, dict[str, str]]) -> dict[str, str]:
    """Return our convolutions mapped to theirs from a table such as those below."""
    found = {}
    for place, convolutions in paths.items():
        ours, theirs = place.split(" = ")
        for name, convolution in convolutions.items():
            found[f"{ours}.{name}" if ours else name] = f"{scope}/{theirs}{convolution}"
    return found


def _path(name: str, branch: int, *convolutions: str) -> dict[str, str]:
    """Return the convolutions of one of our paths mapped to those of a branch in TF-slim."""
    return {
        f"{name}.{index}": f"Branch_{branch}/Conv2d_{convolution}"
        for index, convolution in enumerate(convolutions)
    }


_INCEPTION_A = (
    _path("direct", 0, "0a_1x1")
    | _path("once", 1, "0a_1x1", "0b_3x3")
    | _path("twice", 2, "0a_1x1", "0b_3x3", "0c_3x3")
    | {"pooled.1": "Branch_3/Conv2d_0b_1x1"}
)
_INCEPTION_B = (
    _path("direct", 0, "0a_1x1")
    | _path("once", 1, "0a_1x1", "0b_1x7", "0c_7x1")
    | _path("twice", 2, "0a_1x1", "0b_7x1", "0c_1x7", "0d_7x1", "0e_1x7")
    | {"pooled.1": "Branch_3/Conv2d_0b_1x1"}
)
_INCEPTION_C = (
    _path("direct", 0, "0a_1x1")
    | _path("once", 1, "0a_1x1")
    | {"once.1.wide.0": "Branch_1/Conv2d_0b_1x3", "once.1.tall.0": "Branch_1/Conv2d_0c_3x1"}
    | _path("twice", 2, "0a_1x1", "0b_3x1", "0c_1x3")
    | {"twice.3.wide.0": "Branch_2/Conv2d_0d_1x3", "twice.3.tall.0": "Branch_2/Conv2d_0e_3x1"}
    | {"pooled.1": "Branch_3/Conv2d_0b_1x1"}
)
_REDUCTION_A = _path("strided", 0, "1a_3x3") | _path("deep", 1, "0a_1x1", "0b_3x3", "1a_3x3")

INCEPTION_V4 = KeyTable(
    family="TF-slim, Inception-v4",
    network="iv4-tf",
    modules=_convolutions(
        "InceptionV4",
        {
            " = ": {
                "stem.0": "Conv2d_1a_3x3",
                "stem.1": "Conv2d_2a_3x3",
                "stem.2": "Conv2d_2b_3x3",
                "stem.3.strided.0": "Mixed_3a/Branch_1/Conv2d_0a_3x3",
                "stem.5.strided.0": "Mixed_5a/Branch_0/Conv2d_1a_3x3",
            },
            "stem.4 = Mixed_4a/": _path("short", 0, "0a_1x1", "1a_3x3")
            | _path("deep", 1, "0a_1x1", "0b_1x7", "0c_7x1", "1a_3x3"),
            "inception_a.0-3 = Mixed_5b-e/": _INCEPTION_A,
            "reduction_a = Mixed_6a/": _REDUCTION_A,
            "inception_b.0-6 = Mixed_6b-h/": _INCEPTION_B,
            "reduction_b = Mixed_7a/": _path("short", 0, "0a_1x1", "1a_3x3")
            | _path("deep", 1, "0a_1x1", "0b_1x7", "0c_7x1", "1a_3x3"),
            "inception_c.0-2 = Mixed_7b-d/": _INCEPTION_C,
            "auxiliary_head = AuxLogits/": {
                "path.1": "Conv2d_1b_1x1",
                "path.2": "Conv2d_2a",
                "classifier": "Aux_logits",
            },
            " = Logits/": {"classifier": "Logits"},
        },
    ),
    preprocessing=PREPROCESSING,
    endings=ENDINGS,
)

_LINEAR = {"linear": "Conv2d_1x1"}
_BLOCK_35 = (
    _path("direct", 0, "1x1")
    | _path("once", 1, "0a_1x1", "0b_3x3")
    | _path("twice", 2, "0a_1x1", "0b_3x3", "0c_3x3")
    | _LINEAR
)
_BLOCK_17 = _path("direct", 0, "1x1") | _path("deep", 1, "0a_1x1", "0b_1x7", "0c_7x1") | _LINEAR
_BLOCK_8 = _path("direct", 0, "1x1") | _path("deep", 1, "0a_1x1", "0b_1x3", "0c_3x1") | _LINEAR
_REDUCTION_B = (
    _path("short", 0, "0a_1x1", "1a_3x3")
    | _path("once", 1, "0a_1x1", "1a_3x3")
    | _path("twice", 2, "0a_1x1", "0b_3x3", "1a_3x3")
)

INCEPTION_RESNET_V2 = KeyTable(
    family="TF-slim, Inception-ResNet-v2",
    network="irv2-tf",
    modules=_convolutions(
        "InceptionResnetV2",
        {
            " = ": {
                "stem.0": "Conv2d_1a_3x3",
                "stem.1": "Conv2d_2a_3x3",
                "stem.2": "Conv2d_2b_3x3",
                "stem.4": "Conv2d_3b_1x1",
                "stem.5": "Conv2d_4a_3x3",
                "projection": "Conv2d_7b_1x1",
            },
            "stem.7 = Mixed_5b/": _path("direct", 0, "1x1")
            | _path("once", 1, "0a_1x1", "0b_5x5")
            | _path("twice", 2, "0a_1x1", "0b_3x3", "0c_3x3")
            | {"pooled.1": "Branch_3/Conv2d_0b_1x1"},
            "inception_a.0-9 = Repeat/block35_1-10/": _BLOCK_35,
            "reduction_a = Mixed_6a/": _REDUCTION_A,
            "inception_b.0-19 = Repeat_1/block17_1-20/": _BLOCK_17,
            "reduction_b = Mixed_7a/": _REDUCTION_B,
            "inception_c.0-8 = Repeat_2/block8_1-9/": _BLOCK_8,
            "inception_c.9 = Block8/": _BLOCK_8,
            "auxiliary_head = AuxLogits/": {
                "path.1": "Conv2d_1b_1x1",
                "path.2": "Conv2d_2a_5x5",
                "classifier": "Logits",
            },
            " = Logits/": {"classifier": "Logits"},
        },
    ),
    preprocessing=PREPROCESSING,
    endings=ENDINGS,
)


INCEPTION_RESNET_V1 = KeyTable(
    family="facenet in TensorFlow, Inception-ResNet-v1",
    network="irv1-facenet",
    modules=_convolutions(
        "InceptionResnetV1",
        {
            " = ": {
                "stem.0": "Conv2d_1a_3x3",
                "stem.1": "Conv2d_2a_3x3",
                "stem.2": "Conv2d_2b_3x3",
                "stem.4": "Conv2d_3b_1x1",
                "stem.5": "Conv2d_4a_3x3",
                "stem.6": "Conv2d_4b_3x3",
                "embedding": "Bottleneck",
            },
            "inception_a.0-4 = Repeat/block35_1-5/": _BLOCK_35,
            "reduction_a = Mixed_6a/": _REDUCTION_A,
            "inception_b.0-9 = Repeat_1/block17_1-10/": _BLOCK_17,
            "reduction_b = Mixed_7a/": _REDUCTION_B,
            "inception_c.0-4 = Repeat_2/block8_1-5/": _BLOCK_8,
            "inception_c.5 = Block8/": _BLOCK_8,
        },
    )
    | {"classifier": "Logits"},
    preprocessing=facenet_keys.INCEPTION_RESNET_V1.preprocessing,
    imagenet=False,
    endings=ENDINGS,
)


def with_gammas(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Add ones for the gammas that TF-slim's batch norms do not have."""
    import torch

    gammas = {
        name.removesuffix(BETA) + GAMMA: torch.ones_like(tensor)
        for name, tensor in tensors.items()
        if name.endswith(BETA)
    }
    return gammas | tensors
