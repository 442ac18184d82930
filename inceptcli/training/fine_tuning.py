"""Starting from weights: another head, other input channels, parts that stay as they are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from inceptcli.data.sampler import seed_from
from inceptcli.networks.network import Network
from inceptcli.networks.registry import build
from inceptcli.training.plan import Plan
from inceptcli.weights.file import load_tensors, read_metadata
from inceptcli.weights.metadata import ClassName

Freeze = Literal["none", "stem", "all-but-head"]


def starting_network(plan: Plan, say: Callable[[str], None]) -> Network:
    """What a run starts from: seeded, or `plan.init`; channels last."""
    torch.default_generator.manual_seed(seed_from(plan.recipe.trainer.seed))
    network = build(plan.network)
    if plan.init is not None:
        start_from(network, plan.init, plan.classes, say)
    network.recompute = plan.recipe.trainer.checkpoint_activations
    return network.to(memory_format=torch.channels_last)


def start_from(
    network: Network, path: Path, classes: tuple[ClassName, ...], say: Callable[[str], None]
) -> None:
    """Load the weights file at `path` into `network`, which is of the same layout.

    With other classes (by id, in order) the classifier keeps its fresh values. A first convolution
    for another number of channels gets the sum of the old ones for grey images.
    """
    tensors = load_tensors(path)
    if [name.id for name in read_metadata(path).classes] != [name.id for name in classes]:
        head = head_name(network)
        tensors = {key: value for key, value in tensors.items() if not key.startswith(head)}
        say(f"{path}: other classes, so the classifier starts anew")
    own = network.state_dict()
    first = next(key for key, tensor in own.items() if tensor.ndim == 4)
    channels = own[first].shape[1]
    if tensors[first].shape[1] != channels:
        say(f"{path}: {tensors[first].shape[1]} input channels, adapted to {channels}")
        tensors[first] = adapted(tensors[first], channels)
    network.load_state_dict(tensors, strict=False)


def adapted(weight: Tensor, channels: int) -> Tensor:
    """A first convolution (O, C, H, W) for another number of channels.

    One channel sums the old ones, so that a grey image gives what the same grey in all channels
    gave; several repeat the mean, scaled to the same sum.
    """
    total = weight.sum(dim=1, keepdim=True)
    return total.expand(-1, channels, -1, -1).div(channels).clone()


def head_name(network: Network) -> str:
    """The classifier's place in the state dict, such as `classifier.`."""
    (name,) = (name for name, part in network.named_modules() if part is network.classifier)
    return f"{name}."


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
