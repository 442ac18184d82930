"""From crops to logits on a CUDA device; copies overlap with computation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import cycle

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inceptcli.prediction.engines.engine import Pending

SLOTS = 2
"""Batches in flight: one is computed while the next is copied."""


class _Slot:
    """Pixel buffers of a batch, pinned on the host and on the device, with events."""

    def __init__(self, shape: tuple[int, ...], device: torch.device) -> None:
        self.here = torch.empty(shape, dtype=torch.uint8, pin_memory=True)
        self.there = torch.empty(shape, dtype=torch.uint8, device=device)
        self.copied, self.computed = _event(), _event()


class CudaPipeline:
    """Copies each batch on a separate stream while the previous one is computed."""

    def __init__(
        self,
        compute: Callable[[Tensor], Tensor],
        device: torch.device,
        shape: tuple[int, ...],
        one_size: bool,
    ) -> None:
        """Make a pipeline for `compute`, which maps pixels (N, 3, H, W), uint8, to logits.

        `shape` is the shape of the largest batch, (N, H, W, 3). With `one_size`, every batch is
        computed at this size and the rows in excess are ignored.
        """
        self._compute, self._device, self._one_size = compute, device, one_size
        with torch.cuda.device(device):
            self._slots = cycle([_Slot(shape, device) for _ in range(SLOTS)])
            self._copies = torch.cuda.Stream()  # type: ignore[no-untyped-call]

    @torch.inference_mode()
    def start(self, images: Sequence[NDArray[np.uint8]]) -> Pending:
        """Start computing logits (N, num_classes) of the crops (N, H, W, 3) of all images together.

        At most SLOTS batches may be pending.
        """
        slot = next(self._slots)
        slot.copied.synchronize()  # the previous batch of this slot
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
