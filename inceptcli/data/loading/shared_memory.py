"""The shared memory through which workers hand batches over: not more than there is."""

from __future__ import annotations

from pathlib import Path
from shutil import disk_usage
from typing import NamedTuple

SHARED_MEMORY = Path("/dev/shm")
PREFETCHED = 2
"""Batches that each worker makes ahead, as torch has it."""


class Workers(NamedTuple):
    """How many processes load images, and how many batches each of them makes ahead."""

    number: int
    prefetched: int


def affordable(wanted: int, batch_bytes: int, processes: int) -> Workers:
    """The `wanted` workers, or as many as shared memory has room for.

    A container has 64 MB of it by default, and a worker that finds none left is killed (SIGBUS).
    `processes` of this machine share it; each also holds the batch that it computes with. Nothing
    is limited where the system has no such folder.
    """
    if not wanted or not SHARED_MEMORY.is_dir():
        return Workers(wanted, PREFETCHED)
    batches = disk_usage(SHARED_MEMORY).free // processes // batch_bytes - 1
    for prefetched in range(PREFETCHED, 0, -1):
        if wanted * prefetched <= batches:
            return Workers(wanted, prefetched)
    return Workers(max(0, batches), 1)
