"""torch.compile for a network, on request."""

from __future__ import annotations

import sys

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
        from inceptcli.networks.partitioning import AsInEagerMode

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
