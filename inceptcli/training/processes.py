"""Which of several processes this is: started by torchrun, srun or Lightning itself. No torch."""

from __future__ import annotations

import os

from inceptcli.launchers import by_slurm, by_torchrun


def is_first_process() -> bool:
    """Whether this is global rank 0, known before any process group exists.

    Looks where Lightning will look: SLURM_PROCID is 0 in a batch script and in all that it starts
    without srun, so there it says nothing about the processes that Lightning itself starts.
    """
    if by_torchrun():
        return os.environ["RANK"] == "0"
    if by_slurm():
        return os.environ["SLURM_PROCID"] == "0"
    node = os.environ.get("NODE_RANK", os.environ.get("GROUP_RANK", "0"))
    return node == "0" and os.environ.get("LOCAL_RANK", "0") == "0"
