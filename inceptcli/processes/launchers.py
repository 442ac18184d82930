"""Detect and check the launcher of the ranks: torchrun, srun or Lightning. Imports no torch."""

from __future__ import annotations

import os
import threading
import time

from inceptcli.errors import UsageError
from inceptcli.processes.peers import GRACE_SECONDS, leaving

STARTED_BY = "INCEPTCLI_STARTED_BY"
"""Variable with the pid of the process that starts the other ranks of its node."""

STUDY = "INCEPTCLI_STUDY"
"""Variable with the pid of the study that started this process."""

NEW_FOLDER = "INCEPTCLI_NEW_FOLDER"
"""Variable with the run directory that the rank which started this one has named."""

PLACES = ("RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")
TORCHRUN, SLURM = ("RANK", "WORLD_SIZE"), ("SLURM_PROCID", "SLURM_NTASKS")
"""Variables for rank and world size, by launcher."""

MEETING_POINT = ("MASTER_ADDR", "MASTER_PORT")


def by_torchrun() -> bool:
    """Return whether torchrun started this process and set RANK, WORLD_SIZE and LOCAL_RANK."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def watched_parent() -> tuple[int, str] | None:
    """Return the process whose end stops this one, and its name: torchrun, or a study.

    The variable of a study is removed, for the ranks that this process starts are not its children.
    """
    if by_torchrun():
        return os.getppid(), "torchrun"
    study = os.environ.pop(STUDY, "")
    return (int(study), "the study") if study.isdecimal() else None


def processes_here() -> int:
    """Return the number of processes that torchrun started on this machine; else 1."""
    number = os.environ.get("LOCAL_WORLD_SIZE", "")
    return max(1, int(number)) if by_torchrun() and number.isdecimal() else 1


def by_slurm() -> bool:
    """Return whether SLURM started this process; False in interactive shells of salloc or srun."""
    name = os.environ.get("SLURM_JOB_NAME")
    numbered = {"SLURM_NTASKS", "SLURM_PROCID"} <= os.environ.keys()
    return numbered and name not in ("bash", "interactive")


def by_this_program() -> bool:
    """Return whether Lightning started this process as another rank, from the parent process.

    A notebook that has trained passes STARTED_BY to all of its children, but LOCAL_RANK is 0 there.
    """
    is_child = os.environ.get(STARTED_BY) == str(os.getppid())
    return is_child and os.environ.get("LOCAL_RANK", "0") != "0"


def check_launcher(devices: int | None, num_nodes: int) -> None:
    """Check `devices` (None: all) x `num_nodes` against the variables of the launcher.

    A single process ignores variables left by other programs, such as a notebook or a shell inside
    a job, and removes them from the environment, because libraries read them too.

    A rank started by Lightning exits when its parent process does.

    Raises UsageError if ranks would wait for others that are never started.
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
    """Exit soon after the parent process, which reports the reason if it failed."""
    while os.getppid() == parent:
        time.sleep(1)
    time.sleep(GRACE_SECONDS)  # after a regular end, this rank exits by itself
    with leaving:
        os._exit(1)


def _check_torchrun(devices: int | None, num_nodes: int) -> None:
    _, ranks = rank_and_size()
    number_in_environment("LOCAL_RANK")
    if devices is not None and ranks != devices * num_nodes:
        raise UsageError(
            f"WORLD_SIZE={ranks}: torchrun started {ranks} processes, but --devices {devices} x "
            f"--num-nodes {num_nodes} is {devices * num_nodes}; make them equal; if another "
            "program left this variable, start the command with env -u TORCHELASTIC_RUN_ID"
        )


def check_slurm(devices: int | None, num_nodes: int) -> None:
    """Raise UsageError unless SLURM runs `devices` tasks on each of `num_nodes`: ranks would hang.

    With `devices` None, only the other values are checked. Nothing is checked outside SLURM, under
    torchrun, and in interactive jobs, where Lightning starts the ranks.
    """
    if by_torchrun() or not by_slurm():
        return
    _, tasks = rank_and_size()
    nodes = number_in_environment("SLURM_NNODES") if "SLURM_NNODES" in os.environ else 1
    under_srun = "SLURM_STEP_ID" in os.environ
    alone = "" if under_srun else f"; for a single process, start it with env -u {SLURM[1]}"
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
            f"{asked}: SLURM has {tasks} tasks, which srun must start; use srun{alone}"
        )
    for name in ("SLURM_LOCALID", "SLURM_NODEID"):
        number_in_environment(name)


def _check_own(devices: int | None, num_nodes: int) -> None:
    """Check variables for ranks that Lightning starts; with several nodes it needs NODE_RANK."""
    for name, reason in (
        ("LOCAL_RANK", "neither torchrun nor srun started this process"),
        ("NODE_RANK", f"--num-nodes {num_nodes} has nodes 0 to {num_nodes - 1}"),
        ("GROUP_RANK", f"--num-nodes {num_nodes} has nodes 0 to {num_nodes - 1}"),
    ):
        if name in os.environ and (
            name == "LOCAL_RANK" or number_in_environment(name) >= num_nodes
        ):
            raise UsageError(
                f"{name}={os.environ[name]}: set by another program, as {reason}; start the "
                f"command with env -u {name}"
            )
    if "WORLD_SIZE" in os.environ and devices is not None:
        ranks = number_in_environment("WORLD_SIZE")
        if ranks != devices * num_nodes:
            raise UsageError(
                f"WORLD_SIZE={ranks}: --devices {devices} x --num-nodes {num_nodes} is "
                f"{devices * num_nodes}; start the command with env -u WORLD_SIZE"
            )
    if num_nodes > 1 and (missing := [name for name in MEETING_POINT if name not in os.environ]):
        raise UsageError(
            f"--num-nodes {num_nodes}: set {' and '.join(missing)} to a port of the first node and "
            "NODE_RANK to the number of each node, or start the processes with torchrun or srun"
        )
    if "MASTER_PORT" in os.environ:
        number_in_environment("MASTER_PORT")


def rank_and_size() -> tuple[int, int]:
    """Return rank and world size from the variables of torchrun or SLURM.

    Raises UsageError if the variables are missing or contradictory, for example left by another
    program.
    """
    rank_name, size_name = TORCHRUN if by_torchrun() else SLURM
    size, rank = number_in_environment(size_name), number_in_environment(rank_name)
    if rank >= size:
        raise UsageError(
            f"{rank_name}={rank}: {size_name}={size} has ranks 0 to {size - 1}; {left_over()}"
        )
    return rank, size


def left_over() -> str:
    """Return the remedy for variables of torchrun or SLURM left by another program."""
    name = "TORCHELASTIC_RUN_ID" if by_torchrun() else SLURM[1]
    return f"if another program left these variables, start the command with env -u {name}"


def number_in_environment(name: str) -> int:
    """Return the value of a variable; raise UsageError unless it is a whole number."""
    value = os.environ.get(name, "")
    if not value.isdecimal():
        rule = f"{name}={value}: must be a whole number"
        if name.startswith("SLURM_"):
            raise UsageError(f"{rule}; {left_over()}")
        raise UsageError(
            f"{rule}; start the command with env -u {name}, or with env -u TORCHELASTIC_RUN_ID if "
            "another program was started by torchrun"
        )
    return int(value)


def start_others() -> None:
    """Record this process as the parent of the ranks that it is about to start."""
    if not by_this_program():
        os.environ[STARTED_BY] = str(os.getpid())


def is_first_process() -> bool:
    """Return whether this process is global rank 0, before a process group exists.

    Uses the same variables as Lightning. In a batch script and its children without srun,
    SLURM_PROCID is always 0, so it cannot identify the ranks that Lightning starts.
    """
    if by_torchrun():
        return os.environ["RANK"] == "0"
    if by_slurm():
        return os.environ["SLURM_PROCID"] == "0"
    node = os.environ.get("NODE_RANK", os.environ.get("GROUP_RANK", "0"))
    return node == "0" and os.environ.get("LOCAL_RANK", "0") == "0"
