"""Lightning data module with the training and validation loaders."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from multiprocessing import parent_process
from multiprocessing.queues import Queue
from types import TracebackType
from typing import Any

import torch
from lightning.pytorch import LightningDataModule, Trainer
from torch.utils.data import BatchSampler, DataLoader, Dataset
from torch.utils.data.dataloader import _BaseDataLoaderIter

from inceptcli.data.loading.dataset import (
    EvaluationDataset,
    Features,
    Sample,
    TrainingDataset,
    collate,
)
from inceptcli.data.loading.forking import loading_context
from inceptcli.data.loading.sampler import BalancedSampler, PositionedSampler, ShareSampler
from inceptcli.data.loading.shared_memory import Workers
from inceptcli.data.pixels.augmentation import Transform
from inceptcli.data.pixels.preprocessing import Preprocessing
from inceptcli.data.sources import ImageSource, labels_of
from inceptcli.processes.signals import STOPPING_SIGNALS, signals_held


class ImageData(LightningDataModule):
    """Training and validation images of one rank.

    Training starts at the trainer's current position. `limit_batches` is the maximum number of
    batches in a training epoch and in a validation. With `balanced`, an epoch has every class
    equally often. `num_classes` is needed for multi-label data. `compute_features` computes the
    `features` of training and validation images, which then replace the images.
    """

    def __init__(
        self,
        train: ImageSource,
        val: ImageSource,
        transform: Transform,
        preprocessing: Preprocessing,
        batch_size: int,
        workers: Workers,
        seed: int,
        limit_batches: int | None = None,
        balanced: bool = False,
        num_classes: int | None = None,
    ) -> None:
        super().__init__()
        self.train, self.val = train, val
        self.transform, self.preprocessing = transform, preprocessing
        self.batch_size, self.workers, self.seed = batch_size, workers, seed
        self.limit_batches, self.balanced = limit_batches, balanced
        self.num_classes = num_classes
        self.features: tuple[Features, Features] | None = None
        self.compute_features: Callable[[], tuple[Features, Features]] | None = None

    def train_dataloader(self) -> DataLoader[Sample]:
        """Return a loader that starts at the current position; its length is a full epoch."""
        trainer = self.trainer
        assert trainer is not None
        if self.compute_features is not None and self.features is None:
            self.features = self.compute_features()
        position = lambda: batches_done(trainer)  # noqa: E731
        ranks = (trainer.global_rank, trainer.world_size)
        options = (self.batch_size, self.seed, position, *ranks, self.limit_batches)
        sampler = (
            BalancedSampler(labels_of(self.train), *options)
            if self.balanced
            else PositionedSampler(len(self.train), *options)
        )
        images = TrainingDataset(
            self.train, self.transform, self.seed, self._kept(0), self.num_classes
        )
        return self.loader(images, sampler=sampler, batch_size=self.batch_size, drop_last=True)

    def val_dataloader(self) -> DataLoader[Sample]:
        """Return a loader of this rank's validation images, each image on exactly one rank.

        With `limit_batches`, the images are evenly spaced over the whole set.
        """
        trainer = self.trainer
        assert trainer is not None
        share = ShareSampler(
            len(self.val), trainer.global_rank, trainer.world_size, self._num_validated()
        )
        # Every rank takes part in validation, even one without images.
        batches = list(BatchSampler(share, self.batch_size, drop_last=False)) or [[]]
        images = EvaluationDataset(self.val, self.preprocessing, self._kept(1), self.num_classes)
        return self.loader(images, batch_sampler=batches)

    def _kept(self, part: int) -> Features | None:
        return None if self.features is None else self.features[part]

    def _num_validated(self) -> int:
        if self.limit_batches is None:
            return len(self.val)
        assert self.trainer is not None
        return min(len(self.val), self.limit_batches * self.batch_size * self.trainer.world_size)

    @property
    def _on_gpu(self) -> bool:
        """Whether batches are copied to a CUDA device, asynchronously from pinned memory."""
        return self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"

    def loader(self, images: Dataset[Sample], **order: Any) -> DataLoader[Sample]:
        """Return a loader of `images` in an `order` of samples or of batches."""
        workers = self.workers.number if self.features is None else 0
        return _Loader(
            images,
            **order,
            num_workers=workers,
            prefetch_factor=self.workers.prefetched if workers else None,
            collate_fn=collate,
            pin_memory=self._on_gpu,
            persistent_workers=workers > 0,
            worker_init_fn=_start_worker,
            multiprocessing_context=loading_context() if workers else None,
            # Else each new iterator would draw from the default generator, which dropout uses.
            generator=torch.Generator(),
        )


class _Loader(DataLoader[Sample]):
    """A loader whose workers ignore the signals that stop a run; the main process handles them.

    A terminal, `timeout` and many batch systems signal the whole process group. A worker that
    exited would make the run fail before it is saved.
    """

    def __iter__(self) -> _BaseDataLoaderIter:
        """Start the workers, which inherit the blocked signals."""
        with signals_held():
            return super().__iter__()


def _start_worker(worker: int) -> None:
    """Initialize a worker to exit only on the main process's SIGTERM, as torch's handler does.

    It also exits if it cannot hand over a batch, as when shared memory is full. The main process
    would otherwise wait for that batch forever. If the main process leaves at once, it says nothing
    about the connection that it loses.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING_SIGNALS)
    threading.Thread(target=_end_with_main_process, daemon=True).start()
    sys.excepthook = _without_lost_connections
    Queue._on_queue_feeder_error = staticmethod(_end_without_batch)  # type: ignore[attr-defined]


def _without_lost_connections(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    """Handle an uncaught error as usual, unless the connection to the main process is lost."""
    if not isinstance(error, OSError | EOFError):
        sys.__excepthook__(kind, error, traceback)


def _end_without_batch(error: Exception, batch: object) -> None:
    if not isinstance(error, ConnectionError):  # else the main process is gone
        os.write(
            2, f"data loading worker {os.getpid()}: cannot hand over a batch: {error}\n".encode()
        )
    os._exit(1)


def _end_with_main_process() -> None:
    main = parent_process()
    if sys.platform != "darwin":  # macOS does not report the sender of a signal
        while main is not None:
            if signal.sigwaitinfo([signal.SIGTERM]).si_pid == main.pid:
                os._exit(0)


def batches_done(trainer: Trainer) -> int:
    """Return the training batches each rank has processed, including those before a resume."""
    return int(vars(trainer.fit_loop.epoch_loop.batch_progress.total)["processed"])
