"""Locks on files, where the file system has them."""

from __future__ import annotations

import errno
import fcntl
import logging
from typing import IO, Any

from inceptcli.text import printable

logger = logging.getLogger(__name__)


def lock(file: IO[Any], *, wait: bool = False) -> bool:
    """Lock `file` against other processes until it is closed; False where that cannot be.

    Some mounts of NFS and Lustre have no locks: a notice says so, and the work goes on.

    Raises BlockingIOError when another process holds the lock, unless this one is to `wait`.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            raise BlockingIOError(*error.args) from error
        logger.info(
            f"{printable(str(file.name))}: cannot be locked ({error.strerror}); see to it that no "
            "second process writes there"
        )
        return False
    return True
