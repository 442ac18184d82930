"""Build Lightning's Trainer on the devices of a recipe."""

from __future__ import annotations

import logging
import warnings
from typing import Any

from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch import Trainer

from inceptcli.errors import UsageError
from inceptcli.processes.launchers import by_slurm, by_torchrun, check_slurm, start_others
from inceptcli.recipe import sections


def trainer_on_devices(settings: sections.TrainerSection, **options: Any) -> Trainer:
    """Build Lightning's Trainer with `options`, without its loggers, progress bars and samplers.

    Raises UsageError when the devices or the strategy are not available.
    """
    plugins = options.pop("plugins", [])
    try:
        trainer = Trainer(
            accelerator=settings.accelerator,
            devices=settings.devices,
            num_nodes=settings.num_nodes,
            strategy=settings.strategy,
            precision=settings.precision,
            gradient_clip_val=settings.clip_norm,
            deterministic=settings.deterministic,
            benchmark=not settings.deterministic,
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
            plugins=[*plugins, _cluster_environment()],
            **options,
        )
    except (MisconfigurationException, ValueError, RuntimeError) as error:
        first = str(error).strip().splitlines()[0]
        raise UsageError(f"trainer: {first}") from error
    check_slurm(trainer.num_devices, trainer.num_nodes)
    device = trainer.strategy.root_device.type
    if options.get("sync_batchnorm") and device != "cuda" and trainer.world_size > 1:
        raise UsageError(
            f"trainer.sync_batch_norm works only on GPUs, and the devices are {device}; leave it "
            "out or give --accelerator gpu"
        )
    vars(rank_zero_only)["rank"] = trainer.global_rank  # so far from environment variables
    if trainer.world_size > 1:
        start_others()
    # Lightning's handlers exit without saving; ours are already installed.
    vars(trainer._signal_connector)["register_signal_handlers"] = lambda: None
    # Lightning broadcasts its signal flag at each batch, which synchronizes with the device.
    loop: Any = trainer.fit_loop.epoch_loop
    loop._broadcast_sigterm_tensor = lambda: None
    return trainer


def _cluster_environment() -> ClusterEnvironment:
    """Return the launcher of the ranks; Lightning's own detection trusts stale variables."""
    if by_torchrun():
        return TorchElasticEnvironment()
    return SLURMEnvironment() if by_slurm() else LightningEnvironment()


def quiet_lightning() -> None:
    """Silence notices and warnings of Lightning and torch about intended settings."""
    for name in ("lightning.pytorch", "lightning.fabric", "lightning"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module="lightning")
    warnings.filterwarnings("ignore", message="find_unused_parameters=True was specified")
    warnings.filterwarnings("ignore", message="This DataLoader will create")  # more than cores
    warnings.filterwarnings("ignore", category=FutureWarning, module="torch")
