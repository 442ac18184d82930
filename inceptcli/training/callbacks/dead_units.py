"""Count dead units: channels that are zero at every position of every validation image."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import partial

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from inceptcli.networks.network import Network
from inceptcli.networks.registry import NetworkOptions
from inceptcli.networks.torch_modules import ResidualModule
from inceptcli.training.module import Classifier
from inceptcli.training.ranks import from_all_ranks
from inceptcli.training.run_directory import RunDirectory

logger = logging.getLogger(__name__)

DYING, DEAD = 0.99, 1.0
"""Shares of dead units in the last stage for the two warnings: above DYING, and at DEAD."""

SCALES_THAT_LIVE = 0.3
"""Largest residual scale that kept networks from dying (paper, section 3.3: 0.1 to 0.3)."""


class DeadUnits(Callback):
    """Share of dead units per stage in validation, over all ranks.

    A unit is a channel of a stage's ReLU output. Paper, section 3.3: wide residual networks "died",
    "meaning that the last layer before the average pooling started to produce only zeros".
    """

    def __init__(self, directory: RunDirectory) -> None:
        self.directory = directory
        self.shares: dict[str, float] = {}
        self.are_constant = False
        self._alive: dict[str, Tensor] = {}
        self._hooks: list[RemovableHandle] = []
        self._pending_warnings = {"dying", "dead"}

    @property
    def last_share(self) -> float:
        """Return the latest share of the last stage before average pooling, 0 to 1."""
        return list(self.shares.values())[-1]

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Watch the network, unless `are_constant`: a frozen network's were counted before."""
        assert isinstance(pl_module, Classifier)
        if not self.are_constant:
            self.watch(pl_module.network)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count the dead units of the validation."""
        if not self.are_constant:
            self.count(trainer)

    def watch(self, network: Network) -> None:
        """Register hooks on the ReLU outputs of the stages."""
        self._alive = {}
        self._hooks = [
            module.register_forward_hook(partial(self._update_alive, stage))
            for stage, module in rectified_outputs(network).items()
        ]

    def count(self, trainer: Trainer) -> None:
        """Compute the shares since `watch` over all ranks, some of which may have had no images."""
        for hook in self._hooks:
            hook.remove()
        alive: dict[str, Tensor] = {}
        for seen in from_all_ranks(trainer, {name: it.cpu() for name, it in self._alive.items()}):
            for stage, units in seen.items():
                alive[stage] = alive[stage] | units if stage in alive else units
        self.shares = {stage: 1 - float(units.double().mean()) for stage, units in alive.items()}

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Append the shares to dead_units.csv; warn once of a dying and once of a dead network."""
        assert isinstance(pl_module, Classifier)
        step = trainer.global_step
        epoch = pl_module.plan.epochs_after(step, trainer.world_size)
        self.directory.append_dead_units(epoch, step, self.shares)
        last = self.last_share
        state = "dead" if last >= DEAD else "dying" if last > DYING else "alive"
        if state in self._pending_warnings:
            self._pending_warnings.remove(state)
            logger.warning(warning(self.shares, pl_module.network.options))

    def _update_alive(
        self, stage: str, module: nn.Module, inputs: object, features: Tensor
    ) -> None:
        alive = features.amax(dim=(0, 2, 3)) > 0
        self._alive[stage] = self._alive[stage] | alive if stage in self._alive else alive


def rectified_outputs(network: Network) -> dict[str, nn.Module]:
    """Return the last module with a ReLU output of each stage.

    This is the stage itself, or its second to last module where the released layouts end a stage
    without a ReLU (`inception_c` of irv2-tf and irv1-facenet). Stages without ReLU outputs and
    pooling layers are ignored.
    """
    found = {}
    for name in network.figures:
        stage = network.get_submodule(name)
        parts = list(stage.children()) if isinstance(stage, nn.Sequential) else [stage]
        linear = [isinstance(part, ResidualModule) and not part.activation for part in parts]
        rectified = [part for part, bare in zip(parts, linear, strict=True) if not bare]
        if rectified and next(stage.parameters(), None) is not None:
            found[name] = rectified[-1]
    return found


def warning(shares: Mapping[str, float], options: NetworkOptions) -> str:
    """Return the notice of a dying or dead network, with a remedy."""
    stage, share = list(shares.items())[-1]
    scales = options.residual_scales
    advice = "--set network.residual_scales=[0.1,0.1,0.1] (0.1 to 0.3 each)"
    if scales is None or max(scales) <= SCALES_THAT_LIVE:
        advice = "a lower --lr"
    state = f"the network is dying: {share:.2%} of the units of {stage}"
    if share >= DEAD:
        state = f"the network died: all units of {stage}"
    return (
        f"{state}, the last before average pooling, output only zeros; try a new run with {advice}"
    )
