"""The torch module of a described network."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from inceptcli.networks.boxes import Description, channels_after
from inceptcli.networks.figures.auxiliary_head import AUXILIARY_STAGE, auxiliary_path
from inceptcli.networks.recomputing import recomputed
from inceptcli.networks.registry import MINIMUM_IMAGE_SIZE, NetworkOptions, describe
from inceptcli.networks.torch_modules import batch_norm, initialize, module_of


class Network(nn.Module):
    """Images (N, C, H, W) in [-1, 1], sides of at least 75 -> logits (N, num_classes).

    Stages follow the overall figure; `figures` maps each stage to its figure. `num_features` is the
    width of the embeddings. With `recompute`, training stores fewer activations (recomputing.py).
    In training mode, networks with an embedding need at least two images for its batch norm.
    """

    recompute = False

    def __init__(self, description: Description) -> None:
        super().__init__()
        self.options = options = description.options
        self.figures = {stage.name: stage.figure for stage in description.stages}
        channels = options.in_channels
        for stage in description.stages:
            self.add_module(stage.name, module_of(stage.boxes, channels, options))
            channels = channels_after(stage.boxes, channels)
        self.dropout = nn.Dropout(options.dropout)
        self.embedding: nn.Sequential | None = None
        if description.embedding_width is not None:
            width = description.embedding_width
            parts: OrderedDict[str, nn.Module] = OrderedDict(
                linear=nn.Linear(channels, width, bias=False),
                batch_norm=batch_norm(width, options, nn.BatchNorm1d),
            )
            self.embedding = nn.Sequential(parts)
        self.num_features = description.num_features
        self.classifier = nn.Linear(self.num_features, options.num_classes)
        initialize(self, options.initialization)

    def layers(self) -> list[nn.Module]:
        """Return the parts that have parameters, in the order of the figure.

        Each repeated module ("5 x Inception-resnet-A") is a part, and so are every other stage, the
        embedding if there is one, and the classifier.
        """
        parts: list[nn.Module] = []
        for stage in describe(self.options).stages:
            module = self.get_submodule(stage.name)
            parts += [module] if stage.modules is None else module.children()
        parts += [self.embedding] if self.embedding is not None else []
        return [*(part for part in parts if any(True for _ in part.parameters())), self.classifier]

    def forward_stages(self, images: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Yield each stage's name and output (N, C', H', W') for images (N, C, H, W).

        Raises:
            ValueError: a side is under 75.
        """
        height, width = images.shape[-2:]
        if min(height, width) < MINIMUM_IMAGE_SIZE:
            smallest = f"{MINIMUM_IMAGE_SIZE}x{MINIMUM_IMAGE_SIZE}"
            raise ValueError(f"images must be at least {smallest} pixels, got {height}x{width}")
        features = images
        for name in self.figures:
            stage = self.get_submodule(name)
            if self.recompute and self.training and torch.is_grad_enabled():
                features = recomputed(stage, features)
            else:
                features = stage(features)
            yield name, features

    def forward_features(self, images: Tensor) -> Tensor:
        """Compute the last stage's output (N, C', H', W'); raises as `forward_stages`."""
        features = images
        for _, features in self.forward_stages(images):  # noqa: B007 (the last one is returned)
            pass
        return features

    def pool(self, features: Tensor) -> Tensor:
        """Average the last stage's output (N, C, H, W) over the image: (N, C)."""
        return features.mean(dim=(2, 3))

    def read(self, features: Tensor) -> Tensor:
        """Compute penultimate features (N, num_features) from the last stage's (N, C, H, W)."""
        pooled: Tensor = self.dropout(self.pool(features))
        return pooled if self.embedding is None else self.embedding(pooled)

    def embed(self, images: Tensor) -> Tensor:
        """Compute the embeddings (N, num_features) of images (N, C, H, W)."""
        return self.embedding_of(self.read(self.forward_features(images)))

    def embedding_of(self, read: Tensor) -> Tensor:
        """Convert penultimate features (N, num_features) to embeddings.

        Networks with an embedding normalize it to length 1, as its authors do to compare faces. For
        other networks the features are returned unchanged.
        """
        return read if self.embedding is None else functional.normalize(read, dim=1)

    def classify(self, features: Tensor) -> Tensor:
        """Compute logits (N, num_classes) from the last stage's output (N, C, H, W)."""
        logits: Tensor = self.classifier(self.read(features))
        return logits

    def forward(self, images: Tensor) -> Tensor:
        """Compute the logits (N, num_classes) of images (N, C, H, W)."""
        return self.classify(self.forward_features(images))


class AuxiliaryHead(nn.Module):
    """Last 17x17 features (N, C, H, W), H and W at least 17 -> logits (N, num_classes).

    See auxiliary_head.py.
    """

    def __init__(self, options: NetworkOptions) -> None:
        super().__init__()
        path = auxiliary_path(options.width)
        channels = describe(options).channels_after(AUXILIARY_STAGE)
        self.path = module_of(path, channels, options)
        self.classifier = nn.Linear(channels_after(path, channels), options.num_classes)
        initialize(self, options.initialization)

    def forward(self, features: Tensor) -> Tensor:
        """Compute the auxiliary logits (N, num_classes) of features (N, C, H, W)."""
        logits: Tensor = self.classifier(self.path(features).mean(dim=(2, 3)))
        return logits
