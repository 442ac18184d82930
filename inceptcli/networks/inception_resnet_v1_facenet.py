"""Inception-ResNet-v1 as released for faces: a sixth C module and a 512-d embedding.

Source: facenet and facenet-pytorch; the trunk is the paper's.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn
from torch.nn import functional

from inceptcli.networks.blocks import Residual, repeat
from inceptcli.networks.inception_resnet_v1 import inception_resnet_c
from inceptcli.networks.inception_resnet_v1 import stages as paper_stages
from inceptcli.networks.network import Network, Stage, initialize, set_batch_norm
from inceptcli.networks.registry import NetworkOptions

EMBEDDING_WIDTH = 512


def build(options: NetworkOptions) -> Network:
    """Figure 15, the overall schema, with an embedding between dropout and classifier."""
    return FaceNetwork(options)


def stages(options: NetworkOptions) -> list[Stage]:
    """The boxes of Figure 15 with the figures of version 1.

    Differs from Figure 15: six C modules, the last with scale 1 and no ReLU, as in the released
    weights.
    """
    assert options.repeats is not None
    assert options.residual_scales is not None
    count, scale, shortcut = options.repeats[2], options.residual_scales[2], options.shortcut

    def c(width: int) -> Residual:
        return inception_resnet_c(width, scale, shortcut)

    def last_c(width: int) -> Residual:
        return inception_resnet_c(width, 1.0, shortcut, activation=False)

    last_stage = Stage("inception_c", "Figure 13", repeat(count, c, last=last_c))
    return [*paper_stages(options)[:-1], last_stage]


class FaceNetwork(Network):
    """Images (N, C, H, W) in [-1, 1], sides of at least 75 -> logits (N, num_classes).

    The classifier reads the embedding before its length is normalised. In training mode a batch
    needs two images or more, for the batch norm of the embedding.
    """

    def __init__(self, options: NetworkOptions) -> None:
        super().__init__(options, stages(options), overall_figure="Figure 15")
        overall_figure = self.head_figures.pop("classifier")
        self.head_figures |= {"embedding": "released code", "classifier": overall_figure}
        linear = nn.Linear(self.num_features, EMBEDDING_WIDTH, bias=False)
        batch_norm = nn.BatchNorm1d(EMBEDDING_WIDTH)
        self.embedding = nn.Sequential(OrderedDict(linear=linear, batch_norm=batch_norm))
        self.classifier = nn.Linear(EMBEDDING_WIDTH, options.num_classes)
        self.num_features = EMBEDDING_WIDTH
        for module in (self.embedding, self.classifier):
            set_batch_norm(module, options)
            initialize(module)

    def embed(self, images: Tensor) -> Tensor:
        """(N, C, H, W) -> embeddings (N, 512) of length 1."""
        return self.embedding_of(self._embedding(images))

    def embedding_of(self, read: Tensor) -> Tensor:
        """(N, 512) -> the same of length 1, as its authors compare faces."""
        return functional.normalize(read, dim=1)

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) -> logits (N, num_classes)."""
        logits: Tensor = self.classifier(self._embedding(images))
        return logits

    def _embedding(self, images: Tensor) -> Tensor:
        embedding: Tensor = self.embedding(
            self.dropout(self.forward_features(images).mean(dim=(2, 3)))
        )
        return embedding
