"""Auxiliary head with which the authors' code trains the networks; inference does not use it."""

from __future__ import annotations

from inceptcli.networks.boxes import AveragePool, Box, Conv, widened

AUXILIARY_STAGE = "inception_b"
"""Input stage of the head: Mixed_6h in Inception-v4, PreAuxLogits in Inception-ResNet-v2."""


def auxiliary_path(width: float) -> list[Box]:
    """Path from the last 17x17 features, at least 17 high and wide, to `width` x 768 channels.

    Source: TF-slim, Inception-v4 and Inception-ResNet-v2. Differs from TF-slim: the second
    convolution is 5x5 at any image size (TF-slim's is as large as its input, 5x5 at 299x299), and
    its output is averaged over the grid for larger images.
    """
    path: list[Box] = [
        AveragePool((5, 5), stride=3, valid=True),
        Conv("1x1", 128),
        Conv("5x5", 768, valid=True),
    ]
    return [widened(box, width) for box in path]
