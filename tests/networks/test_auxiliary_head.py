"""The auxiliary classifier of the released training code."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from inceptcli.networks.auxiliary_head import AUXILIARY_STAGE, AuxiliaryHead
from inceptcli.networks.registry import build, network_options


@pytest.mark.parametrize(("name", "parameters"), [("iv4-tf", 3_359_464), ("irv2-tf", 3_367_656)])
def test_it_has_the_parameters_of_the_released_one(name: str, parameters: int) -> None:
    with torch.device("meta"):
        head = AuxiliaryHead(build(network_options(name)))
    assert sum(parameter.numel() for parameter in head.parameters()) == parameters


def test_it_reads_the_last_17x17_features() -> None:
    with torch.device("meta"):
        network = build(network_options("irv2-tf", num_classes=7)).eval()
        head = AuxiliaryHead(network).eval()
        stages = dict(network.forward_stages(torch.empty(1, 3, 299, 299)))
        assert stages[AUXILIARY_STAGE].shape == (1, 1088, 17, 17)
        assert head(stages[AUXILIARY_STAGE]).shape == (1, 7)
        assert head(torch.empty(2, 1088, 24, 20)).shape == (2, 7)
    convolutions = [part for part in head.modules() if isinstance(part, nn.Conv2d)]
    assert [part.kernel_size for part in convolutions] == [(1, 1), (5, 5)]
    assert [part.padding for part in convolutions] == [(0, 0), (0, 0)]


def test_its_pool_is_5x5_with_stride_3() -> None:
    network = build(network_options("irv2-tf", num_classes=2, repeats=[1, 1, 1]))
    head = AuxiliaryHead(network)
    pooled = head.path.get_submodule("0")(torch.arange(289.0).view(1, 1, 17, 17))
    assert pooled.shape == (1, 1, 5, 5)
    assert pooled[0, 0, 0, 0] == torch.arange(289.0).view(17, 17)[:5, :5].mean()
