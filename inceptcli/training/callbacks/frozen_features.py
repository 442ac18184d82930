"""Compute the features of a frozen network once, so that epochs train the classifier alone."""

from __future__ import annotations

import logging
import time
from typing import NamedTuple

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.utils.data import DataLoader

from inceptcli.data.loading.datamodule import ImageData
from inceptcli.data.loading.dataset import Batch, EvaluationDataset, Features, Sample, Skipped
from inceptcli.progress.display import Display
from inceptcli.progress.task import Task
from inceptcli.text import duration
from inceptcli.training.callbacks.dead_units import DeadUnits
from inceptcli.training.callbacks.recorder import Recorder
from inceptcli.training.fine_tuning import keeps_features
from inceptcli.training.module import Classifier
from inceptcli.training.plan import Plan
from inceptcli.training.ranks import from_all_ranks
from inceptcli.training.stopping import Stopped, Stopping

logger = logging.getLogger(__name__)


class _Found(NamedTuple):
    """Features (N, C) of the images with `numbers` (N,), and images that cannot be read."""

    numbers: Tensor
    rows: Tensor | None
    skipped: list[Skipped]


class FrozenFeatures(Callback):
    """Callback that computes the features of all images before training, if the plan keeps them.

    Features are the last stage's, averaged over the image: what enters dropout and the classifier.
    Every process of a run computes them in the same batches, so a resumed run has the same bits.
    Ranks share the training images and exchange their features; each computes those of its own
    validation images, in the batches of its validation.
    """

    def __init__(
        self, plan: Plan, stopping: Stopping, dead_units: DeadUnits, recorder: Recorder
    ) -> None:
        self.plan, self.stopping = plan, stopping
        self.dead_units, self.recorder = dead_units, recorder

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let the data module ask for the features when training needs its first batch."""
        if not keeps_features(self.plan):
            return
        data = trainer.datamodule  # type: ignore[attr-defined]
        assert isinstance(pl_module, Classifier)
        assert isinstance(data, ImageData)
        data.compute_features = lambda: self.compute(trainer, pl_module, data)

    def compute(
        self, trainer: Trainer, classifier: Classifier, data: ImageData
    ) -> tuple[Features, Features]:
        """Compute the features of training and validation images; a collective call.

        Dead units are counted on the same validation images. Raises Stopped on all ranks if one of
        them must stop.
        """
        started, number = time.monotonic(), len(self.plan.train) + len(self.plan.val)
        self.stopping.training = True  # a signal waits for the end of the batch
        try:
            with Display().task("features", number) as task:
                run = _Pass(trainer, classifier, self.stopping, task)
                train = run.features(_training_batches(trainer, data), shared=True)
                classifier.on_validation_start()
                self.dead_units.watch(classifier.network)
                with torch.no_grad():
                    val = run.features(data.val_dataloader(), shared=False)
                self.dead_units.count(trainer)
                classifier.on_validation_end()
        finally:
            self.stopping.training = False
        self.dead_units.are_constant = True
        passed = time.monotonic() - started
        self.recorder.seconds += passed
        logger.info(f"computed the features of {number:,} images in {duration(passed)}")
        return train, val


def _training_batches(trainer: Trainer, data: ImageData) -> DataLoader[Sample]:
    """Return this rank's share of batches in order of the images, all of a training batch's size.

    Kernels may round differently in a smaller batch, so the last one overlaps the one before.
    """
    last = max(0, len(data.train) - data.batch_size)
    batches = [
        [*range(start, min(start + data.batch_size, len(data.train)))]
        for start in [*range(0, last, data.batch_size), last]
    ]
    mine = batches[trainer.global_rank :: trainer.world_size] or [[]]
    images = EvaluationDataset(data.train, data.preprocessing, num_classes=data.num_classes)
    return data.loader(images, batch_sampler=mine)


class _Pass:
    """Forward passes of the frozen network over images, in step with the other ranks."""

    def __init__(
        self, trainer: Trainer, classifier: Classifier, stopping: Stopping, task: Task
    ) -> None:
        self.trainer, self.classifier = trainer, classifier
        self.stopping, self.task = stopping, task

    def features(self, loader: DataLoader[Sample], shared: bool) -> Features:
        """Return the features of the loader's images, with `shared` of all ranks' images."""
        features = Features(len(loader.dataset))  # type: ignore[arg-type]
        batches = iter(loader)
        for _ in range(max(from_all_ranks(self.trainer, len(loader)))):
            found = self._of(next(batches, None))
            wish = self.stopping.reason is not None
            told = from_all_ranks(self.trainer, (found if shared else None, wish))
            for other in [entry for entry, _ in told if entry is not None] if shared else [found]:
                features.add(*other)
            self.task.advance(len(found.numbers) * self.trainer.world_size)
            if any(wish for _, wish in told):
                raise Stopped
        return features

    def _of(self, batch: Batch | None) -> _Found:
        if batch is None or not len(batch.labels):
            skipped = [] if batch is None else batch.skipped
            return _Found(torch.empty(0, dtype=torch.int64), None, skipped)
        moved = self.trainer.strategy.batch_to_device(batch)
        with self.trainer.precision_plugin.forward_context():
            pixels = self.classifier.pixels(moved.images)
            rows = self.classifier.network.pool(self.classifier.network.forward_features(pixels))
        return _Found(batch.numbers, rows.detach().cpu(), batch.skipped)
