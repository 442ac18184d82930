"""Rendezvous of the processes of one evaluation, with a wait until all have arrived."""

from __future__ import annotations

import os
import re
import socket
import time
from datetime import timedelta
from typing import TYPE_CHECKING

from inceptcli.errors import UsageError, UserError
from inceptcli.processes.launchers import (
    SLURM,
    TORCHRUN,
    by_torchrun,
    left_over,
    number_in_environment,
)

if TYPE_CHECKING:
    from torch.distributed import Store  # type: ignore[attr-defined]

MEETING_WAIT = timedelta(minutes=10)
"""Wait for the last process; each process lists the data first."""

STORE_WAIT = timedelta(minutes=1)
"""Wait for an answer of the first process, which is already running."""

PAUSE_SECONDS = 0.05

FIRST_PORT, NUM_PORTS = 15000, 10000
LAST_PORT = 65535


class NobodyThereError(UserError):
    """The first process did not arrive, so each other process reports this itself."""


def place() -> tuple[str, int]:
    """Return host and port, from MASTER_ADDR and MASTER_PORT or from SLURM's job step.

    Raises UsageError if variables are missing or malformed.
    """
    if by_torchrun() or "MASTER_PORT" in os.environ:
        port = number_in_environment("MASTER_PORT")
    else:
        job, step = number_in_environment("SLURM_JOB_ID"), number_in_environment("SLURM_STEP_ID")
        port = FIRST_PORT + (job * 100 + step) % NUM_PORTS
    if port > LAST_PORT:
        raise UsageError(f"MASTER_PORT={port}: must be at most {LAST_PORT}; {left_over()}")
    host = os.environ.get("MASTER_ADDR")
    if not host and by_torchrun():
        raise UsageError(f"MASTER_ADDR=: must name the first node; {left_over()}")
    return host or first_host(os.environ.get("SLURM_STEP_NODELIST", "")), port


def first_host(nodes: str) -> str:
    """Return the first host of a SLURM node list such as `gpu[03-04,07],login`.

    Raises UsageError if there is none.
    """
    name = re.match(r"([^,\[]+)(?:\[([^,\-\]]+))?", nodes)
    if name is None:
        raise UsageError(
            f"SLURM_STEP_NODELIST={nodes}: must name the nodes, as srun sets it; {left_over()}"
        )
    return name[1] + (name[2] or "")


def meet(rank: int, size: int) -> Store:
    """Wait for the other processes; return the store that connects them.

    The wait is in Python, where signals end it. Raises UserError if the address cannot be used or
    some processes have not arrived after MEETING_WAIT, its subclass if not even the first has.
    """
    from torch.distributed import (  # type: ignore[attr-defined]  # not in __all__
        DistNetworkError,
        DistStoreError,
        TCPStore,
    )

    host, port = place()
    os.environ |= {"MASTER_ADDR": host, "MASTER_PORT": str(port)}  # peers.py reads them, too
    deadline = time.monotonic() + MEETING_WAIT.total_seconds()
    # As in torch: torchrun itself hosts the store of the ranks that it starts.
    first = rank == 0 and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
    if not first:
        _wait_for_first(host, port, deadline, rank, size)
    try:
        store = TCPStore(host, port, size, first, STORE_WAIT, wait_for_workers=False)
        came = store.add("came", 1)
        while came < size:
            if time.monotonic() >= deadline:
                raise UserError(_not_come(f"{came} of {size} processes arrived", rank, size))
            time.sleep(PAUSE_SECONDS)
            came = store.add("came", 0)
    except (DistNetworkError, DistStoreError) as error:
        raise UserError(
            f"MASTER_ADDR={host} MASTER_PORT={port}: cannot connect to the other processes "
            f"({str(error).splitlines()[0]}); set MASTER_PORT to a free port of the first node"
        ) from error
    return store


def _wait_for_first(host: str, port: int, deadline: float, rank: int, size: int) -> None:
    while True:
        try:
            socket.create_connection((host, port), timeout=1).close()
        except OSError:
            if time.monotonic() >= deadline:
                raise NobodyThereError(_not_come("no process answered", rank, size)) from None
            time.sleep(PAUSE_SECONDS)
        else:
            return


def _not_come(found: str, rank: int, size: int) -> str:
    names = TORCHRUN if by_torchrun() else SLURM
    point = f"MASTER_ADDR={os.environ['MASTER_ADDR']} MASTER_PORT={os.environ['MASTER_PORT']}"
    return (
        f"{point}: {found} within {MEETING_WAIT.total_seconds():g} s ({names[0]}={rank}, "
        f"{names[1]}={size}); start all of them at once; {left_over()}"
    )
