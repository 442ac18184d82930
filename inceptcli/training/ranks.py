"""Exchange values and decisions between all ranks of a run."""

from __future__ import annotations

from typing import Any, NoReturn, TypeVar

import torch
from lightning.pytorch import Trainer

from inceptcli.errors import UserError

Item = TypeVar("Item")


def from_all_ranks(trainer: Trainer, item: Item) -> list[Item]:
    """Return the items of all ranks in rank order; a collective call."""
    if trainer.world_size == 1:
        return [item]
    items: list[Item] = [item] * trainer.world_size
    torch.distributed.all_gather_object(items, item)
    return items


class Agreement:
    """Collective decisions over the CPU (gloo), without synchronization with the device."""

    def __init__(self) -> None:
        self._group: Any = None

    def connect(self, trainer: Trainer) -> None:
        """Create the process group; a collective call before the first `any`."""
        if trainer.world_size > 1 and torch.distributed.get_backend() != "gloo":
            self._group = torch.distributed.new_group(backend="gloo")

    def any(self, trainer: Trainer, wish: bool) -> bool:
        """Return whether `wish` is true on any rank; a collective call."""
        if trainer.world_size == 1:
            return wish
        wishes = torch.tensor(int(wish))
        torch.distributed.all_reduce(wishes, torch.distributed.ReduceOp.MAX, self._group)
        return bool(wishes)


def end_all(trainer: Trainer, message: str) -> NoReturn:
    """End the run on all ranks; a collective call.

    Raises UserError on rank 0, SystemExit(1) on the others.
    """
    if trainer.is_global_zero:
        raise UserError(message)
    raise SystemExit(1)
