"""Export of weights to timm."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors.torch import load_file

from inceptcli.errors import UserError
from inceptcli.files.atomic_file import replacing
from inceptcli.networks.registry import NetworkOptions, network_options
from inceptcli.weights.file import load_network, write_safetensors
from inceptcli.weights.keys import timm_keys, torchvision_keys

TIMM = {
    "iv4-tf": ("inception_v4", timm_keys.INCEPTION_V4),
    "irv2-tf": ("inception_resnet_v2", timm_keys.INCEPTION_RESNET_V2),
    "iv3": ("inception_v3", torchvision_keys.INCEPTION_V3),
}


@dataclass(frozen=True)
class TimmExport:
    """Arguments with which timm builds the network: `create_model(model, num_classes=...)`."""

    model: str
    num_classes: int
    num_tensors: int


def lacking_in_timm(options: NetworkOptions) -> str | None:
    """Return the reason why timm does not support a network, or None."""
    if options.name not in TIMM:
        *others, last = TIMM
        return f"timm does not have {options.name}, only {', '.join(others)} and {last}"
    known = TIMM[options.name][1].options
    released = network_options(options.name, num_classes=options.num_classes, **known)
    of_training = {
        name: getattr(released, name)
        for name in ("dropout", "batch_norm_momentum", "batch_norm_scale", "initialization")
    }
    if replace(options, **of_training) != released:
        return (
            f"timm has {options.name} only with three input channels, the released width, repeats, "
            f"residual scales and batch norm epsilon, and count_padding {released.count_padding}"
        )
    return None


def to_timm(weights: Path, output: Path) -> TimmExport:
    """Write the tensors of the weights file `weights` as safetensors with timm's keys.

    An untrained classifier is left out, as in timm with `num_classes=0`. The written tensors are
    read back and compared bit for bit.

    Raises:
        UserError: timm does not support the network, or the file cannot be read or written.
    """
    network, metadata = load_network(weights)
    options, headed = metadata.network, metadata.has_classifier
    if (lacking := lacking_in_timm(options)) is not None:
        raise UserError(f"{weights}: {lacking}")
    model, table = TIMM[options.name]
    state = network.state_dict()
    ours = {key: v for key, v in state.items() if headed or not key.startswith("classifier.")}
    theirs = table.theirs(ours)
    tensors = {theirs[key]: tensor.contiguous() for key, tensor in ours.items()}
    with replacing(output) as temporary:
        write_safetensors(temporary, tensors, {"format": "pt"})
        written = load_file(temporary)
        if not all(torch.equal(written[theirs[key]], tensor) for key, tensor in ours.items()):
            raise UserError(f"{output}: the tensors read back differ from those written")
    return TimmExport(model, options.num_classes if headed else 0, len(tensors))
