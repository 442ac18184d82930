"""The auxiliary classifier of the released training code."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from inceptcli.networks.figures.auxiliary_head import AUXILIARY_STAGE
from inceptcli.networks.network import AuxiliaryHead
from inceptcli.networks.registry import NETWORKS, build, describe, network_options
from inceptcli.networks.state_dict import auxiliary_head_shapes


@pytest.mark.parametrize(
    ("name", "parameters"), [("iv4-tf", 3_359_464), ("irv2-tf", 3_367_656), ("iv3", 3_326_696)]
)
def test_it_has_the_parameters_of_the_released_one(name: str, parameters: int) -> None:
    with torch.device("meta"):
        head = AuxiliaryHead(network_options(name))
    assert sum(parameter.numel() for parameter in head.parameters()) == parameters


@pytest.mark.parametrize(
    ("name", "channels"),
    [("irv2-tf", 1088), ("iv4-tf", 1024), ("iv4", 1024), ("irv1", 896), ("irv2", 1152)],
)
def test_it_reads_the_last_17x17_features(name: str, channels: int) -> None:
    assert NETWORKS[name].has_auxiliary_head
    options = network_options(name, num_classes=7)
    with torch.device("meta"):
        network, head = build(options).eval(), AuxiliaryHead(options).eval()
        stages = dict(network.forward_stages(torch.empty(1, 3, 299, 299)))
        assert stages[AUXILIARY_STAGE].shape == (1, channels, 17, 17)
        assert head(stages[AUXILIARY_STAGE]).shape == (1, 7)
        assert head(torch.empty(2, channels, 24, 20)).shape == (2, 7)
    convolutions = [part for part in head.modules() if isinstance(part, nn.Conv2d)]
    assert [part.kernel_size for part in convolutions] == [(1, 1), (5, 5)]
    assert [part.padding for part in convolutions] == [(0, 0), (0, 0)]


def test_its_pool_is_5x5_with_stride_3() -> None:
    head = AuxiliaryHead(network_options("irv2-tf", num_classes=2, repeats=[1, 1, 1]))
    pooled = head.path.get_submodule("0")(torch.arange(289.0).view(1, 1, 17, 17))
    assert pooled.shape == (1, 1, 5, 5)
    assert pooled[0, 0, 0, 0] == torch.arange(289.0).view(17, 17)[:5, :5].mean()


@pytest.mark.parametrize("name", NETWORKS)
def test_its_keys_and_shapes_are_known_without_torch(name: str) -> None:
    options = network_options(name, num_classes=9, in_channels=1, width=0.25)
    with torch.device("meta"):
        tensors = AuxiliaryHead(options).state_dict()
    shapes = auxiliary_head_shapes(describe(options))
    assert list(shapes.items()) == [(key, tuple(part.shape)) for key, part in tensors.items()]


def test_it_computes_what_torchvisions_computes() -> None:
    from torchvision.models.inception import InceptionAux

    torch.manual_seed(0)
    ours = AuxiliaryHead(network_options("iv3", num_classes=7)).eval()
    theirs = InceptionAux(768, 7).eval()
    tensors = zip(theirs.state_dict(), ours.state_dict().values(), strict=True)
    theirs.load_state_dict(dict(tensors))
    features = torch.rand(2, 768, 17, 17)
    with torch.no_grad():
        torch.testing.assert_close(ours(features), theirs(features))
