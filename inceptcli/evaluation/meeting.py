"""Where the processes of one evaluation meet, and the wait until all of them are there."""

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
"""For the last process to come; each lists the data first."""

STORE_WAIT = timedelta(minutes=1)
"""For an answer of the first process, which is there."""

PAUSE_SECONDS = 0.05

FIRST_PORT, NUM_PORTS = 15000, 10000
LAST_PORT = 65535


class NobodyThereError(UserError):
    """The first process did not come, so each of the others has to say so itself."""


def place() -> tuple[str, int]:
    """Host and port, from MASTER_ADDR and MASTER_PORT or by SLURM's job step.

    Raises UsageError when variables are missing or have no such form.
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
    """The first host that a SLURM node list such as `gpu[03-04,07],login` names.

    Raises UsageError when it names none.
    """
    name = re.match(r"([^,\[]+)(?:\[([^,\-\]]+))?", nodes)
    if name is None:
        raise UsageError(
            f"SLURM_STEP_NODELIST={nodes}: must name the nodes, as srun sets it; {left_over()}"
        )
    return name[1] + (name[2] or "")


def meet(rank: int, size: int) -> Store:
    """Wait for the other processes; the store through which they join.

    Waits in Python alone, where a signal ends it. Raises UserError when the place cannot be used or
    some have not come after MEETING_WAIT, and its subclass when not even the first has.
    """
    from torch.distributed import (  # type: ignore[attr-defined]  # not in __all__
        DistNetworkError,
        DistStoreError,
        TCPStore,
    )

    host, port = place()
    os.environ |= {"MASTER_ADDR": host, "MASTER_PORT": str(port)}  # peers.py looks there too
    deadline = time.monotonic() + MEETING_WAIT.total_seconds()
    # As in torch: torchrun itself keeps the store of the ranks that it starts.
    first = rank == 0 and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
    if not first:
        _wait_for_first(host, port, deadline, rank, size)
    try:
        store = TCPStore(host, port, size, first, STORE_WAIT, wait_for_workers=False)
        came = store.add("came", 1)
        while came < size:
            if time.monotonic() >= deadline:
                raise UserError(_not_come(f"{came} of {size} processes came", rank, size))
            time.sleep(PAUSE_SECONDS)
            came = store.add("came", 0)
    except (DistNetworkError, DistStoreError) as error:
        raise UserError(
            f"MASTER_ADDR={host} MASTER_PORT={port}: the other processes cannot be met there "
            f"({str(error).splitlines()[0]}); set MASTER_PORT to a free port of the first node"
        ) from error
    return store


def _wait_for_first(host: str, port: int, deadline: float, rank: int, size: int) -> None:
    while True:
        try:
            socket.create_connection((host, port), timeout=1).close()
        except OSError:
            if time.monotonic() >= deadline:
                raise NobodyThereError(_not_come("nobody is there", rank, size)) from None
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
