"""Released layouts against other libraries' networks, same weights in both."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from inceptcli.networks.network import Network
from inceptcli.networks.registry import build, network_options
from inceptcli.weights.keys.torchvision_keys import INCEPTION_V3

pytestmark = [pytest.mark.parity, pytest.mark.system]

CLASSES = 11
# Grids of 15, 7 and 3: small enough to be quick, large enough for every kernel and padding.
SIDE = 139


def images(count: int, seed: int) -> Tensor:
    """Smooth pictures and their noise, so that neighboring pixels have something to say."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 9, 9, generator=generator)
    smooth = nn.functional.interpolate(coarse, (SIDE, SIDE), mode="bilinear")
    noise = torch.rand(count, 3, SIDE, SIDE, generator=generator)
    return 1.5 * smooth + 0.5 * noise - 1


def make_realistic(network: nn.Module) -> nn.Module:
    """Draw batch norm's weights and let one training pass set its statistics."""
    torch.manual_seed(3)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.3)
            module.momentum = 1.0
    with torch.no_grad():
        network.train()(images(4, seed=4))
    return network.eval()


def with_weights_of(theirs: nn.Module, name: str) -> Network:
    """Our layout with their tensors; both create their boxes in the figures' order."""
    with torch.device("meta"):
        ours = build(network_options(name, num_classes=CLASSES))
    tensors = theirs.state_dict().values()
    ours.load_state_dict(dict(zip(ours.state_dict(), tensors, strict=True)), assign=True)
    return ours.eval()


def assert_same_logits(ours: nn.Module, theirs: nn.Module) -> None:
    with torch.no_grad():
        expected, logits = theirs(images(2, seed=5)), ours(images(2, seed=5))
    assert (logits - expected).abs().max() <= 1e-4 * expected.std()


@pytest.mark.parametrize(
    ("name", "timm_name"), [("iv4-tf", "inception_v4"), ("irv2-tf", "inception_resnet_v2")]
)
def test_released_layout_computes_what_timm_computes(name: str, timm_name: str) -> None:
    timm = pytest.importorskip("timm")
    torch.manual_seed(2)
    theirs = make_realistic(timm.create_model(timm_name, num_classes=CLASSES, drop_rate=0.0))
    assert_same_logits(with_weights_of(theirs, name), theirs)


@pytest.fixture(scope="module")
def torchvisions() -> nn.Module:
    from torchvision.models import Inception3

    torch.manual_seed(2)
    return make_realistic(Inception3(CLASSES, aux_logits=False, init_weights=False, dropout=0.0))


def with_torchvisions_weights(theirs: nn.Module, **options: Any) -> Network:
    """Ours with their tensors, by the key table with which files of theirs are imported."""
    with torch.device("meta"):
        ours = build(network_options("iv3", num_classes=CLASSES, **options))
    tensors, keys = theirs.state_dict(), INCEPTION_V3.theirs(ours.state_dict())
    assert list(keys.values()) == list(tensors)  # none is left over, and their order is ours
    ours.load_state_dict({key: tensors[other] for key, other in keys.items()}, assign=True)
    return ours.eval()


def test_inception_v3_computes_what_torchvision_computes(torchvisions: nn.Module) -> None:
    ours = with_torchvisions_weights(torchvisions, **INCEPTION_V3.options)
    assert ours.options.count_padding
    assert_same_logits(ours, torchvisions)


def test_without_counted_padding_it_computes_something_else(torchvisions: nn.Module) -> None:
    ours = with_torchvisions_weights(torchvisions)
    with pytest.raises(AssertionError):
        assert_same_logits(ours, torchvisions)
