"""Find the batch size of `data.batch_size: auto` with Lightning's batch-size finder."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import torch
from lightning.fabric.plugins import CheckpointIO
from lightning.pytorch import Trainer
from lightning.pytorch.strategies import SingleDeviceStrategy
from lightning.pytorch.tuner.tuning import Tuner
from lightning.pytorch.utilities.memory import garbage_collection_cuda
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from inceptcli.data.loading.dataset import Batch
from inceptcli.errors import UsageError, UserError
from inceptcli.networks.network import Network
from inceptcli.training.failures import is_out_of_memory, out_of_memory
from inceptcli.training.fine_tuning import new_network
from inceptcli.training.module import Classifier
from inceptcli.training.plan import SMALLEST_BATCH, Plan
from inceptcli.training.stopping import Stopping
from inceptcli.training.trainer import trainer_on_devices

logger = logging.getLogger(__name__)

MARGIN = 0.05
"""Share subtracted from the largest batch, since later steps may need more memory."""

STEPS = 3
"""Optimizer steps of a trial; the optimizer's state exists from the second on."""


def find_batch_size(plan: Plan, stopping: Stopping) -> Plan:
    """Return the plan with the largest batch size that fits in device memory, less `MARGIN`.

    The search leaves no files, changes no random state and frees its memory. `binsearch` doubles
    the batch until memory runs out and then halves the interval; `power` would stop at a power of
    two, as low as half of the limit.

    Raises:
        UsageError: there is not exactly one CUDA device.
        UserError: a batch of two images does not fit.
        Stopped: a stop was requested.
    """
    trainer = trainer_on_devices(
        plan.recipe.trainer,
        plugins=[_MemoryCheckpointIO()],
        enable_checkpointing=False,
        max_epochs=1,
    )
    device = _single_device(plan, trainer)
    images = len(plan.train)
    logger.info(f"data.batch_size auto: searching for the largest batch that fits on {device}")
    with isolate_rng():
        smallest = plan.with_batch_size(SMALLEST_BATCH)
        trial = Trial(new_network(smallest), smallest, stopping)
        found = Tuner(trainer).scale_batch_size(
            trial,
            mode="binsearch",
            steps_per_trial=STEPS,
            init_val=SMALLEST_BATCH,
            margin=MARGIN,
            # The finder accepts this size without a trial; half of it is tried and sufficient.
            max_val=2 * images,
        )
    if not trial.fits:
        raise UserError(out_of_memory(smallest))
    del trainer, trial
    garbage_collection_cuda()
    size = min(max(found or 0, SMALLEST_BATCH), images)
    limit = "all training images" if size == images else f"{MARGIN:.0%} below the limit"
    logger.info(f"data.batch_size auto: {size} images per device and step, {limit}")
    return plan.with_batch_size(size)


class Trial(Classifier):
    """Classifier that trains on batches of black images with the memory use of a real run."""

    def __init__(self, network: Network, plan: Plan, stopping: Stopping) -> None:
        super().__init__(network, plan)
        self.stopping = stopping
        self.batch_size = SMALLEST_BATCH  # Lightning's finder sets it
        self.fits = False
        self._average: list[Tensor] = []

    def train_dataloader(self) -> DataLoader[Batch]:
        """Return one batch per step of a trial."""
        return DataLoader(_BlackImages(self.batch_size, self.plan), batch_size=None)

    def val_dataloader(self) -> list[Batch]:
        """Return no batches; Lightning's finder requires a loader."""
        return []

    def on_train_start(self) -> None:
        """Allocate the memory of the moving average."""
        if self.plan.recipe.averaging.decay and not self._average:
            self._average = [tensor.clone() for tensor in self.state_dict().values()]

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Raise Stopped if a stop was requested."""
        super().on_train_batch_start(batch, batch_idx)
        self.stopping.check()

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Run the step; convert any out-of-memory error to one that Lightning recognizes."""
        try:
            super().optimizer_step(*args, **kwargs)
        except (MemoryError, RuntimeError) as error:
            if is_out_of_memory(error):
                raise RuntimeError("CUDA out of memory") from error
            raise
        self.fits = True

    def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: Any) -> None:
        """Keep the gradients' memory if batches accumulate, as in a real run."""
        accumulates = self.plan.recipe.trainer.accumulate_batches > 1
        optimizer.zero_grad(set_to_none=not accumulates)


class _BlackImages(IterableDataset[Batch]):
    """Batches of black images; without a length, which would limit the finder."""

    def __init__(self, size: int, plan: Plan) -> None:
        self.size, self.image_size = size, plan.preprocessing.image_size
        self.num_classes = plan.network.num_classes if plan.is_multi_label else None

    def __iter__(self) -> Iterator[Batch]:
        images = torch.zeros(self.size, *self.image_size, 3, dtype=torch.uint8)
        numbers = torch.zeros(self.size, dtype=torch.int64)
        several = self.num_classes is not None
        labels = torch.zeros(self.size, self.num_classes or 0) if several else numbers
        yield from [Batch(images.permute(0, 3, 1, 2), labels, numbers, [])] * STEPS


class _MemoryCheckpointIO(CheckpointIO):
    """Checkpoint IO in memory for Lightning's finder; writes no file."""

    def __init__(self) -> None:
        self._checkpoint: dict[str, Any] = {}

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        self._checkpoint = checkpoint

    def load_checkpoint(
        self, path: Any, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        return self._checkpoint

    def remove_checkpoint(self, path: Any) -> None:
        self._checkpoint = {}


def has_limit(device: torch.device) -> bool:
    """Return whether a too large batch raises an error; a CPU swaps until the kernel kills it."""
    return device.type == "cuda"


def _single_device(plan: Plan, trainer: Trainer) -> torch.device:
    device = trainer.strategy.root_device
    if not has_limit(device):
        raise UsageError(
            f"data.batch_size auto: needs a CUDA device, got {device.type}; give --batch-size a "
            "number, or --accelerator gpu"
        )
    if trainer.world_size > 1 or not isinstance(trainer.strategy, SingleDeviceStrategy):
        settings = plan.recipe.trainer
        raise UsageError(
            f"data.batch_size auto: needs a single device, got {trainer.world_size} with strategy "
            f"{settings.strategy}; find the number with --devices 1 --num-nodes 1 --strategy auto "
            "first, then give it"
        )
    return device
