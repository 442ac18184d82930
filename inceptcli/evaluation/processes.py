"""The processes that share one evaluation: torchrun's or srun's, joined by gloo. No Lightning."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

from inceptcli.errors import UsageError, UserError
from inceptcli.launchers import by_slurm, by_torchrun, number_in
from inceptcli.peers import Peers

Item = TypeVar("Item")

LONGEST_WAIT = timedelta(days=1)
"""For the slowest process; one that died is noticed at once (peers.py)."""

FIRST_PORT, NUM_PORTS = 15000, 10000


@dataclass(frozen=True)
class Processes:
    """How many there are and which this is, from 0; `local_rank` counts on this machine only."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @classmethod
    def found(cls) -> Processes:
        """Those that torchrun or srun started with this one; else this alone.

        Raises UsageError when variables are missing or contradict each other, as those that another
        program has left may.
        """
        if by_torchrun():
            found = cls(number_in("RANK"), number_in("WORLD_SIZE"), number_in("LOCAL_RANK"))
            if found.rank >= found.size:
                raise UsageError(
                    f"RANK={found.rank}: WORLD_SIZE={found.size} has ranks 0 to {found.size - 1}; "
                    "if another program left these variables, put env -u TORCHELASTIC_RUN_ID in "
                    "front"
                )
            return found
        if by_slurm() and "SLURM_STEP_ID" in os.environ:
            local = int(os.environ.get("SLURM_LOCALID", "0"))
            return cls(int(os.environ["SLURM_PROCID"]), int(os.environ["SLURM_NTASKS"]), local)
        return cls()

    @contextmanager
    def one_voice(self) -> Iterator[None]:
        """Turns a UserError of any but the first process into its exit code, unsaid."""
        try:
            yield
        except UserError as error:
            if self.rank == 0:
                raise
            raise SystemExit(error.exit_code) from None

    @contextmanager
    def joined(self) -> Iterator[None]:
        """A process group, if there are several; each then has a GPU of its own as `cuda`.

        One that dies is named on standard error within a minute, and the others end with code 1.
        """
        if self.size == 1:
            yield
            return
        import torch
        from torch import distributed

        if torch.cuda.is_available():
            torch.cuda.set_device(self.local_rank % torch.cuda.device_count())
        if "MASTER_ADDR" not in os.environ:
            os.environ["MASTER_ADDR"] = first_host(os.environ["SLURM_STEP_NODELIST"])
        if "MASTER_PORT" not in os.environ:
            job, step = int(os.environ["SLURM_JOB_ID"]), int(os.environ["SLURM_STEP_ID"])
            os.environ["MASTER_PORT"] = str(FIRST_PORT + (job * 100 + step) % NUM_PORTS)
        try:
            distributed.init_process_group(
                "gloo", rank=self.rank, world_size=self.size, timeout=LONGEST_WAIT
            )
        except (distributed.DistNetworkError, distributed.DistStoreError) as error:
            place = f"{os.environ['MASTER_ADDR']} MASTER_PORT={os.environ['MASTER_PORT']}"
            raise UserError(
                f"MASTER_ADDR={place}: the other processes cannot be met there "
                f"({str(error).splitlines()[0]}); set MASTER_PORT to a free port of the first node"
            ) from error
        peers = Peers("start the same command again")
        try:
            peers.connect()
            yield
        except BaseException as error:
            peers.leave(error)
            raise
        else:
            peers.leave()
        finally:
            distributed.destroy_process_group()

    def gather(self, work: Callable[[], Item]) -> list[Item]:
        """What `work` returns in every process, by rank; all of them have to call it, joined.

        Raises, in all of them, the UserError that `work` raised in the first one where it did.
        """
        if self.size == 1:
            return [work()]
        from torch import distributed

        outcome: Item | UserError
        try:
            outcome = work()
        except UserError as error:
            outcome = UserError(str(error))
        outcomes: list[Item | UserError] = [outcome] * self.size
        distributed.all_gather_object(outcomes, outcome)
        items = []
        for other in outcomes:
            if isinstance(other, UserError):
                raise other
            items.append(other)
        return items


def first_host(nodes: str) -> str:
    """The first host that a SLURM node list such as `gpu[03-04,07],login` names."""
    name = re.match(r"([^,\[]+)(?:\[([^,\-\]]+))?", nodes)
    assert name, nodes
    return name[1] + (name[2] or "")
