"""Fine-tuning: load weights, replace the head, adapt input channels, freeze parts."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from inceptcli.data.loading.sampler import seed_from
from inceptcli.errors import UserError
from inceptcli.networks.network import AuxiliaryHead, Network
from inceptcli.networks.registry import MINIMUM_IMAGE_SIZE, build, describe
from inceptcli.networks.summary import summarize
from inceptcli.text import composed
from inceptcli.training.plan import Plan
from inceptcli.weights.file import load_auxiliary_head, load_tensors, read_metadata
from inceptcli.weights.metadata import ClassName, WeightsMetadata

logger = logging.getLogger(__name__)

Freeze = Literal["none", "stem", "all-but-head"]

MOST_FEATURE_BYTES = 10 * 2**30
"""Memory of a process for the features of a frozen network; ImageNet's need up to 10.2 GiB."""


def new_network(plan: Plan) -> Network:
    """Build the network with seeded initial weights, channels last."""
    torch.default_generator.manual_seed(seed_from(plan.recipe.trainer.seed))
    network = build(plan.network)
    network.recompute = plan.recipe.trainer.checkpoint_activations
    return network.to(memory_format=torch.channels_last)


def starting_network(plan: Plan) -> Network:
    """Build the network with the weights of `plan.init` or seeded ones, channels last.

    Raises UserError when the recipe names initial weights that the plan has not looked up.
    """
    network = new_network(plan)
    if plan.init is not None:
        start_from(network, plan.init, plan.classes)
        return network
    if plan.recipe.network.init is not None:
        raise UserError(f"--init {plan.recipe.network.init}: no checkpoint left to continue from")
    return network


def start_from(network: Network, path: Path, classes: tuple[ClassName, ...]) -> None:
    """Load the weights file at `path` into `network`, which has the same layout.

    The classifier keeps its initial values if the classes (ids in order) differ or are unnamed, or
    if the file has no trained classifier. A first convolution with a different number of channels
    is converted by `adapt_channels`.

    Raises UserError when more than the classifier would keep initial values, or when the network's
    batch norm has no scales and that of the file has.
    """
    metadata, tensors, own = read_metadata(path), load_tensors(path), network.state_dict()
    untrained = set(metadata.initialized)
    if not _same_classes(metadata, classes):
        untrained |= {key for key in own if key.startswith("classifier.")}
    tensors = {key: tensor for key, tensor in tensors.items() if key not in untrained}
    if not network.options.batch_norm_scale:
        _check_no_scales(tensors, path)
    first = next(key for key, tensor in own.items() if tensor.ndim == 4)
    channels = own[first].shape[1]
    if first in tensors and tensors[first].shape[1] != channels:
        logger.info(f"{path}: {tensors[first].shape[1]} input channels, adapted to {channels}")
        tensors[first] = adapt_channels(tensors[first], channels)
    new = [key for key in own if key not in tensors or tensors[key].shape != own[key].shape]
    missing = [key for key in new if not key.startswith("classifier.")]
    if missing:
        raise UserError(
            f"{path}: {len(missing)} of the network's tensors would start at random values, the "
            f"first is {missing[0]}; only the classifier may be new"
        )
    network.load_state_dict({key: tensors[key] for key in own if key not in new}, strict=False)
    head = f"classifier ({len(classes)} classes)" if new else "nothing"
    logger.info(f"{path}: loaded {len(own) - len(new)} of {len(own)} tensors; new: {head}")


def _check_no_scales(tensors: dict[str, Tensor], path: Path) -> None:
    for key, tensor in tensors.items():
        if key.endswith("batch_norm.weight") and not bool((tensor == 1).all()):
            raise UserError(
                f"network.batch_norm_scale false: {path} has trained scales of batch norm, such as "
                f"{key}; leave it out to train them further"
            )


def start_auxiliary_head(head: AuxiliaryHead, path: Path, classes: tuple[ClassName, ...]) -> None:
    """Load the auxiliary head of the weights file at `path`, if any, into `head`.

    Its classifier keeps its initial values if the classes differ. Raises UserError when a tensor is
    missing or has the wrong shape.
    """
    tensors, own = load_auxiliary_head(path), head.state_dict()
    if not tensors:
        logger.info(f"{path}: has no auxiliary head; starting it at random values")
        return
    new = (
        []
        if _same_classes(read_metadata(path), classes)
        else ["classifier.weight", "classifier.bias"]
    )
    for key in own.keys() - set(new):
        if key not in tensors or tensors[key].shape != own[key].shape:
            raise UserError(f"{path}: auxiliary head: {key} is missing or has the wrong shape")
    head.load_state_dict({key: tensors[key] for key in own if key not in new}, strict=False)
    what = f"; new: its classifier ({len(classes)} classes)" if new else ""
    logger.info(f"{path}: loaded the auxiliary head{what}")


def _same_classes(metadata: WeightsMetadata, classes: tuple[ClassName, ...]) -> bool:
    same = [composed(n.id) for n in metadata.classes] == [composed(n.id) for n in classes]
    return same and not metadata.unnamed


def adapt_channels(weight: Tensor, channels: int) -> Tensor:
    """Convert a first convolution (O, C, H, W) to another number of input channels.

    The sum over the input channels is divided equally between the new ones, so that a gray image
    gives the same output as before.
    """
    total = weight.sum(dim=1, keepdim=True)
    return total.expand(-1, channels, -1, -1).div(channels).clone()


def frozen_parts(network: Network, freeze: Freeze) -> list[nn.Module]:
    """Return the modules that `freeze` names: none, the first stage, or all but the head."""
    if freeze == "none":
        return []
    if freeze == "stem":
        return [network.get_submodule(next(iter(network.figures)))]
    trained = (network.dropout, network.classifier)
    return [part for part in network.children() if part not in trained]


def freeze_parts(parts: list[nn.Module]) -> None:
    """Freeze `parts`: no gradients, and batch norm in evaluation mode."""
    for part in parts:
        part.eval().requires_grad_(False)


def describe_frozen(network: Network, freeze: Freeze) -> str:
    """Describe the frozen part and count the trained parameters."""
    found = summarize(network.options, (MINIMUM_IMAGE_SIZE, MINIMUM_IMAGE_SIZE))
    what, trained = {
        "none": ("nothing", found.stages),
        "stem": ("the stem", found.stages[1:]),
        "all-but-head": ("all but the classifier", found.stages[-1:]),
    }[freeze]
    count = sum(stage.parameters for stage in trained)
    return f"frozen: {what}; {count:,} of {found.parameters:,} parameters train"


def has_constant_features(plan: Plan) -> bool:
    """Return whether each image has the same features in every epoch, and all are used."""
    recipe, augmentation = plan.recipe, plan.recipe.augmentation
    return (
        recipe.network.freeze == "all-but-head"
        and augmentation.style == "none"
        and not augmentation.mixup
        and not augmentation.cutmix
        and recipe.trainer.limit_batches is None
    )


def keeps_features(plan: Plan) -> bool:
    """Return whether the run computes each image's features once."""
    return has_constant_features(plan) and _feature_bytes(plan) <= MOST_FEATURE_BYTES


def describe_features(plan: Plan) -> str | None:
    """Describe features that are constant; None if they are not."""
    if not has_constant_features(plan):
        return None
    size, most = _feature_bytes(plan), MOST_FEATURE_BYTES
    if size > most:
        return (
            "features of the frozen network are computed in every epoch: they need "
            f"{size / 2**30:.1f} GiB, more than {most / 2**30:g} GiB"
        )
    return (
        f"features of the frozen network are computed once ({size / 2**20:.1f} MiB); epochs train "
        "the classifier on them"
    )


def _feature_bytes(plan: Plan) -> int:
    """Return the memory of all images' features in float32."""
    return 4 * describe(plan.network).pooled_channels * (len(plan.train) + len(plan.val))
