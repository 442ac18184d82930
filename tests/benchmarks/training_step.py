"""How fast is a training step beside timm's networks? Batch 8, 299 pixels, float32, all cores.

    python -m tests.benchmarks.training_step

Eager and compiled, with the same images, labels, loss and optimizer (SGD with momentum; ours fused,
as in training). The networks must have the same number of parameters. Also prints which share of
float32 matrix multiplication, measured in the same turns, a step reaches. Compiling takes minutes.
Needs inceptcli[bench]. Writes JSON to tests/benchmarks/results/.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import timm
import torch
from torch import Tensor, nn

from inceptcli.networks.compiling import compile_stages
from inceptcli.networks.registry import build, network_options
from inceptcli.processes.cores import usable_cores
from tests.benchmarks.comparison import in_turns, show, write
from tests.benchmarks.multiplication import MATRICES, multiplication, shares

NETWORKS = {"irv2-tf": "inception_resnet_v2", "iv4-tf": "inception_v4"}
BATCH, ROUNDS = 8, 7


def step(network: nn.Module, images: Tensor, **settings: Any) -> Callable[[], None]:
    """Forward, backward, optimizer."""
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, **settings)
    labels = torch.arange(BATCH)
    network.train()

    def run() -> None:
        loss = nn.functional.cross_entropy(network(images), labels)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return run


def main() -> None:
    """Compare, print."""
    torch.set_num_threads(usable_cores())
    results: dict[str, Any] = {}
    for name, peer in NETWORKS.items():
        torch.manual_seed(0)
        images = torch.randn(BATCH, 3, 299, 299)
        last = images.to(memory_format=torch.channels_last)
        theirs = [timm.create_model(peer) for _ in range(3)]
        ours = [build(network_options(name, dropout=0.0)) for _ in range(2)]
        for network in (*theirs[1:], *ours):
            network.to(memory_format=torch.channels_last)
        counts = {sum(part.numel() for part in net.parameters()) for net in (*theirs, *ours)}
        if len(counts) > 1:
            print(f"{name}: parameters {counts}, no figure")
            continue
        theirs[2].compile()
        compile_stages(ours[1], "cpu")
        contestants = {
            "timm, as it comes": step(theirs[0], images),
            "timm, channels last": step(theirs[1], last),
            "timm, channels last, compiled": step(theirs[2], last),
            "ours": step(ours[0], last, fused=True),
            "ours, compiled": step(ours[1], last, fused=True),
        }
        turns = {**contestants, MATRICES: multiplication()}
        found = in_turns(turns, ROUNDS, time.perf_counter)
        show(f"{name}, batch {BATCH}", found)
        reached = shares(found, name, BATCH, passes=3)
        results[name] = {"contestants": found, "share_of_matrix_multiplication": reached}
    write("training_step", ("torch", "timm"), {"batch": BATCH, "networks": results})


if __name__ == "__main__":
    main()
