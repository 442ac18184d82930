"""Inception-v3, the paper's point of comparison: torchvision's own layers under its own names.

Figures and tables are those of "Rethinking the Inception Architecture" (arXiv 1512.00567).
"""

from __future__ import annotations

from torch import nn

from inceptcli.networks.network import Network, initialize, set_batch_norm
from inceptcli.networks.registry import NetworkOptions

FIGURES = {
    "Conv2d_1a_3x3": "Rethinking, Table 1",
    "Conv2d_2a_3x3": "Rethinking, Table 1",
    "Conv2d_2b_3x3": "Rethinking, Table 1",
    "maxpool1": "Rethinking, Table 1",
    "Conv2d_3b_1x1": "Rethinking, Table 1",
    "Conv2d_4a_3x3": "Rethinking, Table 1",
    "maxpool2": "Rethinking, Table 1",
    "Mixed_5b": "Rethinking, Figure 5",
    "Mixed_5c": "Rethinking, Figure 5",
    "Mixed_5d": "Rethinking, Figure 5",
    "Mixed_6a": "Rethinking, Figure 10",
    "Mixed_6b": "Rethinking, Figure 6",
    "Mixed_6c": "Rethinking, Figure 6",
    "Mixed_6d": "Rethinking, Figure 6",
    "Mixed_6e": "Rethinking, Figure 6",
    "Mixed_7a": "Rethinking, Figure 10",
    "Mixed_7b": "Rethinking, Figure 7",
    "Mixed_7c": "Rethinking, Figure 7",
}


def build(options: NetworkOptions) -> Network:
    """Table 1 of Rethinking, without the auxiliary classifier.

    Differs from Table 1: stem and modules are torchvision's, which follow the released weights.
    """
    from torchvision.models import Inception3

    layers = Inception3(
        options.num_classes, aux_logits=False, init_weights=False, dropout=options.dropout
    )
    return InceptionV3(options, layers)


class InceptionV3(Network):
    """Images (N, C, H, W) in [-1, 1], sides of at least 75 -> logits (N, num_classes).

    State-dict keys are torchvision's. Average pools count their padding, as torchvision's do.
    """

    def __init__(self, options: NetworkOptions, layers: nn.Module) -> None:
        nn.Module.__init__(self)  # the stages are torchvision's, not built from figures
        self.options = options
        self.figures = dict(FIGURES)
        self.head_figures = dict.fromkeys(
            ("average_pooling", "dropout", "fc"), "Rethinking, Table 1"
        )
        for name, layer in layers.named_children():
            self.add_module(name, layer)
        self.num_features = self.classifier.in_features
        first = self.get_submodule("Conv2d_1a_3x3")
        first.conv = nn.Conv2d(options.in_channels, 32, 3, stride=2, bias=False)
        set_batch_norm(self, options)
        initialize(self)

    @property
    def classifier(self) -> nn.Linear:  # type: ignore[override]  # torchvision calls it fc
        """The last layer."""
        layer = self.fc
        assert isinstance(layer, nn.Linear)
        return layer
