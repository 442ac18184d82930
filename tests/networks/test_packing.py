from __future__ import annotations

import pytest
import torch
from torch import nn

from inceptcli.networks.folding import fold_batch_norm
from inceptcli.networks.packing import PackedConvolution, can_pack, pack_convolutions
from inceptcli.networks.registry import NETWORKS, build, network_options

needs_operators = pytest.mark.skipif(not can_pack(), reason="needs an x86 processor")


def test_torch_has_the_operators(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    assert can_pack()
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    assert not can_pack()


@needs_operators
@pytest.mark.parametrize("name", NETWORKS)
def test_packed_networks_give_the_same_logits(name: str) -> None:
    torch.manual_seed(0)
    small = {} if NETWORKS[name].repeats is None else {"repeats": (1, 1, 2)}
    network = build(network_options(name, num_classes=10, **small)).eval()
    fold_batch_norm(network)
    network.to(memory_format=torch.channels_last)
    images = torch.rand(1, 3, 96, 96).to(memory_format=torch.channels_last) * 2 - 1
    with torch.inference_mode():
        expected = network(images)
        pack_convolutions(network)
        found, again = network(images), network(images)
    parts = [part for part in network.modules() if isinstance(part, PackedConvolution)]
    assert parts
    assert all(part.weight.is_mkldnn for part in parts)
    assert not any(isinstance(part, nn.Conv2d) for part in network.modules())
    assert float((found - expected).abs().max() / expected.std()) < 1e-4
    assert torch.equal(found, again)


@needs_operators
@pytest.mark.parametrize("rectified", [False, True])
def test_another_size_and_a_gradient_are_right_too(rectified: bool) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(16, 32, (1, 7), stride=2, padding=(0, 3))
    packed = PackedConvolution(conv, rectified)
    expected = nn.Sequential(conv, nn.ReLU() if rectified else nn.Identity())
    for side in (33, 20):
        features = torch.randn(1, 16, side, side)
        with torch.inference_mode():
            torch.testing.assert_close(packed(features), expected(features))
    assert packed.weight.is_mkldnn
    ours, theirs = (features.clone().requires_grad_() for _ in range(2))
    packed(ours).square().sum().backward()
    expected(theirs).square().sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad)
