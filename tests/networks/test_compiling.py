from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from inceptcli.networks.compiling import compile_stages
from inceptcli.networks.network import Network
from inceptcli.networks.registry import build, network_options
from tests.compiler import needs_compiler

pytestmark = [
    needs_compiler,
    pytest.mark.system,
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning"),  # torch's own
]


@pytest.fixture(autouse=True)
def forget_what_was_compiled() -> Iterator[None]:
    yield
    torch.compiler.reset()


def compiled() -> Network:
    torch.manual_seed(0)
    network = build(network_options("irv1", repeats=(1, 1, 1), dropout=0.0)).train()
    compile_stages(network, "cpu")
    return network


def test_the_backward_pass_on_a_cpu_reads_no_masks() -> None:
    # To write them takes longer than all else between the convolutions.
    (module,) = compiled().get_submodule("inception_c").children()
    features: Any = torch.randn(2, 1792, 3, 3, requires_grad=True)
    saved = module(features).grad_fn.saved_tensors
    assert saved
    assert not [tensor.shape for tensor in saved if tensor.dtype == torch.bool]


def test_what_was_compiled_before_changes_no_bit() -> None:
    def gradients(features: Tensor) -> list[Tensor]:
        (module,) = compiled().get_submodule("inception_a").children()
        module(features).logsumexp(1).sum().backward()
        return [part.grad for part in module.parameters() if part.grad is not None]

    features = torch.rand(4, 256, 7, 7, generator=torch.Generator().manual_seed(0))
    first = gradients(features)
    gradients(features[:3])
    assert first
    assert all(map(torch.equal, gradients(features), first))
