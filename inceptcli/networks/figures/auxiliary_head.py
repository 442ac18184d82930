"""The auxiliary classifier that the released networks were trained with; no part of the weights."""

from __future__ import annotations

from inceptcli.networks.boxes import AveragePool, Box, Conv

AUXILIARY_STAGE = "inception_b"
"""The stage whose output the head reads: Mixed_6h of Inception-v4, PreAuxLogits of the other."""


def auxiliary_path() -> list[Box]:
    """From the last 17x17 features, at least 17 high and wide, to 768 channels.

    Source: TF-slim, Inception-v4 and Inception-ResNet-v2. Differs from TF-slim: the second
    convolution is 5x5 at any image size (there it is as large as its input, 5x5 at 299x299), and
    what is left of a larger image is averaged.
    """
    return [
        AveragePool((5, 5), stride=3, valid=True),
        Conv("1x1", 128),
        Conv("5x5", 768, valid=True),
    ]
