from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from inceptcli.networks.registry import NETWORKS, build, network_options
from inceptcli.networks.torch_modules import ResidualModule

pytestmark = pytest.mark.train

STEPS = 3


def trained(name: str, recompute: bool) -> tuple[dict[str, torch.Tensor], int]:
    """The state after three steps, and the bytes kept for the backward pass in the first."""
    torch.manual_seed(0)
    options: dict[str, Any] = {"num_classes": 4}
    if NETWORKS[name].repeats is not None:
        options["repeats"] = (2, 2, 2)
    network = build(network_options(name, **options)).train()
    network.recompute = recompute
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    for step in range(STEPS):
        torch.manual_seed(step)
        images, labels = torch.randn(4, 3, 96, 96), torch.tensor([0, 1, 2, 3])
        if step == 0:
            with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
                loss = nn.functional.cross_entropy(network(images), labels)
        else:
            loss = nn.functional.cross_entropy(network(images), labels)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return network.state_dict(), sum(kept.values())


@pytest.mark.parametrize("name", NETWORKS)
def test_weights_and_statistics_are_those_without_it_and_less_is_kept(name: str) -> None:
    expected, usual = trained(name, recompute=False)
    found, less = trained(name, recompute=True)
    for key, tensor in expected.items():
        assert torch.equal(found[key], tensor), key
    assert less < usual / 2


def test_the_linear_of_a_residual_is_not_computed_again() -> None:
    network = build(network_options("irv2", num_classes=4, repeats=(1, 1, 1))).train()
    network.recompute = True
    computed = {"linear": 0, "paths": 0}

    def count(name: str) -> None:
        computed[name] += 1

    for module in network.modules():
        if isinstance(module, ResidualModule):
            module.linear.register_forward_hook(lambda *_: count("linear"))
            for path in module.paths.values():
                path.register_forward_hook(lambda *_: count("paths"))
    network(torch.randn(2, 3, 75, 75)).sum().backward()
    assert computed["linear"] == 3
    assert computed["paths"] == 2 * (3 + 2 + 2)  # of the paths of Figures 16, 17 and 19
