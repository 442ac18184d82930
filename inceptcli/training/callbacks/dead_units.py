"""Counts the units that have died: channels that are zero everywhere over a validation pass."""

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
"""Shares of the last stage: over the first the run warns, at the second the network is dead."""

SCALES_THAT_LIVE = 0.3
"""Section 3.3: residuals scaled by 0.1 to 0.3 kept networks from dying."""


class DeadUnits(Callback):
    """The share of dead units per stage, of the weights validated and over all ranks.

    Section 3.3: wide residual networks "died", "meaning that the last layer before the average
    pooling started to produce only zeros". A unit is a channel of a stage's rectified output.
    """

    def __init__(self, directory: RunDirectory) -> None:
        self.directory = directory
        self.shares: dict[str, float] = {}
        self._alive: dict[str, Tensor] = {}
        self._hooks: list[RemovableHandle] = []
        self._unsaid = {"dying", "dead"}

    @property
    def last_share(self) -> float:
        """The share of the last stage before average pooling, 0 to 1, as last validated."""
        return list(self.shares.values())[-1]

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look at what leaves each stage."""
        assert isinstance(pl_module, Classifier)
        self._alive = {}
        self._hooks = [
            module.register_forward_hook(partial(self._look, stage))
            for stage, module in rectified_outputs(pl_module.network).items()
        ]

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count over all ranks; a rank may have had no image."""
        for hook in self._hooks:
            hook.remove()
        alive: dict[str, Tensor] = {}
        for seen in from_all_ranks(trainer, {name: it.cpu() for name, it in self._alive.items()}):
            for stage, units in seen.items():
                alive[stage] = alive[stage] | units if stage in alive else units
        self.shares = {stage: 1 - float(units.double().mean()) for stage, units in alive.items()}

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the shares down; warn of a dying and of a dead network, once each."""
        assert isinstance(pl_module, Classifier)
        self.directory.append_dead_units(
            trainer.current_epoch + 1, trainer.global_step, self.shares
        )
        last = self.last_share
        state = "dead" if last >= DEAD else "dying" if last > DYING else "alive"
        if state in self._unsaid:
            self._unsaid.remove(state)
            logger.info(warning(self.shares, pl_module.network.options))

    def _look(self, stage: str, module: nn.Module, inputs: object, features: Tensor) -> None:
        alive = features.amax(dim=(0, 2, 3)) > 0
        self._alive[stage] = self._alive[stage] | alive if stage in self._alive else alive


def rectified_outputs(network: Network) -> dict[str, nn.Module]:
    """By stage, the last module in it whose output has passed a ReLU.

    That is the stage itself, except where the released layouts end a stage without a ReLU
    (`inception_c` of irv2-tf and irv1-facenet): there it is the module before. Stages that have no
    such module, and pools, which have no units of their own, are left out.
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
    """The line that tells of a dying or dead network, and what to try."""
    stage, share = list(shares.items())[-1]
    if share < DEAD:
        return f"the network is dying: {share:.2%} of the units of {stage} give only zeros"
    scales = options.residual_scales
    advice = "--set network.residual_scales=[0.1,0.1,0.1] (0.1 to 0.3 each)"
    if scales is None or max(scales) <= SCALES_THAT_LIVE:
        advice = "a lower --lr"
    return (
        f"the network died: all units of {stage}, the last before average pooling, give only "
        f"zeros; try a new run with {advice}"
    )
