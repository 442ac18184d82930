"""CPU cores available to this process, which may be fewer than the node has."""

from __future__ import annotations

import math
import os
from pathlib import Path

PROCESSOR = Path("/proc/cpuinfo")
CGROUP, CGROUPS = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")


def usable_cores() -> int:
    """Return the number of usable cores, at least 1: affinity, limited by the cgroup v2 quota."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    return max(1, math.ceil(min(cores, _quota())))


def compute_threads() -> int:
    """Return the number of compute threads, from 1 to `usable_cores`.

    Reads OMP_NUM_THREADS, else SLURM_CPUS_PER_TASK, else uses all usable cores.
    """
    cores = usable_cores()
    for name in ("OMP_NUM_THREADS", "SLURM_CPUS_PER_TASK"):
        if os.environ.get(name, "").isdecimal():
            return max(1, min(int(os.environ[name]), cores))
    return cores


def divide_threads(tasks: int) -> tuple[int, int]:
    """Divide `compute_threads` among `tasks`: number of parallel tasks, threads per task."""
    threads = compute_threads()
    at_once = min(threads, tasks)
    return at_once, threads // at_once


def _quota() -> float:
    """Return the smallest quota of this process's cgroup and its parents, in cores; else inf."""
    try:
        own = next(line[3:] for line in CGROUP.read_text().splitlines() if line.startswith("0::"))
    except (OSError, StopIteration):
        return math.inf
    group = CGROUPS / own.lstrip("/")
    narrowest = math.inf
    for folder in (group, *group.parents):
        if not folder.is_relative_to(CGROUPS):
            break
        try:
            quota, period = (folder / "cpu.max").read_text().split()
        except (OSError, ValueError):
            continue
        if quota != "max":
            narrowest = min(narrowest, int(quota) / int(period))
    return narrowest


def has_int8_instructions() -> bool | None:
    """Return whether the processor multiplies int8 in hardware: VNNI, or dot products on ARM.

    None if the operating system does not say so.
    """
    try:
        flags = set(PROCESSOR.read_text().split())
    except OSError:
        return None
    return not flags.isdisjoint(("avx512_vnni", "avx_vnni", "asimddp"))
