"""How many processors this process may use: on a shared node what it was given, not all."""

from __future__ import annotations

import math
import os
from pathlib import Path

CGROUP, CGROUPS = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")


def usable_cores() -> int:
    """At least 1: those it may run on, or fewer where its cgroup (version 2) has a quota."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    return max(1, math.ceil(min(cores, _quota())))


def compute_threads() -> int:
    """How many threads compute: OMP_NUM_THREADS, else SLURM_CPUS_PER_TASK, else `usable_cores`.

    Never more than those; at least 1.
    """
    cores = usable_cores()
    for name in ("OMP_NUM_THREADS", "SLURM_CPUS_PER_TASK"):
        if os.environ.get(name, "").isdecimal():
            return max(1, min(int(os.environ[name]), cores))
    return cores


def divide_threads(tasks: int) -> tuple[int, int]:
    """How many of `tasks` are computed at a time by `compute_threads`, and the threads of each."""
    threads = compute_threads()
    at_once = min(threads, tasks)
    return at_once, threads // at_once


def _quota() -> float:
    """Processors by the narrowest quota of this process's cgroup and those above; else infinite."""
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
