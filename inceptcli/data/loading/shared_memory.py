"""Limit loader workers to the available shared memory, which batches pass through."""

from __future__ import annotations

from pathlib import Path
from shutil import disk_usage
from typing import NamedTuple

SHARED_MEMORY = Path("/dev/shm")
PREFETCHED = 2
"""Batches that each worker prefetches; torch's default."""


class Workers(NamedTuple):
    """Number of loader processes, and batches that each of them prefetches."""

    number: int
    prefetched: int


def affordable(wanted: int, batch_bytes: int, processes: int, loaders: int) -> Workers:
    """Return the `wanted` workers, or as many as fit into shared memory.

    A container has 64 MB of shared memory by default, and a worker that exceeds it ends. Systems
    without /dev/shm have no limit.

    Args:
        wanted: Number of workers of each loader asked for.
        batch_bytes: Size of a batch.
        processes: Ranks on this machine; each also holds its current batch.
        loaders: Loaders of a rank that prefetch at the same time.
    """
    if not wanted or not SHARED_MEMORY.is_dir():
        return Workers(wanted, PREFETCHED)
    batches = disk_usage(SHARED_MEMORY).free // processes // batch_bytes - 1
    for prefetched in range(PREFETCHED, 0, -1):
        if loaders * wanted * prefetched <= batches:
            return Workers(wanted, prefetched)
    return Workers(max(0, batches // loaders), 1)
