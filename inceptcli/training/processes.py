"""Which of several processes this is: started by torchrun, srun or Lightning itself. No torch."""

from __future__ import annotations

import os

from inceptcli.errors import UsageError
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


def check_slurm(devices: int, num_nodes: int) -> None:
    """UsageError when SLURM's tasks are not `devices` on each of `num_nodes`: ranks would hang.

    Silent outside SLURM, under torchrun, and in interactive jobs, where Lightning starts the ranks.
    """
    if by_torchrun() or not by_slurm():
        return
    tasks, nodes = int(os.environ["SLURM_NTASKS"]), int(os.environ.get("SLURM_NNODES", "1"))
    asked = f"--devices {devices} x --num-nodes {num_nodes}"
    if (tasks, nodes) != (devices * num_nodes, num_nodes):
        fitting = f"--devices {tasks // nodes} --num-nodes {nodes}"
        raise UsageError(
            f"{asked} is {devices * num_nodes} processes, but SLURM has {tasks} tasks on {nodes} "
            f"nodes; give {fitting}, or sbatch --nodes={num_nodes} --ntasks-per-node={devices}"
        )
    if tasks > 1 and "SLURM_STEP_ID" not in os.environ:
        raise UsageError(f"{asked}: SLURM's {tasks} tasks are started by srun; put it in front")
