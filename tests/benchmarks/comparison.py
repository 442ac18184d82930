"""Ours and a peer in turns in one process: medians, their spread, and the ratio of each turn."""

from __future__ import annotations

import json
import platform
import resource
import statistics
import time
from collections.abc import Callable, Mapping
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def spread(values: list[float]) -> dict[str, float]:
    """Median, smallest and largest."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def in_turns(
    contestants: Mapping[str, Callable[[], object]],
    rounds: int,
    clock: Callable[[], float] = time.process_time,
) -> dict[str, dict[str, dict[str, float]]]:
    """Seconds by `clock` for each, by default CPU time of this process, and the first over it.

    The order of the contestants turns by one each round. Each runs once before it is timed.
    """
    for run in contestants.values():
        run()
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    names = list(contestants)
    for turn in range(rounds):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            begun = clock()
            contestants[name]()
            seconds[name].append(clock() - begun)
    first = seconds[names[0]]
    return {
        name: {
            "seconds": spread(taken),
            "ratio": spread([one / other for one, other in zip(first, taken, strict=True)]),
        }
        for name, taken in seconds.items()
    }


def cpu_of_children() -> float:
    """CPU seconds of all processes that this one has started and waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def show(title: str, found: Mapping[str, Mapping[str, Mapping[str, float]]]) -> None:
    """A line for each contestant; the ratio is how many times as fast as the first it is."""
    print(title)
    for name, row in found.items():
        taken, ratio = row["seconds"], row["ratio"]
        print(
            f"  {name:28} {taken['median']:8.4f} s ({taken['min']:.4f} to {taken['max']:.4f})"
            f"  {ratio['median']:5.2f}x ({ratio['min']:.2f} to {ratio['max']:.2f})",
            flush=True,
        )


def write(name: str, packages: tuple[str, ...], found: Mapping[str, Any]) -> None:
    """To tests/benchmarks/results/NAME.json, with the day, the machine and the versions."""
    RESULTS.mkdir(exist_ok=True)
    about = {
        "date": date.today().isoformat(),
        "machine": f"{platform.system()} {platform.machine()}, {_processor()}",
        "versions": {package: version(package) for package in ("inceptcli", *packages)},
    }
    (RESULTS / f"{name}.json").write_text(json.dumps({**about, **found}, indent=2) + "\n")


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()
