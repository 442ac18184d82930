"""What all ranks of a run have to agree on."""

from __future__ import annotations

from typing import NoReturn, TypeVar

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


def end_all(trainer: Trainer, message: str) -> NoReturn:
    """End the run; all ranks have to call it, and one of them speaks.

    Raises UserError on the first rank, SystemExit(1) on the others.
    """
    if trainer.is_global_zero:
        raise UserError(message)
    raise SystemExit(1)
