"""A recipe unpacked: everything a run needs, checked before anything heavy is imported."""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

from inceptcli.data.identity import DataIdentity, KeptIdentity
from inceptcli.data.open_data import open_for_training
from inceptcli.data.pixels.preprocessing import Preprocessing
from inceptcli.data.pixels.shapes import CLASSES, Shapes
from inceptcli.data.sources import ListedSource
from inceptcli.errors import UsageError, UserError
from inceptcli.networks.registry import AUXILIARY_IMAGE_SIZE, NETWORKS, NetworkOptions
from inceptcli.recipe.file import override
from inceptcli.recipe.schema import Recipe, check
from inceptcli.training.callbacks.loggers import check_logger
from inceptcli.training.initial_weights import starting_file
from inceptcli.training.resuming import EarlierRun
from inceptcli.weights.header import parse_header
from inceptcli.weights.metadata import ClassName, WeightsMetadata
from inceptcli.weights.trained_network import network_of, preprocessing_of

SMALLEST_BATCH = 2
"""Images; batch norm has no statistics of one."""

SHARDED_STRATEGIES = ("fsdp", "deepspeed", "model_parallel", "xla_fsdp")


@dataclass(frozen=True)
class Plan:
    """What is trained on what."""

    recipe: Recipe
    network: NetworkOptions
    classes: tuple[ClassName, ...]
    identity: DataIdentity
    preprocessing: Preprocessing
    init: Path | None

    def __deepcopy__(self, memo: object) -> Plan:
        """Itself, which never changes: the running average copies the module that has it."""
        return self

    @property
    def train(self) -> ListedSource:
        """The images that train."""
        return self.identity.train

    @property
    def val(self) -> ListedSource:
        """The images that validate."""
        return self.identity.val

    def part(self, name: str) -> ListedSource:
        """The images that train, or those that validate (val)."""
        return {"train": self.train, "val": self.val}[name]

    @property
    def batch_size(self) -> int:
        """Images per device and step; ValueError while the recipe still says auto."""
        size = self.recipe.data.batch_size
        if size == "auto":
            raise ValueError("data.batch_size is auto: find_batch_size comes first")
        return size

    def with_batch_size(self, size: int) -> Plan:
        """The same with `size` images per device and step."""
        changed = override(self.recipe.as_dict(), {"data.batch_size": size})
        return replace(self, recipe=check(changed))

    def batches_per_epoch(self, num_ranks: int) -> int:
        """Batches of each rank in an epoch; the incomplete last one is dropped."""
        batches = len(self.train) // (self.batch_size * num_ranks)
        limit = self.recipe.trainer.limit_batches
        return batches if limit is None else min(limit, batches)

    def num_validated(self, num_ranks: int) -> int:
        """Images that a validation measures."""
        limit = self.recipe.trainer.limit_batches
        images = len(self.val)
        return images if limit is None else min(images, limit * self.batch_size * num_ranks)

    def steps_per_epoch(self, num_ranks: int) -> int:
        """Optimizer steps in an epoch; the last one may be of fewer batches, their mean."""
        return -(-self.batches_per_epoch(num_ranks) // self.recipe.trainer.accumulate_batches)

    def effective_batch(self, num_ranks: int) -> int:
        """Images in an optimizer step, other than an epoch's last."""
        return self.batch_size * num_ranks * self.accumulated_batches(num_ranks)

    def accumulated_batches(self, num_ranks: int) -> int:
        """Batches of each rank in an optimizer step; no more than an epoch has."""
        return min(self.recipe.trainer.accumulate_batches, self.batches_per_epoch(num_ranks))

    def last_step_images(self, num_ranks: int) -> int:
        """Images in the last optimizer step of an epoch."""
        batches = self.batches_per_epoch(num_ranks)
        last = batches % self.accumulated_batches(num_ranks) or self.accumulated_batches(num_ranks)
        return self.batch_size * num_ranks * last


def plan(
    recipe: Recipe,
    earlier: EarlierRun = EarlierRun(),  # noqa: B008 (a tuple, which nothing changes)
) -> Plan:
    """Unpack `recipe`: look up the network, find the images, look at what to start from.

    An `earlier` run has its weights in a checkpoint, so that those it started from may
    be gone, and keeps the split of its data, whatever becomes of images that could not be read.
    Published weights and shards are fetched here.

    Raises UsageError for what a recipe asks and cannot be, UserError for what its folders hold.
    """
    check_logger(recipe.trainer.logger)
    identity = data_of(recipe, earlier.data)
    names = identity.classes
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
            f"trainer.strategy {recipe.trainer.strategy}: parameters spread over devices cannot be "
            "averaged; use ddp"
        )
    classes = tuple(ClassName(name, name) for name in names)
    _check_saved(WeightsMetadata(network, classes, preprocessing))
    init = recipe.network.init
    path = None if init is None or earlier.has_weights else starting_file(init, network)
    return Plan(recipe, network, classes, identity, preprocessing, path)


def data_of(recipe: Recipe, kept: KeptIdentity | None = None) -> DataIdentity:
    """The data that a recipe names; as `kept`, what a run knows of it, splits it.

    Raises as `open_for_training`, and UsageError when `shapes` are to be split.
    """
    data = recipe.data
    if data.path is not None:
        train, val, names = open_for_training(data.path, data.val_path, data.val_fraction, kept)
        return DataIdentity(names, train, val)
    if data.val_path is not None or data.val_fraction is not None:
        raise UsageError(
            "--val-data and --val-fraction need --data: `shapes` has images to validate on"
        )
    size, seed = data.height_and_width, recipe.trainer.seed
    return DataIdentity(
        CLASSES,
        Shapes(seed, data.train_size, size, "train"),
        Shapes(seed, data.val_size, size, "val"),
    )


def _check_saved(metadata: WeightsMetadata) -> None:
    """UsageError for what a weights file may not say, before a run trains it."""
    try:
        parse_header(metadata.to_header()["inceptcli"])
    except ValueError as error:
        raise UsageError(f"recipe: {error}") from error


def _check_batch_size(recipe: Recipe, images: int) -> None:
    size, devices = recipe.data.batch_size, recipe.trainer.devices
    if size == 1:
        raise UsageError("data.batch_size must be at least 2: batch norm has no statistics of one")
    if images < SMALLEST_BATCH:
        raise UsageError(
            f"{images} training image(s) are too few: batch norm has no statistics of one; give "
            "at least 2"
        )
    ranks = recipe.trainer.num_nodes * (devices if isinstance(devices, int) else 1)
    if size != "auto" and images < size * ranks:
        raise UsageError(
            f"data.batch_size {size} on {ranks} device(s) is more than the {images} "
            "training images; give a smaller --batch-size"
        )


def _check_freeze(recipe: Recipe) -> None:
    freeze = recipe.network.freeze
    if freeze != "none" and recipe.network.init is None:
        raise UsageError(
            f"network.freeze {freeze}: would keep random values for good; give --init with weights"
        )


def _check_auxiliary_head(recipe: Recipe) -> None:
    if recipe.network.auxiliary_weight is None:
        return
    having = [name for name, layout in NETWORKS.items() if layout.has_auxiliary_head]
    if recipe.network.name not in having:
        raise UsageError(
            f"network.auxiliary_weight: {recipe.network.name} has no auxiliary classifier; "
            f"{', '.join(having)} have one, as released"
        )
    if min(recipe.data.height_and_width) < AUXILIARY_IMAGE_SIZE:
        raise UsageError(
            f"network.auxiliary_weight needs data.image_size of at least {AUXILIARY_IMAGE_SIZE}, "
            f"got {recipe.data.image_size}"
        )
    if recipe.network.freeze == "all-but-head":
        raise UsageError("network.auxiliary_weight trains nothing with network.freeze all-but-head")
