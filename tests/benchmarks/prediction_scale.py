"""Do time and memory of a prediction grow with the number of images? A small network at 75 pixels.

    python -m tests.benchmarks.prediction_scale

Predicts a part (`--shard 0/1`) of 1,000, 5,000 and 20,000 images and merges it into Parquet, each
in a process of its own. Prints wall and CPU seconds and peak memory, the CPU time of an image
between the sizes, and how much more memory 20,000 take than 1,000. Writes JSON to
tests/benchmarks/results/.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from tests.benchmarks.comparison import write
from tests.prediction.chaos import pictures
from tests.prediction.conftest import save_small_network

SIZES = (1_000, 5_000, 20_000)
REPORT = """
import sys
from pathlib import Path
from inceptcli.cli.app import app
try:
    app(sys.argv[1:], prog_name="inceptcli")
finally:
    status = Path("/proc/self/status").read_text()
    print(status.split("VmHWM:")[1].split()[0], file=sys.stderr)
"""


class Cost(NamedTuple):
    """What a process took."""

    wall_seconds: float
    cpu_seconds: float
    peak_mib: float


def cost(*arguments: object) -> Cost:
    """Of `inceptcli` with these arguments, on one core."""
    begun = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-c", REPORT, *map(str, arguments)],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr
    said = process.stderr.read().splitlines()
    _, status, used = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - begun
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in (0, 1):  # 1: some of the pictures cannot be read
        raise RuntimeError(f"{arguments[0]} left with {process.returncode}")
    # The system's own maximum counts this process, of which the other was forked.
    return Cost(seconds, used.ru_utime + used.ru_stime, int(said[-1]) / 1024)


def main() -> None:
    """Predict, merge, print."""
    found: dict[str, list[Cost]] = {"predict": [], "merge": []}
    with TemporaryDirectory() as name:
        folder = Path(name)
        weights = save_small_network(folder / "model.safetensors")
        for size in SIZES:
            images, part = pictures(folder / str(size), size), folder / f"{size}-parts"
            flags = ("--weights", weights, "--device", "cpu", "--quiet")
            both = (
                cost("predict", images, *flags, "--shard", "0/1", "--output", part),
                cost("merge", part, "--quiet", "--output", folder / f"{size}.parquet"),
            )
            for command, taken in zip(found, both, strict=True):
                found[command].append(taken)
                print(f"{command} {size:,}: {taken.wall_seconds:.1f} s, {taken.cpu_seconds:.1f} "
                      f"CPU seconds, {taken.peak_mib:.1f} MiB", flush=True)  # fmt: skip
    results: dict[str, object] = {"sizes": SIZES}
    for command, costs in found.items():
        each = [
            1000 * (more.cpu_seconds - less.cpu_seconds) / (larger - smaller)
            for (smaller, less), (larger, more) in pairwise(zip(SIZES, costs, strict=True))
        ]
        growth = costs[-1].peak_mib / costs[0].peak_mib - 1
        shown = " and ".join(f"{milliseconds:.2f}" for milliseconds in each)
        print(f"{command}: {shown} CPU ms an image between the sizes; peak memory {growth:+.1%}")
        results[command] = {
            "costs": [taken._asdict() for taken in costs],
            "cpu_milliseconds_each": each,
            "peak_memory_growth": growth,
        }
    write("prediction_scale", ("torch", "pyarrow"), results)


if __name__ == "__main__":
    main()
