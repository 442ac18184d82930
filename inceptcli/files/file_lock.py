"""File locks, on file systems that support them."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
from contextlib import suppress
from typing import IO, Any
from weakref import WeakSet

logger = logging.getLogger(__name__)

_locked: WeakSet[IO[Any]] = WeakSet()
"""Locked files, and closed ones that something still refers to."""


def lock(file: IO[Any], *, wait: bool = False) -> bool:
    """Lock `file` against other processes until it is closed; return False without lock support.

    Some NFS and Lustre mounts do not support locks; a notice is logged then.

    Raises BlockingIOError if another process holds the lock, unless `wait` is set.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            raise BlockingIOError(*error.args) from error
        logger.info(
            f"{file.name}: cannot be locked ({error.strerror}); make sure that no "
            "other process writes there"
        )
        return False
    _locked.add(file)
    return True


def _leave_locks() -> None:
    """Replace the locked files in a forked process, which would keep them locked while it runs."""
    for file in [*_locked]:
        with suppress(ValueError):  # it is closed
            null = os.open(os.devnull, os.O_RDWR)
            os.dup2(null, file.fileno(), inheritable=False)
            os.close(null)


os.register_at_fork(after_in_child=_leave_locks)
