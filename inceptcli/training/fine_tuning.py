"""Starting from weights: another head, other input channels, parts that stay as they are."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from inceptcli.data.loading.sampler import seed_from
from inceptcli.errors import UserError
from inceptcli.networks.network import AuxiliaryHead, Network
from inceptcli.networks.registry import build
from inceptcli.text import composed
from inceptcli.training.plan import Plan
from inceptcli.weights.file import load_auxiliary_head, load_tensors, read_metadata
from inceptcli.weights.metadata import ClassName, WeightsMetadata

logger = logging.getLogger(__name__)

Freeze = Literal["none", "stem", "all-but-head"]


def new_network(plan: Plan) -> Network:
    """A seeded network; channels last."""
    torch.default_generator.manual_seed(seed_from(plan.recipe.trainer.seed))
    network = build(plan.network)
    network.recompute = plan.recipe.trainer.checkpoint_activations
    return network.to(memory_format=torch.channels_last)


def starting_network(plan: Plan) -> Network:
    """What a run starts from: seeded, or `plan.init`; channels last."""
    network = new_network(plan)
    if plan.init is not None:
        start_from(network, plan.init, plan.classes)
        return network
    if plan.recipe.network.init is not None:
        raise UserError(f"--init {plan.recipe.network.init}: no checkpoint to go on from without")
    return network


def start_from(network: Network, path: Path, classes: tuple[ClassName, ...]) -> None:
    """Load the weights file at `path` into `network`, which is of the same layout.

    With other classes (by id, in order), unnamed ones, or where the file has no trained classifier,
    the classifier keeps its fresh values. A first convolution for another number of channels gets
    the sum of the old ones for gray images.

    Raises UserError when more than the classifier would keep fresh values.
    """
    metadata, tensors, own = read_metadata(path), load_tensors(path), network.state_dict()
    untrained = set(metadata.initialized)
    if not _same_classes(metadata, classes):
        untrained |= {key for key in own if key.startswith("classifier.")}
    tensors = {key: tensor for key, tensor in tensors.items() if key not in untrained}
    first = next(key for key, tensor in own.items() if tensor.ndim == 4)
    channels = own[first].shape[1]
    if first in tensors and tensors[first].shape[1] != channels:
        logger.info(f"{path}: {tensors[first].shape[1]} input channels, adapted to {channels}")
        tensors[first] = adapted(tensors[first], channels)
    new = [key for key in own if key not in tensors or tensors[key].shape != own[key].shape]
    missing = [key for key in new if not key.startswith("classifier.")]
    if missing:
        raise UserError(
            f"{path}: {len(missing)} of the network's tensors would start at random values, the "
            f"first is {missing[0]}; only a classifier may be new"
        )
    network.load_state_dict({key: tensors[key] for key in own if key not in new}, strict=False)
    head = f"classifier ({len(classes)} classes)" if new else "nothing"
    logger.info(f"{path}: loaded {len(own) - len(new)} of {len(own)} tensors; new: {head}")


def start_auxiliary_head(head: AuxiliaryHead, path: Path, classes: tuple[ClassName, ...]) -> None:
    """Load the auxiliary head that the weights file at `path` has, if any, into `head`.

    With other classes its classifier keeps its fresh values. Raises UserError where they do not
    fit.
    """
    tensors, own = load_auxiliary_head(path), head.state_dict()
    if not tensors:
        logger.info(f"{path}: without an auxiliary head, which starts at random values")
        return
    new = (
        []
        if _same_classes(read_metadata(path), classes)
        else ["classifier.weight", "classifier.bias"]
    )
    for key in own.keys() - set(new):
        if key not in tensors or tensors[key].shape != own[key].shape:
            raise UserError(f"{path}: {key} of its auxiliary head does not fit")
    head.load_state_dict({key: tensors[key] for key in own if key not in new}, strict=False)
    what = f"; new: its classifier ({len(classes)} classes)" if new else ""
    logger.info(f"{path}: loaded the auxiliary head{what}")


def _same_classes(metadata: WeightsMetadata, classes: tuple[ClassName, ...]) -> bool:
    same = [composed(n.id) for n in metadata.classes] == [composed(n.id) for n in classes]
    return same and not metadata.unnamed


def adapted(weight: Tensor, channels: int) -> Tensor:
    """A first convolution (O, C, H, W) for another number of channels.

    One channel sums the old ones, so that a gray image gives what the same gray in all channels
    gave; several repeat the mean, scaled to the same sum.
    """
    total = weight.sum(dim=1, keepdim=True)
    return total.expand(-1, channels, -1, -1).div(channels).clone()


def frozen_parts(network: Network, freeze: Freeze) -> list[nn.Module]:
    """The modules that `freeze` keeps as they are: none, the first stage, or all but the head."""
    if freeze == "none":
        return []
    if freeze == "stem":
        return [network.get_submodule(next(iter(network.figures)))]
    return [part for part in network.children() if part is not network.classifier]


def keep(parts: list[nn.Module]) -> None:
    """Take no gradient for `parts` and use, not update, their batch norm statistics."""
    for part in parts:
        part.eval().requires_grad_(False)


def frozen_in_words(network: Network, freeze: Freeze) -> str:
    """What stays as it is, and how many of the network's parameters train."""
    parts = frozen_parts(network, freeze)
    frozen = sum(value.numel() for part in parts for value in part.parameters())
    total = sum(value.numel() for value in network.parameters())
    what = {"none": "nothing", "stem": "the stem", "all-but-head": "all but the classifier"}[freeze]
    return f"frozen: {what}; {total - frozen:,} of {total:,} parameters train"
