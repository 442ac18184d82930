"""How much memory does batch norm on the sums of residual modules take? Section 3.2 leaves it out.

    python -m tests.benchmarks.batch_norm_memory

Bytes that a training step at 299 pixels keeps for the backward pass, for each further image of a
batch, in float32. They are counted in autograd's hooks on tensors without data, so the counts are
exact and the same on every machine. Prints them and writes JSON to tests/benchmarks/results/.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from inceptcli.networks.network import Network
from inceptcli.networks.registry import NetworkOptions, OnSums, build, network_options
from tests.benchmarks.comparison import write

IMAGE_SIZE = 299
NETWORKS = {
    "irv1": network_options("irv1"),
    "irv2": network_options("irv2"),
    "irv2 10-20-10": network_options("irv2", repeats=(10, 20, 10)),
}
ON_SUMS: tuple[OnSums, ...] = ("none", "last", "all")


def bytes_per_image(options: NetworkOptions, side: int, device: str = "meta") -> int:
    """Bytes that the forward pass in training keeps for each further image of `side` pixels."""
    with torch.device(device):
        network = build(options).train()
        one, two = (_kept(network, torch.zeros(batch, 3, side, side)) for batch in (2, 3))
    return two - one


def _kept(network: Network, images: Tensor) -> int:
    """Bytes of the storages that autograd saves, each once, weights too."""
    saved: dict[int, Tensor] = {}

    def pack(tensor: Tensor) -> Tensor:
        saved.setdefault(tensor.untyped_storage()._cdata, tensor)  # kept, so that no number recurs
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        logits = network(images)
    assert logits.requires_grad
    return sum(each.untyped_storage().nbytes() for each in saved.values())


def main() -> None:
    """Count, print and write."""
    found: dict[str, dict[str, int]] = {}
    for name, options in NETWORKS.items():
        found[name] = {
            on_sums: bytes_per_image(replace(options, batch_norm_on_sums=on_sums), IMAGE_SIZE)
            for on_sums in ON_SUMS
        }
        shown = ", ".join(f"{key} {each / 2**20:.1f} MiB" for key, each in found[name].items())
        print(f"{name}: batch norm on the sums {shown}", flush=True)
    write("batch_norm_memory", ("torch",), {"image_size": IMAGE_SIZE, "networks": found})


if __name__ == "__main__":
    main()
