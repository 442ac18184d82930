"""What does `--checkpoint-activations` save and cost? Training steps of irv2-tf at 299 pixels.

    python -m tests.benchmarks.activations

Steps of 32 images, float32, SGD with momentum, with and without, each in a process of its own.
Prints peak memory and CPU seconds of a step, but for the first. Writes JSON to
tests/benchmarks/results/.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn

from inceptcli.networks.registry import build, network_options
from tests.benchmarks.comparison import spread, write

BATCH, STEPS = 32, 5


def steps(recompute: bool) -> None:
    """Prints this process's peak memory, MiB, and the CPU seconds of each step but the first."""
    torch.manual_seed(0)
    network = build(network_options("irv2-tf")).train().to(memory_format=torch.channels_last)
    network.recompute = recompute
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, fused=True)
    images = torch.randn(BATCH, 3, 299, 299).to(memory_format=torch.channels_last)
    labels = torch.randint(1000, (BATCH,))
    seconds = []
    for _ in range(1 + STEPS):
        begun = time.process_time()
        loss = nn.functional.cross_entropy(network(images), labels)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        seconds.append(time.process_time() - begun)
    peak = Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]
    print(int(peak) / 1024, *seconds[1:])


def main() -> None:
    """Compare, print."""
    found: dict[str, dict[str, Any]] = {}
    for name in ("kept", "recomputed"):
        command = [sys.executable, "-m", "tests.benchmarks.activations", name]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        peak, *seconds = map(float, done.stdout.split())
        found[name] = {"cpu_seconds": spread(seconds), "peak_mib": peak}
        shown = "{median:.1f} ({min:.1f} to {max:.1f})".format_map(spread(seconds))
        print(f"{name}: {shown} CPU seconds a step, {peak:.0f} MiB at most", flush=True)
    kept, recomputed = found["kept"], found["recomputed"]
    memory = recomputed["peak_mib"] / kept["peak_mib"]
    taken = recomputed["cpu_seconds"]["median"] / kept["cpu_seconds"]["median"]
    print(f"{memory:.2f} of the memory, {taken:.2f} of the time")
    write("activations", ("torch",), {"batch": BATCH, **found})


if __name__ == "__main__":
    if len(sys.argv) > 1:
        steps(recompute=sys.argv[1] == "recomputed")
    else:
        main()
