"""File locks, on file systems that support them."""

from __future__ import annotations

import errno
import fcntl
import logging
from typing import IO, Any

logger = logging.getLogger(__name__)


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
    return True
