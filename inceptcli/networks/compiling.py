"""Compilation of a network with torch.compile."""

from __future__ import annotations

import sys
from typing import Any

from inceptcli.networks.network import Network
from inceptcli.networks.torch_modules import regions

MOST_VARIANTS = 64
"""Compiled variants per function (sizes, modes, kinds of modules); torch's default limit is 8."""


def compile_stages(network: Network, device: str) -> None:
    """Compile the modules of each stage for "cpu" or "cuda" on their first call.

    Repeated modules share their compiled code: irv2-tf compiles 8 parts, not 44. Shapes are static.
    The dynamic-shape code that torch would generate for a second size rounds differently, so
    results would depend on what was compiled before. torch caches compiled code for later processes
    in TORCHINDUCTOR_CACHE_DIR. Register hooks before calling this function.
    """
    import torch._dynamo

    torch._dynamo.config.recompile_limit = MOST_VARIANTS
    options: dict[str, object] = {}
    if device == "cpu":
        options["custom_partitioner_fn"] = as_in_eager_mode()
    for name in network.figures:
        for module in regions(network.get_submodule(name)):
            module.compile(dynamic=False, options=options)


def compilation_failure(error: Exception) -> str | None:
    """Return a one-line message for an error raised by torch.compile; None for other errors."""
    errors = sys.modules.get("torch._dynamo.exc")
    if errors is None or not isinstance(error, errors.TorchDynamoException):
        return None
    reason = str(error).strip().splitlines()[0]
    return (
        f"torch.compile fails: {reason}; on a CPU it needs a C++ compiler such as g++; leave out "
        "--compile to run without it"
    )


def as_in_eager_mode() -> Any:
    """Return a partitioner whose backward pass reads the same activations as in eager mode.

    By default torch stores a one-byte mask per ReLU value instead of the four-byte activation.
    With AVX-512, writing these masks takes longer than all other work between the convolutions.
    """
    # They take longer to import than torch, and nothing else needs them.
    from torch._functorch.partitioners import default_partition
    from torch._inductor.custom_graph_pass import CustomPartitionerFn

    class AsInEagerMode(CustomPartitionerFn):
        def __call__(self, gm: Any, joint_inputs: Any, **settings: Any) -> Any:
            settings.pop("compiler", None)  # set by inductor; default_partition does not accept it
            return default_partition(gm, joint_inputs, **settings)

        def uuid(self) -> str:
            """Return the part of torch's cache key that identifies this partitioner."""
            return "inceptcli: as in eager mode"

    return AsInEagerMode()
