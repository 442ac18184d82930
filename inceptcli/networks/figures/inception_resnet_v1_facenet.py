"""Inception-ResNet-v1 as released for faces: a sixth C module and a 512-d embedding.

Source: facenet and facenet-pytorch; all stages but the last are the paper's. The classifier reads
the embedding before normalization; faces are compared by embeddings of length 1.
"""

from __future__ import annotations

from dataclasses import replace

from inceptcli.networks.boxes import Description, Stage
from inceptcli.networks.figures import inception_resnet_v1
from inceptcli.networks.figures.inception_resnet_v1 import inception_resnet_c
from inceptcli.networks.registry import NetworkOptions


def describe(options: NetworkOptions) -> Description:
    """Figure 15, the overall schema, with an embedding between dropout and classifier.

    Differs from Figure 15: six C modules, the last with scale 1 and no ReLU, as in the released
    weights.
    """
    assert options.repeats is not None
    assert options.residual_scales is not None
    repeated = [inception_resnet_c(options.residual_scales[2])] * (options.repeats[2] - 1)
    last = inception_resnet_c(1.0, activation=False)
    paper = inception_resnet_v1.describe(options)
    stages = [*paper.stages[:-1], Stage("inception_c", "Figure 13", [*repeated, last])]
    return replace(paper, stages=stages, embedding_width=512)
