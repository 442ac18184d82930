"""What all ranks of a run have to agree on."""

from __future__ import annotations

from typing import Any, NoReturn, TypeVar

import torch
from lightning.pytorch import Trainer

from inceptcli.errors import UserError

Item = TypeVar("Item")


def from_all_ranks(trainer: Trainer, item: Item) -> list[Item]:
    """Every rank's `item`, by rank, on every rank; all of them have to call it."""
    if trainer.world_size == 1:
        return [item]
    items: list[Item] = [item] * trainer.world_size
    torch.distributed.all_gather_object(items, item)
    return items


class Agreement:
    """Lets all ranks agree in the memory of their hosts, so that none waits for its device."""

    def __init__(self) -> None:
        self._group: Any = None

    def connect(self, trainer: Trainer) -> None:
        """Meet the other ranks; all of them have to call it before `any`."""
        if trainer.world_size > 1 and torch.distributed.get_backend() != "gloo":
            self._group = torch.distributed.new_group(backend="gloo")

    def any(self, trainer: Trainer, wish: bool) -> bool:
        """Whether any rank wishes so; all of them have to call it."""
        if trainer.world_size == 1:
            return wish
        wishes = torch.tensor(int(wish))
        torch.distributed.all_reduce(wishes, torch.distributed.ReduceOp.MAX, self._group)
        return bool(wishes)


def end_all(trainer: Trainer, message: str) -> NoReturn:
    """End the run; all ranks have to call it, and one of them speaks.

    Raises UserError on the first rank, SystemExit(1) on the others.
    """
    if trainer.is_global_zero:
        raise UserError(message)
    raise SystemExit(1)
