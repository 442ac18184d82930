"""How torch.compile divides a training step on a CPU into forward and backward pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch._functorch.partitioners import default_partition
from torch._inductor.custom_graph_pass import CustomPartitionerFn
from torch.fx import GraphModule


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
