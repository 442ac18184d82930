from __future__ import annotations

from typing import Any

import pytest
import torch

from inceptcli.networks.compiling import compile_stages
from inceptcli.networks.registry import build, network_options


@pytest.mark.slow
def test_the_backward_pass_on_a_cpu_reads_no_masks() -> None:
    # To write them takes longer than all else between the convolutions.
    torch.manual_seed(0)
    network = build(network_options("irv1", repeats=(1, 1, 1))).train()
    compile_stages(network, "cpu")
    (module,) = network.get_submodule("inception_c").children()
    features: Any = torch.randn(2, 1792, 3, 3, requires_grad=True)
    saved = module(features).grad_fn.saved_tensors
    assert saved
    assert not [tensor.shape for tensor in saved if tensor.dtype == torch.bool]
    torch.compiler.reset()
