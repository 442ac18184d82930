"""How many processors this process may use: on a shared node what it was given, not all."""

from __future__ import annotations

import os


def usable_cores() -> int:
    """At least 1."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
