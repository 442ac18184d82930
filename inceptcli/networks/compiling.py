"""torch.compile for a network, on request."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from torch._functorch.partitioners import default_partition
from torch._inductor.custom_graph_pass import CustomPartitionerFn
from torch.fx import GraphModule

from inceptcli.networks.network import Network
from inceptcli.networks.torch_modules import regions

MOST_VARIANTS = 64
"""Of compiled code: sizes, modes and kinds of modules; torch gives up at 8."""


def compile_stages(network: Network, device: str) -> None:
    """Compile what the stages are made of for "cpu" or "cuda", each when it is first called.

    Modules of a repeat share their code: irv2-tf has 8 parts to compile, not 44. Each code is for
    one size alone: that for all sizes, which torch would make at the second one, rounds otherwise,
    so that steps depended on what was compiled before. What was compiled is kept by torch, in
    TORCHINDUCTOR_CACHE_DIR, and a later process finds it there. Hooks must be there before.
    """
    import torch._dynamo

    torch._dynamo.config.recompile_limit = MOST_VARIANTS
    options: dict[str, object] = {}
    if device == "cpu":
        options["custom_partitioner_fn"] = AsInEagerMode()
    for name in network.figures:
        for module in regions(network.get_submodule(name)):
            module.compile(dynamic=False, options=options)


def compilation_failure(error: Exception) -> str | None:
    """A line about an error that torch.compile raised at a call; None for any other error."""
    errors = sys.modules.get("torch._dynamo.exc")
    if errors is None or not isinstance(error, errors.TorchDynamoException):
        return None
    reason = str(error).strip().splitlines()[0]
    return (
        f"torch.compile fails: {reason}; on a CPU it needs a C++ compiler such as g++; without "
        "--compile the same is computed"
    )


class AsInEagerMode(CustomPartitionerFn):
    """The backward pass reads the activations that it reads in eager mode.

    By default torch keeps for each ReLU which values it cut, a byte instead of four. To write
    those bytes takes AVX-512 code longer than all other work between the convolutions.
    """

    def __call__(
        self, gm: GraphModule, joint_inputs: Sequence[object], **settings: Any
    ) -> tuple[GraphModule, GraphModule]:
        """The graphs of both passes."""
        settings.pop("compiler", None)  # inductor's name, which only its own asks for
        return default_partition(gm, joint_inputs, **settings)

    def uuid(self) -> str:
        """Part of the key under which torch keeps what it compiled."""
        return "inceptcli: as in eager mode"
