"""State dicts in other libraries' layouts, small on the disk: a tensor is one value, expanded."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from inceptcli.data.pixels.decode import decode
from inceptcli.data.pixels.preprocessing import Preprocessing
from inceptcli.networks.registry import build, network_options
from inceptcli.prediction.engines.torch_engine import TorchEngine
from inceptcli.weights.keys.facenet_keys import INCEPTION_RESNET_V1
from inceptcli.weights.keys.key_table import KeyTable, auxiliary_layout, layout
from inceptcli.weights.metadata import ClassName, WeightsMetadata


def numbered(table: KeyTable, num_classes: int = 3, start: int = 0) -> dict[str, Tensor]:
    """Their state dict, whose tensor number n is full of `start` + n."""
    ours = layout(network_options(table.network, num_classes=num_classes))
    theirs = table.theirs(ours)
    return {
        theirs[key]: torch.tensor(start + number, dtype=value.dtype).expand(value.shape)
        for number, (key, value) in enumerate(ours.items())
    }


def numbered_head(table: KeyTable, num_classes: int = 3) -> dict[str, Tensor]:
    """The auxiliary head that they save with it, full of nines; nothing where they save none."""
    if not table.has_auxiliary_head:
        return {}
    ours = auxiliary_layout(network_options(table.network, num_classes=num_classes))
    theirs = table.theirs(ours)
    return {
        theirs[key]: torch.tensor(9, dtype=value.dtype).expand(value.shape)
        for key, value in ours.items()
    }


def knowing(pictures: list[Path], view: Preprocessing) -> dict[str, Tensor]:
    """A facenet-pytorch state dict that knows picture n, seen through `view`, as class n."""
    torch.manual_seed(0)
    options = network_options("irv1-facenet", num_classes=len(pictures))
    network = build(options)
    classes = tuple(ClassName(str(n), str(n)) for n in range(len(pictures)))
    engine = TorchEngine(network, WeightsMetadata(options, classes, view), "cpu")
    read: list[Tensor] = []
    network.classifier.register_forward_pre_hook(lambda _, inputs: read.append(inputs[0].clone()))
    for picture in pictures:
        engine.logits(view.crop(decode(picture))[None])
    embeddings = torch.cat(read).double()
    centered = embeddings - embeddings.mean(dim=0)
    weight = 20 * torch.linalg.pinv(centered).T
    tensors = network.state_dict()
    tensors["classifier.weight"] = weight.float()
    tensors["classifier.bias"] = -(weight @ embeddings.mean(dim=0)).float()
    theirs = INCEPTION_RESNET_V1.theirs(tensors)
    return {theirs[key]: tensor.contiguous() for key, tensor in tensors.items()}
