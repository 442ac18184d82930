from __future__ import annotations

import pytest
import torch
from torch import nn

from inceptcli.networks.folding import fold_batch_norm
from inceptcli.networks.registry import NETWORKS, build, network_options


@pytest.mark.parametrize("name", NETWORKS)
def test_folded_networks_give_the_same_logits_without_their_batch_norms(name: str) -> None:
    torch.manual_seed(0)
    small = {} if NETWORKS[name].repeats is None else {"repeats": (1, 1, 2)}
    network = build(network_options(name, num_classes=10, **small)).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3)  # type: ignore[union-attr]
            module.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.3)
    images = torch.rand(2, 3, 96, 96) * 2 - 1
    with torch.inference_mode():
        expected = network(images)
        fold_batch_norm(network)
        found = network(images)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in network.modules())
    assert float((found - expected).abs().max() / expected.std()) < 1e-4
