"""Who started this process and those beside it: torchrun, srun or this program itself. No torch."""

from __future__ import annotations

import os
import threading
import time

from inceptcli.errors import UsageError
from inceptcli.processes.peers import GRACE_SECONDS, leaving

STARTED_BY = "INCEPTCLI_STARTED_BY"
"""The process that starts the other ranks of its node; what they inherit counts for them alone."""

PLACES = ("RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")
TORCHRUN, SLURM = ("RANK", "WORLD_SIZE"), ("SLURM_PROCID", "SLURM_NTASKS")
"""The variables that say which process this is and how many there are."""

MEETING_POINT = ("MASTER_ADDR", "MASTER_PORT")


def by_torchrun() -> bool:
    """Whether torchrun did; RANK, WORLD_SIZE and LOCAL_RANK are set then, unless they are stray."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def processes_here() -> int:
    """How many torchrun has started on this machine, which share its processors; else 1."""
    number = os.environ.get("LOCAL_WORLD_SIZE", "")
    return max(1, int(number)) if by_torchrun() and number.isdecimal() else 1


def by_slurm() -> bool:
    """Whether SLURM did; not where salloc or srun opened a shell (bash, interactive)."""
    name = os.environ.get("SLURM_JOB_NAME")
    numbered = {"SLURM_NTASKS", "SLURM_PROCID"} <= os.environ.keys()
    return numbered and name not in ("bash", "interactive")


def by_this_program() -> bool:
    """Whether Lightning did, in the process that is the parent of this one, as another rank.

    A notebook that has trained leaves its own number to all that it starts, but no other rank's.
    """
    is_child = os.environ.get(STARTED_BY) == str(os.getppid())
    return is_child and os.environ.get("LOCAL_RANK", "0") != "0"


def check_launcher(devices: int | None, num_nodes: int) -> None:
    """Compare `devices` (None: as many as there are) x `num_nodes` with what the environment says.

    A single process leaves what other programs have set (a notebook or a shell inside their job)
    out of account, and takes it out of the environment, where libraries look too.

    A rank that this program has started ends when the process that started it does. Raises
    UsageError where ranks would wait for others that nobody starts.
    """
    if by_torchrun():
        _check_torchrun(devices, num_nodes)
    elif by_this_program():
        threading.Thread(target=_follow, args=(os.getppid(),), daemon=True).start()
    elif by_slurm():
        check_slurm(devices, num_nodes)
    elif devices is not None and devices * num_nodes == 1:
        for name in (*PLACES, *MEETING_POINT):
            os.environ.pop(name, None)
    else:
        _check_own(devices, num_nodes)


def _follow(parent: int) -> None:
    """End this rank soon after the process that started it, which has said why if it failed."""
    while os.getppid() == parent:
        time.sleep(1)
    time.sleep(GRACE_SECONDS)  # it may have left in good order, and this rank is about to
    with leaving:
        os._exit(1)


def _check_torchrun(devices: int | None, num_nodes: int) -> None:
    _, ranks = rank_and_size()
    number_in_environment("LOCAL_RANK")
    if devices is not None and ranks != devices * num_nodes:
        raise UsageError(
            f"WORLD_SIZE={ranks}: torchrun has started as many processes, but --devices "
            f"{devices} x --num-nodes {num_nodes} is {devices * num_nodes}; make them equal; if "
            "another program left this variable, put env -u TORCHELASTIC_RUN_ID in front"
        )


def check_slurm(devices: int | None, num_nodes: int) -> None:
    """UsageError when SLURM's tasks are not `devices` on each of `num_nodes`: ranks would hang.

    Where `devices` is None only what does not depend on it is compared. Silent outside SLURM, under
    torchrun, and in interactive jobs, where Lightning starts the ranks.
    """
    if by_torchrun() or not by_slurm():
        return
    _, tasks = rank_and_size()
    nodes = number_in_environment("SLURM_NNODES") if "SLURM_NNODES" in os.environ else 1
    under_srun = "SLURM_STEP_ID" in os.environ
    alone = "" if under_srun else f"; for this process alone, put env -u {SLURM[1]} in front"
    asked = f"--devices {'auto' if devices is None else devices} x --num-nodes {num_nodes}"
    if devices is not None and (tasks, nodes) != (devices * num_nodes, num_nodes):
        fitting = f"--devices {tasks // nodes} --num-nodes {nodes}"
        raise UsageError(
            f"{asked} is {devices * num_nodes} processes, but SLURM has {tasks} tasks on {nodes} "
            f"nodes; give {fitting}, or sbatch --nodes={num_nodes} --ntasks-per-node={devices}"
            f"{alone}"
        )
    if tasks > 1 and not under_srun:
        raise UsageError(
            f"{asked}: SLURM's {tasks} tasks are started by srun; put it in front{alone}"
        )
    for name in ("SLURM_LOCALID", "SLURM_NODEID"):
        number_in_environment(name)


def _check_own(devices: int | None, num_nodes: int) -> None:
    """Lightning starts the other ranks of a node; on several nodes NODE_RANK says which it is."""
    for name, reason in (
        ("LOCAL_RANK", "neither torchrun nor srun has started this process"),
        ("NODE_RANK", f"--num-nodes {num_nodes} has nodes 0 to {num_nodes - 1}"),
        ("GROUP_RANK", f"--num-nodes {num_nodes} has nodes 0 to {num_nodes - 1}"),
    ):
        if name in os.environ and (
            name == "LOCAL_RANK" or number_in_environment(name) >= num_nodes
        ):
            raise UsageError(
                f"{name}={os.environ[name]}: set by another program, as {reason}; put env -u "
                f"{name} in front"
            )
    if "WORLD_SIZE" in os.environ and devices is not None:
        ranks = number_in_environment("WORLD_SIZE")
        if ranks != devices * num_nodes:
            raise UsageError(
                f"WORLD_SIZE={ranks}: --devices {devices} x --num-nodes {num_nodes} is "
                f"{devices * num_nodes}; put env -u WORLD_SIZE in front"
            )
    if num_nodes > 1 and (missing := [name for name in MEETING_POINT if name not in os.environ]):
        raise UsageError(
            f"--num-nodes {num_nodes}: {' and '.join(missing)} must name a port of the first node, "
            "and NODE_RANK each node, unless torchrun or srun starts the processes"
        )
    if "MASTER_PORT" in os.environ:
        number_in_environment("MASTER_PORT")


def rank_and_size() -> tuple[int, int]:
    """Which process this is and of how many, as torchrun or SLURM says.

    Raises UsageError when the variables are missing or contradict each other, as those that another
    program has left may.
    """
    rank_name, size_name = TORCHRUN if by_torchrun() else SLURM
    size, rank = number_in_environment(size_name), number_in_environment(rank_name)
    if rank >= size:
        raise UsageError(
            f"{rank_name}={rank}: {size_name}={size} has ranks 0 to {size - 1}; {left_over()}"
        )
    return rank, size


def left_over() -> str:
    """What to do where another program left the variables of torchrun or SLURM."""
    name = "TORCHELASTIC_RUN_ID" if by_torchrun() else SLURM[1]
    return f"if another program left these variables, put env -u {name} in front"


def number_in_environment(name: str) -> int:
    """A variable's value; UsageError when it is no whole number, or not there."""
    value = os.environ.get(name, "")
    if not value.isdecimal():
        rule = f"{name}={value}: must be a whole number"
        if name.startswith("SLURM_"):
            raise UsageError(f"{rule}; {left_over()}")
        raise UsageError(
            f"{rule}; put env -u {name} in front, or env -u TORCHELASTIC_RUN_ID if another program "
            "was started by torchrun"
        )
    return int(value)


def start_others() -> None:
    """Have the ranks that this process is going to start know that it did."""
    if not by_this_program():
        os.environ[STARTED_BY] = str(os.getpid())


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
