"""What does `--checkpoint-activations` save and cost? Training steps of irv2-tf at 299 pixels.

    python -m tests.benchmarks.activations

Two steps of 32 images, float32, SGD with momentum, with and without, each in a process of its own.
Prints peak memory and CPU seconds of the second step. Writes JSON to tests/benchmarks/results/.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import torch
from torch import nn

from inceptcli.networks.registry import build, network_options
from tests.benchmarks.comparison import write

BATCH = 32


def steps(recompute: bool) -> None:
    """Prints CPU seconds of the second of two steps, and this process's peak memory, MiB."""
    torch.manual_seed(0)
    network = build(network_options("irv2-tf")).train().to(memory_format=torch.channels_last)
    network.recompute = recompute
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, fused=True)
    images = torch.randn(BATCH, 3, 299, 299).to(memory_format=torch.channels_last)
    labels = torch.randint(1000, (BATCH,))
    for _ in range(2):
        begun = time.process_time()
        loss = nn.functional.cross_entropy(network(images), labels)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        seconds = time.process_time() - begun
    peak = Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]
    print(seconds, int(peak) / 1024)


def main() -> None:
    """Compare, print."""
    found = {}
    for name in ("kept", "recomputed"):
        command = [sys.executable, "-m", "tests.benchmarks.activations", name]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        seconds, peak = map(float, done.stdout.split())
        print(f"{name}: {seconds:.1f} CPU seconds a step, {peak:.0f} MiB at most", flush=True)
        found[name] = {"cpu_seconds": seconds, "peak_mib": peak}
    time_ratio, memory_ratio = (
        found["recomputed"][key] / found["kept"][key] for key in ("cpu_seconds", "peak_mib")
    )
    print(f"{memory_ratio:.2f} of the memory, {time_ratio:.2f} of the time")
    write("activations", ("torch",), {"batch": BATCH, **found})


if __name__ == "__main__":
    if len(sys.argv) > 1:
        steps(recompute=sys.argv[1] == "recomputed")
    else:
        main()
