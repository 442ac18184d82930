"""The auxiliary classifier that the released networks were trained with; no part of the weights."""

from __future__ import annotations

from torch import Tensor, nn

from inceptcli.networks.blocks import Box, Path, Pool, Step, conv
from inceptcli.networks.network import Network, initialize, set_batch_norm

AUXILIARY_STAGE = "inception_b"
"""The stage whose output the head reads: Mixed_6h of Inception-v4, PreAuxLogits of the other."""


class AuxiliaryHead(nn.Module):
    """The last 17x17 features (N, in_channels, H, W), H and W at least 17 -> logits (N, classes).

    Source: TF-slim, Inception-v4 and Inception-ResNet-v2. Differs from TF-slim: the second
    convolution is 5x5 at any image size (there it is as large as its input, 5x5 at 299x299), and
    what is left of a larger image is averaged.
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        stage = network.get_submodule(AUXILIARY_STAGE)
        assert isinstance(stage, Box)
        steps: list[Step] = [
            lambda width: Pool(width, "average", 3, valid=True, side=5),
            conv("1x1", 128),
            conv("5x5", 768, valid=True),
        ]
        self.path = Path(stage.out_channels, steps)
        self.classifier = nn.Linear(self.path.out_channels, network.options.num_classes)
        set_batch_norm(self, network.options)
        initialize(self)

    def forward(self, features: Tensor) -> Tensor:
        """(N, in_channels, H, W) -> logits (N, num_classes)."""
        logits: Tensor = self.classifier(self.path(features).mean(dim=(2, 3)))
        return logits
