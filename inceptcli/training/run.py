"""Train a plan: build the network, the data and Lightning's Trainer, and fit."""

from __future__ import annotations

import logging
from contextlib import ExitStack, suppress
from functools import partial
from typing import Any

from lightning.pytorch import Callback, Trainer
from lightning.pytorch.strategies import DDPStrategy

from inceptcli.data.loading.datamodule import ImageData
from inceptcli.data.loading.shared_memory import SHARED_MEMORY, affordable
from inceptcli.data.pixels.augmentation import (
    Augmentation,
    Transform,
    training_transform,
    unaugmented,
)
from inceptcli.networks.compiling import compile_stages
from inceptcli.networks.network import Network
from inceptcli.networks.registry import NETWORKS
from inceptcli.networks.summary import summarize
from inceptcli.processes.standard_streams import tell_loss
from inceptcli.progress.display import Display
from inceptcli.recipe.methods import Optimized
from inceptcli.recipe.sections import (
    AugmentationSection,
    AveragingSection,
    LossSection,
    TrainerSection,
)
from inceptcli.text import number_of, seconds_in
from inceptcli.training.batch_size_search import find_batch_size
from inceptcli.training.callbacks.averaging import ParameterAverage, SharedBatchNorm
from inceptcli.training.callbacks.checkpoints import (
    AtomicCheckpointIO,
    ResumeCheckpoint,
)
from inceptcli.training.callbacks.dead_units import DeadUnits
from inceptcli.training.callbacks.frozen_features import FrozenFeatures
from inceptcli.training.callbacks.logged_figures import LoggedFigures
from inceptcli.training.callbacks.loss_guard import LossGuard
from inceptcli.training.callbacks.profiling import build_profiler, profile_reported
from inceptcli.training.callbacks.progress import TrainingProgress
from inceptcli.training.callbacks.rank_watch import RankWatch, start_ranks
from inceptcli.training.callbacks.recorder import Recorder
from inceptcli.training.failures import explained, reason_logged
from inceptcli.training.fine_tuning import (
    describe_features,
    describe_frozen,
    new_network,
    start_auxiliary_head,
    starting_network,
)
from inceptcli.training.module import Classifier
from inceptcli.training.plan import SMALLEST_BATCH, Plan, check_batch_size
from inceptcli.training.resuming import decide, earlier_run, keep_data, what_continues
from inceptcli.training.run_directory import RunDirectory
from inceptcli.training.skipped import forget_repaired
from inceptcli.training.stopping import Stopping
from inceptcli.training.trainer import quiet_lightning, trainer_on_devices

MUCH_UNUSED = 0.05
"""Share of the training images that an epoch may leave out without a word."""

logger = logging.getLogger(__name__)


def fit(
    plan: Plan,
    directory: RunDirectory,
    stopping: Stopping | None = None,
) -> None:
    """Train or resume until the recipe's last epoch.

    Args:
        plan: checked recipe with its network and data.
        directory: run directory; an earlier run in it is continued.
        stopping: signal handling that was started earlier, if any.

    Raises:
        UsageError: devices or strategy are not available, or the folder is not writable.
        UserError: memory or disk is exhausted, the loss is not finite, or every checkpoint is
            damaged.
        SystemExit: 75 after a signal or `trainer.stop_after`, which counts from here without
            `stopping`; 130 after a second Ctrl-C.
    """
    quiet_lightning()
    if stopping is None:
        after = plan.recipe.trainer.stop_after
        stopping = Stopping(None if after is None else seconds_in(after))
    stopping.requeue = plan.recipe.checkpoint.requeue
    with ExitStack() as stack, stopping.listening():  # train.log is open for the reason of a stop
        plan = _with_batch_size(plan, directory, stopping)
        trainer = _trainer(plan, directory, stopping)
        check_batch_size(plan.batch_size, trainer.world_size, len(plan.train))
        with explained(plan, directory):
            directory.open()
        stack.callback(directory.close)
        stopping.mark = partial(_mark, directory)
        tell_loss(partial(_log_loss, directory))
        stack.callback(tell_loss, None)
        with reason_logged(directory), explained(plan, directory):
            keep_data(directory, plan.identity, plan.recipe.data.path)
            _fit(plan, directory, trainer)


def _mark(directory: RunDirectory, line: str) -> None:
    with suppress(OSError):
        directory.mark_stopped(line)


def _log_loss(directory: RunDirectory, reason: str) -> None:
    with suppress(OSError):
        directory.log(f"standard error is closed ({reason}); training continues")


def _with_batch_size(plan: Plan, directory: RunDirectory, stopping: Stopping) -> Plan:
    """Replace `auto` by the batch size of the earlier run, or search for one."""
    if plan.recipe.data.batch_size != "auto":
        return plan
    there = earlier_run(directory).recipe
    if there is not None and there.data.batch_size != "auto":
        return plan.with_batch_size(there.data.batch_size)
    with explained(plan.with_batch_size(SMALLEST_BATCH), directory):
        return find_batch_size(plan, stopping)


def _fit(plan: Plan, directory: RunDirectory, trainer: Trainer) -> None:
    start = decide(plan, directory, trainer.world_size)
    directory.write_recipe(start.recipe)
    network = starting_network(plan) if start.checkpoint is None else new_network(plan)
    if plan.recipe.trainer.compile:
        compile_stages(network, trainer.strategy.root_device.type)
    for line in _announcement(plan, network, trainer):
        logger.info(line)
    if start.finished:
        how = "finished" if start.trained else "stopped early"
        more = what_continues(start.trained, start.early)
        logger.info(f"already {how} after {start.step} steps; {more} would continue")
        return
    forget_repaired(plan, directory)
    directory.forget_metrics_after(start.known_step)
    directory.forget_stop()
    directory.log(f"start from step {start.step}")
    if start.step:
        average = " and average" * bool(plan.recipe.averaging.decay)
        logger.info(f"continuing from step {start.step} with the saved weights{average}")
    data = _data(plan, trainer)
    classifier = Classifier(network, plan)
    if classifier.auxiliary_head is not None and plan.init is not None and not start.checkpoint:
        start_auxiliary_head(classifier.auxiliary_head, plan.init, plan.classes)
    start_ranks(trainer, directory)
    with profile_reported(trainer):
        trainer.fit(classifier, data, ckpt_path=start.checkpoint, weights_only=True)


def _data(plan: Plan, trainer: Trainer) -> ImageData:
    wanted = plan.recipe.data.workers
    height, width = plan.preprocessing.image_size
    batch_bytes = plan.batch_size * height * width * 3
    # A validation within an epoch begins while the training loader has batches prefetched.
    loaders = 1 if isinstance(plan.recipe.trainer.validate_every, int) else 2
    workers = affordable(wanted, batch_bytes, trainer.num_devices, loaders)
    if workers.number < wanted:
        logger.info(
            f"data.workers {workers.number}, not {wanted}: {SHARED_MEMORY} has no room for more "
            f"batches of {batch_bytes / 2**20:.0f} MiB; start a container with a larger --shm-size"
        )
    return ImageData(
        plan.train,
        plan.val,
        _transform(plan),
        plan.preprocessing,
        plan.batch_size,
        workers,
        plan.recipe.trainer.seed,
        plan.recipe.trainer.limit_batches,
        plan.recipe.data.sampling == "balanced",
        plan.network.num_classes if plan.is_multi_label else None,
    )


def _transform(plan: Plan) -> Transform:
    if plan.recipe.augmentation.style == "none":
        return unaugmented(plan.preprocessing)
    chosen = plan.recipe.augmentation.model_dump(exclude={"mixup", "cutmix", "label_smoothing"})
    view = plan.preprocessing
    return training_transform(view.image_size, Augmentation(**chosen), view.antialias)


def _trainer(
    plan: Plan,
    directory: RunDirectory,
    stopping: Stopping,
) -> Trainer:
    settings = plan.recipe.trainer
    averaging = plan.recipe.averaging
    average = ParameterAverage(averaging.decay, averaging.warm_up) if averaging.decay else None
    dead_units = DeadUnits(directory)
    checkpoint = ResumeCheckpoint(plan, directory, stopping)
    logged = LoggedFigures(plan.recipe, directory, checkpoint)
    recorder = Recorder(plan, directory, dead_units, logged)
    callbacks: list[Callback] = [  # the average follows what it averages; checkpoints are last
        RankWatch(directory),
        dead_units,
        logged,
        recorder,
        FrozenFeatures(plan, stopping, dead_units, recorder),
        LossGuard(plan, directory),
        SharedBatchNorm(),
        checkpoint,
        *([average] if average else []),
        TrainingProgress(plan, Display()),
    ]
    trainer = trainer_on_devices(
        settings,
        max_epochs=settings.epochs,
        accumulate_grad_batches=settings.accumulate_batches,
        sync_batchnorm=settings.sync_batch_norm,
        callbacks=callbacks,
        plugins=[AtomicCheckpointIO()],
        profiler=build_profiler(settings.profiler, directory),
        default_root_dir=directory.path,
    )
    loop: Any = trainer.fit_loop.epoch_loop

    def validates_now(data_fetcher: object) -> bool:
        step = trainer.global_step
        return not loop._should_accumulate() and plan.validates_after(step, trainer.world_size)

    # Lightning's settings count batches, not steps, and leave out the run's last step.
    loop._should_check_val_fx = validates_now
    if isinstance(trainer.strategy, DDPStrategy):
        options = trainer.strategy._ddp_kwargs
        options["broadcast_buffers"] = False  # else SharedBatchNorm would share rank 0's
        if trainer.world_size > 2:
            # Keeps the first gradient buckets: rebuilt ones, after a resume, sum in another order.
            options["find_unused_parameters"] = True
    return trainer


def _announcement(plan: Plan, network: Network, trainer: Trainer) -> list[str]:
    recipe = plan.recipe
    layout = NETWORKS[plan.network.name]
    height, width = plan.preprocessing.image_size
    parameters = summarize(plan.network, (height, width)).parameters
    ranks = trainer.world_size
    batch = f"{plan.batch_size} images x {number_of(ranks, 'device')}"
    if recipe.trainer.accumulate_batches > 1:
        batch += f" x {plan.accumulated_batches(ranks)} accumulated"
    steps = f"{number_of(plan.steps_per_epoch(ranks), 'step')} per epoch"
    if (last := plan.last_step_images(ranks)) < plan.effective_batch(ranks):
        steps += f", the last of {last} images"
    limit = recipe.trainer.limit_batches
    limited = f"trainer.limit_batches {limit}: at most {limit} batches per epoch, and validation"
    return [
        f"{plan.network.name}: {layout.title} ({layout.layout}), {parameters:,} parameters",
        f"{recipe.data.path or 'shapes'}: {len(plan.classes)} classes, {len(plan.train):,} "
        f"training and {len(plan.val):,} validation images, {height}x{width} pixels",
        f"effective batch {plan.effective_batch(ranks)} = {batch}; "
        f"{steps}, {number_of(recipe.trainer.epochs, 'epoch')}",
        *([f"{limited} of {plan.num_validated(ranks):,} images"] if limit else []),
        *_describe_unused_images(plan, ranks),
        _describe_precision(recipe.trainer.precision, trainer),
        *_describe_validation(recipe.trainer, plan.best_by),
        *(_describe_sampling(plan, ranks) if recipe.data.sampling == "balanced" else []),
        *([_describe_loss(plan)] if recipe.loss != LossSection() else []),
        *([describe_frozen(network, recipe.network.freeze)] if recipe.network.init else []),
        *_describe_rates(recipe.optimizer),
        *filter(None, [_describe_unused(recipe.augmentation), describe_features(plan)]),
        _describe_averaging(recipe.averaging),
    ]


def _describe_unused_images(plan: Plan, ranks: int) -> list[str]:
    unused, total = plan.unused_images(ranks), len(plan.train)
    if plan.recipe.trainer.limit_batches or unused <= MUCH_UNUSED * total:
        return []
    return [
        f"each epoch leaves out {unused:,} of {total:,} training images, too few for another batch"
    ]


def _describe_rates(settings: Optimized) -> list[str]:
    lines = []
    if settings.layer_decay not in (None, 1):
        lines.append(
            f"layer decay {settings.layer_decay:g}: each layer has this share of the learning rate "
            "of the layer after it"
        )
    if settings.head_learning_rate is not None:
        lines.append(f"learning rate of the classifier {settings.head_learning_rate:g}")
    return lines


def _describe_validation(settings: TrainerSection, best_by: str) -> list[str]:
    every = settings.validate_every
    lines = []
    if every != 1:
        epochs = f"{every} epochs" if isinstance(every, int) else every.replace("steps", " steps")
        lines.append(f"validating every {epochs} and after the last step")
    if settings.patience is not None:
        number = number_of(settings.patience, "validation")
        lines.append(f"stopping early after {number} without a better {best_by}")
    return lines


def _describe_sampling(plan: Plan, ranks: int) -> list[str]:
    counts = plan.class_counts[plan.class_counts > 0]
    images = plan.batches_per_epoch(ranks) * plan.batch_size * ranks
    lines = [
        f"balanced sampling: about {images / len(counts):.0f} images of each class per epoch, from "
        f"classes of {counts.min():,} to {counts.max():,} images"
    ]
    if plan.recipe.loss.class_weights == "balanced":
        lines.append(
            "data.sampling and loss.class_weights are both balanced: rare classes now outweigh "
            "common ones; one of the two is enough"
        )
    return lines


def _describe_loss(plan: Plan) -> str:
    loss, weights = plan.recipe.loss, plan.class_weights
    weighted = f", class weights {min(weights):.3g} to {max(weights):.3g}" if weights else ""
    focal = f", focal loss of gamma {loss.focal_gamma:g}" if loss.focal_gamma else ""
    measured = "binary cross-entropy" if plan.is_multi_label else "cross-entropy"
    return f"training loss {loss.name}{weighted}{focal}; validation measures {measured}"


def _describe_precision(asked: str, trainer: Trainer) -> str:
    """Describe the precision in use: Lightning replaces 16-mixed by bf16-mixed on a CPU."""
    precision = str(trainer.precision)
    instead = "" if precision == asked else f" ({asked} is for GPUs)"
    return f"precision {precision}{instead}, device {trainer.strategy.root_device.type}"


def _describe_unused(augmentation: AugmentationSection) -> str | None:
    """Name the keys that change images and do nothing with this style or in fast mode."""
    style = augmentation.style
    if style == "none":
        why = "style none: images are not augmented"
        keys = ["brightness", "contrast", "saturation", "hue", "policy", "erasing", "fast_mode"]
    elif style == "usual":
        why, keys = "style usual: has no fast mode", ["fast_mode"]
    else:
        why = "fast_mode: changes brightness and saturation only"
        keys = ["contrast", "hue"] if augmentation.fast_mode else []
    unused = [
        f"augmentation.{key}" for key in keys if getattr(augmentation, key) not in (0, "none")
    ]
    return f"augmentation.{why}; {', '.join(unused)} not used" if unused else None


def _describe_averaging(averaging: AveragingSection) -> str:
    if not averaging.decay:
        return "validating and saving the weights without averaging"
    warmed = ", with warm-up" if averaging.warm_up else ""
    return (
        "validating and saving an exponential moving average of the weights "
        f"(decay {averaging.decay:g}{warmed})"
    )
