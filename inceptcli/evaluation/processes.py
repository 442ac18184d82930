"""The processes of one evaluation: started by torchrun or srun, joined by gloo. No Lightning."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

from inceptcli.errors import UserError
from inceptcli.evaluation.meeting import NobodyThereError, meet, place
from inceptcli.processes.launchers import (
    by_slurm,
    by_torchrun,
    number_in_environment,
    rank_and_size,
)
from inceptcli.processes.peers import Peers

Item = TypeVar("Item")

LONGEST_WAIT = timedelta(days=1)
"""Wait for the slowest process; a process that died is noticed at once (peers.py)."""


@dataclass(frozen=True)
class Processes:
    """Rank, from 0, and number of the processes; `local_rank` counts on this machine only."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @classmethod
    def found(cls) -> Processes:
        """Return the processes that torchrun or srun started with this one, else this one alone.

        Raises UsageError if environment variables are missing or contradictory, as variables left
        by another program may be.
        """
        if not by_torchrun() and not (by_slurm() and "SLURM_STEP_ID" in os.environ):
            return cls()
        local = "LOCAL_RANK" if by_torchrun() else "SLURM_LOCALID"
        found = cls(*rank_and_size(), number_in_environment(local))
        if found.size > 1:
            place()
        return found

    @contextmanager
    def errors_reported_once(self) -> Iterator[None]:
        """Report a UserError in the first process only; the others exit silently with its code.

        Every process reports that the first one has not arrived.
        """
        try:
            yield
        except NobodyThereError:
            raise
        except UserError as error:
            if self.rank == 0:
                raise
            raise SystemExit(error.exit_code) from None

    @contextmanager
    def joined(self) -> Iterator[None]:
        """Join several processes in a process group, each with its own GPU as `cuda`.

        If one dies, it is named on standard error within a minute, and the others exit with code 1.
        Raises UserError if the others have not arrived after some minutes.
        """
        if self.size == 1:
            yield
            return
        import torch
        from torch import distributed

        if torch.cuda.is_available():
            torch.cuda.set_device(self.local_rank % torch.cuda.device_count())
        store = meet(self.rank, self.size)
        distributed.init_process_group(
            "gloo", store=store, rank=self.rank, world_size=self.size, timeout=LONGEST_WAIT
        )
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
        """Return the results of `work` in all processes, by rank; all joined ones must call it.

        If `work` raises UserError in some processes, all raise that of the lowest rank.
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
