"""Crops to logits on a CUDA device, copied in and out while it computes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import cycle

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inceptcli.prediction.engines.engine import Pending

SLOTS = 2
"""Batches on their way: one that is computed, and one that is filled."""


class _Slot:
    """Where a batch's pixels lie, here (pinned) and on the device, and what became of them."""

    def __init__(self, shape: tuple[int, ...], device: torch.device) -> None:
        self.here = torch.empty(shape, dtype=torch.uint8, pin_memory=True)
        self.there = torch.empty(shape, dtype=torch.uint8, device=device)
        self.copied, self.computed = _event(), _event()


class CudaPipeline:
    """Copies each batch on a stream of its own while the one before is computed."""

    def __init__(
        self,
        compute: Callable[[Tensor], Tensor],
        device: torch.device,
        shape: tuple[int, ...],
        one_size: bool,
    ) -> None:
        """A pipeline for `compute`, which makes pixels (N, 3, H, W), uint8, logits.

        `shape` is that of the largest batch, (N, H, W, 3); with `one_size` every batch is computed
        as one so large, whose last rows are not read.
        """
        self._compute, self._device, self._one_size = compute, device, one_size
        with torch.cuda.device(device):
            self._slots = cycle([_Slot(shape, device) for _ in range(SLOTS)])
            self._copies = torch.cuda.Stream()  # type: ignore[no-untyped-call]

    @torch.inference_mode()
    def start(self, images: Sequence[NDArray[np.uint8]]) -> Pending:
        """Crops (N, H, W, 3) of each of some pictures to logits of all (N, num_classes), begun.

        SLOTS may be begun and not waited for.
        """
        slot = next(self._slots)
        slot.copied.synchronize()  # the last batch that was here
        pixels = slot.here.numpy()
        count = 0
        for crops in images:
            pixels[count : count + len(crops)] = crops
            count += len(crops)
        rows = len(pixels) if self._one_size else count
        with torch.cuda.device(self._device):
            with torch.cuda.stream(self._copies):
                self._copies.wait_event(slot.computed)
                slot.there[:count].copy_(slot.here[:count], non_blocking=True)
                slot.copied.record()
            torch.cuda.current_stream().wait_event(slot.copied)
            logits = self._compute(slot.there[:rows].permute(0, 3, 1, 2))[:count].float()
            slot.computed.record()
            found = torch.empty(logits.shape, pin_memory=True)
            found.copy_(logits, non_blocking=True)
            done = _event()
            done.record()

        def result() -> NDArray[np.float32]:
            done.synchronize()
            array: NDArray[np.float32] = found.numpy()
            return array

        return result


def _event() -> torch.cuda.Event:
    return torch.cuda.Event()  # type: ignore[no-untyped-call]
