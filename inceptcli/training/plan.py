"""Resolve a recipe to network, classes, images and weights, before heavy imports."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inceptcli.data.identity import DataIdentity, KeptIdentity
from inceptcli.data.open_data import open_for_training
from inceptcli.data.pixels.preprocessing import Preprocessing
from inceptcli.data.pixels.shapes import CLASSES, Shapes
from inceptcli.data.sources import ListedSource, is_multi_label, labels_of
from inceptcli.errors import UsageError, UserError
from inceptcli.networks.registry import AUXILIARY_IMAGE_SIZE, NETWORKS, NetworkOptions
from inceptcli.recipe.file import override
from inceptcli.recipe.schema import Recipe, check
from inceptcli.text import listed, printable
from inceptcli.training.callbacks.loggers import check_logger
from inceptcli.training.initial_weights import starting_file
from inceptcli.training.resuming import EarlierRun
from inceptcli.weights.header import parse_header
from inceptcli.weights.metadata import ClassName, OutputKind, WeightsMetadata
from inceptcli.weights.trained_network import network_of, preprocessing_of

SMALLEST_BATCH = 2
"""Smallest batch size; batch norm cannot compute statistics of one image."""

SHARDED_STRATEGIES = ("fsdp", "deepspeed", "model_parallel", "xla_fsdp")


@dataclass(frozen=True)
class Plan:
    """Checked recipe of a run with its network, classes, images and preprocessing.

    `init` is the weights file to start from; None for random weights or a resumed run.
    """

    recipe: Recipe
    network: NetworkOptions
    classes: tuple[ClassName, ...]
    identity: DataIdentity
    preprocessing: Preprocessing
    init: Path | None

    def __deepcopy__(self, memo: object) -> Plan:
        """Return the plan itself, which is immutable; the moving average copies its module."""
        return self

    @property
    def train(self) -> ListedSource:
        """Return the training images."""
        return self.identity.train

    @property
    def val(self) -> ListedSource:
        """Return the validation images."""
        return self.identity.val

    def part(self, name: str) -> ListedSource:
        """Return the images of part train or val."""
        return {"train": self.train, "val": self.val}[name]

    @cached_property
    def is_multi_label(self) -> bool:
        """Return whether an image may have any number of labels."""
        return is_multi_label(self.train)

    @property
    def best_by(self) -> str:
        """Return the measure that selects the best weights."""
        by = self.recipe.trainer.best_by
        return "val_average_precision" if self.is_multi_label and by == "val_top1" else by

    @property
    def outputs(self) -> OutputKind:
        """Return the function that makes probabilities of the network's logits."""
        return "sigmoid" if self.recipe.loss.name == "binary" else "softmax"

    @cached_property
    def class_counts(self) -> NDArray[np.int64]:
        """Return the number of training images of each class, (classes,)."""
        return np.bincount(labels_of(self.train), minlength=len(self.classes))

    @cached_property
    def class_weights(self) -> tuple[float, ...] | None:
        """Return the weight of each class in the training loss; None where all are 1.

        Raises UsageError when the recipe's weights do not fit the classes.
        """
        weights, classes = self.recipe.loss.class_weights, len(self.classes)
        if weights is None:
            return None
        if weights != "balanced":
            if len(weights) != classes:
                names = listed([name.name for name in self.classes], 10)
                raise UsageError(
                    f"loss.class_weights has {len(weights)} numbers for {classes} classes; give "
                    f"one for each, in the order of the classes: {names}"
                )
            return tuple(weights)
        counts = self.class_counts
        if not counts.all():
            name = printable(self.classes[int(counts.argmin())].name)
            raise UsageError(
                f"loss.class_weights balanced: no training image has class {name}; remove the "
                "class, or give a list of weights"
            )
        return tuple((len(self.train) / (classes * counts)).tolist())

    @property
    def batch_size(self) -> int:
        """Return the images per device and batch; raise ValueError while it is auto."""
        size = self.recipe.data.batch_size
        if size == "auto":
            raise ValueError("data.batch_size is auto: find_batch_size comes first")
        return size

    def with_batch_size(self, size: int) -> Plan:
        """Return the plan with `size` images per device and batch."""
        changed = override(self.recipe.as_dict(), {"data.batch_size": size})
        return replace(self, recipe=check(changed))

    def batches_per_epoch(self, num_ranks: int) -> int:
        """Return the batches per rank and epoch; an incomplete last batch is dropped."""
        batches = len(self.train) // (self.batch_size * num_ranks)
        limit = self.recipe.trainer.limit_batches
        return batches if limit is None else min(limit, batches)

    def num_validated(self, num_ranks: int) -> int:
        """Return the number of images in a validation."""
        limit = self.recipe.trainer.limit_batches
        images = len(self.val)
        return images if limit is None else min(images, limit * self.batch_size * num_ranks)

    def steps_per_epoch(self, num_ranks: int) -> int:
        """Return the optimizer steps per epoch; the last may average fewer batches."""
        return -(-self.batches_per_epoch(num_ranks) // self.recipe.trainer.accumulate_batches)

    def total_steps(self, num_ranks: int) -> int:
        """Return the optimizer steps of the whole run."""
        return self.steps_per_epoch(num_ranks) * self.recipe.trainer.epochs

    def validates_after(self, step: int, num_ranks: int) -> bool:
        """Return whether a validation follows optimizer step `step` (1-based)."""
        every = self.recipe.trainer.validate_every
        interval = (
            every * self.steps_per_epoch(num_ranks)
            if isinstance(every, int)
            else int(every.removesuffix("steps"))
        )
        return step % interval == 0 or step == self.total_steps(num_ranks)

    def epochs_after(self, step: int, num_ranks: int) -> float:
        """Return the epochs after `step` steps: a whole number at the end of an epoch."""
        whole, steps = divmod(step, self.steps_per_epoch(num_ranks))
        return round(whole + steps / self.steps_per_epoch(num_ranks), 4) if steps else whole

    def effective_batch(self, num_ranks: int) -> int:
        """Return the images per optimizer step, except an epoch's last."""
        return self.batch_size * num_ranks * self.accumulated_batches(num_ranks)

    def accumulated_batches(self, num_ranks: int) -> int:
        """Return the batches per rank and optimizer step, at most those of an epoch."""
        return min(self.recipe.trainer.accumulate_batches, self.batches_per_epoch(num_ranks))

    def unused_images(self, num_ranks: int) -> int:
        """Return the training images that no batch of an epoch has; others in each epoch."""
        return len(self.train) - self.batches_per_epoch(num_ranks) * self.batch_size * num_ranks

    def last_step_images(self, num_ranks: int) -> int:
        """Return the images in the last optimizer step of an epoch."""
        batches = self.batches_per_epoch(num_ranks)
        last = batches % self.accumulated_batches(num_ranks) or self.accumulated_batches(num_ranks)
        return self.batch_size * num_ranks * last


def plan(
    recipe: Recipe,
    earlier: EarlierRun = EarlierRun(),  # noqa: B008 (a tuple, which nothing changes)
) -> Plan:
    """Resolve `recipe`: look up the network, find the images and the initial weights.

    Published weights and shards are downloaded here. An `earlier` run with a checkpoint needs no
    initial weights, and its train/val split is kept even if unreadable images were repaired.

    Raises:
        UsageError: the recipe's settings are impossible or contradict each other.
        UserError: data or weights are invalid, or a package is missing.
    """
    check_logger(recipe.trainer.logger)
    identity = data_of(recipe, earlier.data)
    names = identity.classes
    _check_labels(recipe, identity)
    try:
        network = network_of(recipe, len(names))
    except ValueError as error:
        raise UsageError(f"network.name: {error}") from error
    preprocessing = preprocessing_of(recipe, network.in_channels)
    _check_freeze(recipe)
    _check_auxiliary_head(recipe)
    if recipe.optimizer.name == "lamb" and find_spec("timm") is None:
        raise UserError("optimizer.name lamb needs timm; pip install 'inceptcli[timm]'")
    _check_batch_size(recipe, len(identity.train))
    if recipe.trainer.strategy.startswith(SHARDED_STRATEGIES):
        raise UsageError(
            f"trainer.strategy {recipe.trainer.strategy}: sharded parameters cannot be averaged; "
            "use ddp"
        )
    classes = tuple(ClassName(name, name) for name in names)
    _check_saved(WeightsMetadata(network, classes, preprocessing))
    init = recipe.network.init
    path = None if init is None or earlier.has_weights else starting_file(init, network)
    planned = Plan(recipe, network, classes, identity, preprocessing, path)
    _ = planned.class_weights  # raises before anything is loaded
    return planned


def data_of(recipe: Recipe, kept: KeptIdentity | None = None) -> DataIdentity:
    """Open the data of a recipe, with the train/val split of an earlier run in `kept`, if any.

    Raises what `open_for_training` raises, and UsageError when `shapes` would be split.
    """
    data = recipe.data
    if data.path is not None:
        train, val, names = open_for_training(
            data.path,
            data.val_path,
            data.val_fraction,
            kept,
            data.exclude,
            allow_unlabeled=data.allow_unlabeled,
        )
        return DataIdentity(names, train, val)
    if (data.val_path, data.val_fraction, data.exclude) != (None, None, None):
        raise UsageError(
            "--val-data, --val-fraction and --exclude need --data: `shapes` has its own validation "
            "images"
        )
    size, seed, pairs = data.height_and_width, recipe.trainer.seed, data.shapes == "pairs"
    return DataIdentity(
        CLASSES,
        Shapes(seed, data.train_size, size, "train", pairs),
        Shapes(seed, data.val_size, size, "val", pairs),
    )


def _check_labels(recipe: Recipe, identity: DataIdentity) -> None:
    """Raise UsageError if the data is multi-label and the recipe or the labels do not fit."""
    if not is_multi_label(identity.train):
        return
    if recipe.trainer.best_by == "val_balanced_accuracy":
        raise UsageError("trainer.best_by val_balanced_accuracy: not measured on multi-label data")
    place = printable(recipe.data.path or "shapes: pairs")
    if recipe.loss.name != "binary":
        raise UsageError(
            f"{place}: an image may have several labels, which needs sigmoid outputs; give --set "
            "loss.name=binary, or a column label with one label per image"
        )
    if recipe.data.sampling == "balanced":
        raise UsageError(
            "data.sampling balanced needs one label per image; use loss.class_weights=balanced"
        )
    if not any(identity.val.label(index) for index in range(len(identity.val))):
        raise UsageError(f"{place}: no validation image has a label, so nothing can be measured")


def _check_saved(metadata: WeightsMetadata) -> None:
    """Raise UsageError if the metadata would not be valid in a weights file."""
    try:
        parse_header(metadata.to_header()["inceptcli"])
    except ValueError as error:
        raise UsageError(f"recipe: {error}") from error


def _check_batch_size(recipe: Recipe, images: int) -> None:
    size, devices = recipe.data.batch_size, recipe.trainer.devices
    if size == 1:
        raise UsageError("data.batch_size must be at least 2 for batch norm, got 1")
    if images < SMALLEST_BATCH:
        raise UsageError(
            f"{images} training image(s) are too few: batch norm needs at least 2; give more"
        )
    if size != "auto":
        ranks = recipe.trainer.num_nodes * (devices if isinstance(devices, int) else 1)
        check_batch_size(size, ranks, images)


def check_batch_size(size: int, ranks: int, images: int) -> None:
    """Raise UsageError if the images are too few for one batch on each of the ranks."""
    if images < size * ranks:
        raise UsageError(
            f"data.batch_size {size} on {ranks} device(s) is more than the {images} "
            "training images; give a smaller --batch-size"
        )


def _check_freeze(recipe: Recipe) -> None:
    freeze = recipe.network.freeze
    if freeze != "none" and recipe.network.init is None:
        raise UsageError(
            f"network.freeze {freeze}: would freeze random weights; give --init with weights"
        )


def _check_auxiliary_head(recipe: Recipe) -> None:
    if recipe.network.auxiliary_weight is None:
        return
    having = [name for name, layout in NETWORKS.items() if layout.has_auxiliary_head]
    if recipe.network.name not in having:
        raise UsageError(
            f"network.auxiliary_weight: {recipe.network.name} has no auxiliary classifier; "
            f"{', '.join(having)} have one"
        )
    if min(recipe.data.height_and_width) < AUXILIARY_IMAGE_SIZE:
        raise UsageError(
            f"network.auxiliary_weight needs data.image_size of at least {AUXILIARY_IMAGE_SIZE}, "
            f"got {recipe.data.image_size}; null trains without the auxiliary loss"
        )
    if recipe.network.freeze == "all-but-head":
        raise UsageError("network.auxiliary_weight trains nothing with network.freeze all-but-head")
