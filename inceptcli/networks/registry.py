"""Registry of networks and their options. No torch, so that usage errors appear immediately."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from inceptcli.networks.boxes import Description
    from inceptcli.networks.network import Network

OnSums = Literal["none", "last", "all"]
Initialization = Literal["he", "he-xavier", "xavier"]

WIDEST = 4.0
"""Largest `width`: 16 times the parameters of the published network."""

MINIMUM_IMAGE_SIZE = 75
"""Smallest side in pixels; below it, nothing is left for the last reduction (75 -> 7 -> 3 -> 1)."""

AUXILIARY_IMAGE_SIZE = 299
"""Smallest side in pixels for an auxiliary head, which needs 17x17 features."""

WEIGHTS_NETWORK = "irv2-tf"
"""Default network for published weights named without a network."""


@dataclass(frozen=True)
class NetworkOptions:
    """All options that define a network's shape and behavior, as stored in a weights file.

    `repeats` and `residual_scales` belong to the A, B and C modules in this order. Networks without
    residual modules have no scales (None), and Inception-v3 has neither. Average pools divide by
    the number of pixels inside the image. With `count_padding` they divide by all nine, as in
    torchvision's and timm's Inception-v3. `width` is a factor on the channels of every convolution
    (boxes.scaled_channels). Batch norm is on no sum of residual modules, on the last before the
    average pooling or on all. Without `batch_norm_scale` its scale (gamma) stays 1 and is no
    parameter. `initialization` is that of torch_modules.initialize.
    """

    name: str
    num_classes: int = 1000
    width: float = 1.0
    in_channels: int = 3
    repeats: tuple[int, int, int] | None = None
    residual_scales: tuple[float, float, float] | None = None
    shortcut: bool = True
    batch_norm_on_sums: OnSums = "none"
    dropout: float = 0.2
    batch_norm_eps: float = 0.001
    batch_norm_momentum: float = 0.1
    batch_norm_scale: bool = True
    initialization: Initialization = "he"
    count_padding: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, as stored in a weights file's metadata."""
        return asdict(self)

    def changed(self) -> dict[str, Any]:
        """Return the plain values that differ from the network's defaults, without the classes."""
        own = network_options(self.name, num_classes=self.num_classes).as_dict()
        return {name: value for name, value in self.as_dict().items() if value != own[name]}


@dataclass(frozen=True)
class Layout:
    """One registered network: module of its description, title, source and default options.

    `released_as` names the released layout of a network from the paper. `published` maps names of
    published weights to Hugging Face Hub repositories.
    """

    module: str
    title: str
    layout: str
    repeats: tuple[int, int, int] | None = (5, 10, 5)
    residual_scales: tuple[float, float, float] | None = (0.17, 0.10, 0.20)
    dropout: float = 0.2
    has_padded_pools: bool = True
    has_auxiliary_head: bool = False
    released_as: str | None = None
    published: Mapping[str, str] = field(default_factory=dict)


NETWORKS = {
    "iv4": Layout(
        "inception_v4",
        "Inception-v4",
        "paper, Figures 3-9",
        (4, 7, 3),
        None,
        has_auxiliary_head=True,
        released_as="iv4-tf",
    ),
    "irv1": Layout(
        "inception_resnet_v1",
        "Inception-ResNet-v1",
        "paper, Figures 7 and 10-15",
        has_padded_pools=False,
        has_auxiliary_head=True,
    ),
    "irv2": Layout(
        "inception_resnet_v2",
        "Inception-ResNet-v2",
        "paper, Figures 3, 7 and 15-19",
        has_padded_pools=False,
        has_auxiliary_head=True,
        released_as="irv2-tf",
    ),
    "iv4-tf": Layout(
        "inception_v4_tf",
        "Inception-v4",
        "released by its authors: 1xn and nx1 swapped in places",
        (4, 7, 3),
        None,
        has_auxiliary_head=True,
        published={"imagenet": "timm/inception_v4.tf_in1k"},
    ),
    "irv2-tf": Layout(
        "inception_resnet_v2_tf",
        "Inception-ResNet-v2",
        "released by its authors: another stem, 10/20/10 modules, 320/1088/2080 wide",
        (10, 20, 10),
        has_auxiliary_head=True,
        published={
            "imagenet": "timm/inception_resnet_v2.tf_in1k",
            "ens-adv": "timm/inception_resnet_v2.tf_ens_adv_in1k",
        },
    ),
    "irv1-facenet": Layout(
        "inception_resnet_v1_facenet",
        "Inception-ResNet-v1",
        "released for faces: a sixth C module and a 512-d embedding",
        (5, 10, 6),
        dropout=0.6,
        has_padded_pools=False,
    ),
    "iv3": Layout(
        "inception_v3",
        "Inception-v3",
        "released by its authors",
        None,
        None,
        dropout=0.5,
        has_auxiliary_head=True,
    ),
}


def network_options(name: str, **changes: Any) -> NetworkOptions:
    """Return the default options of `name` with `changes` applied; None keeps a default.

    Raises:
        ValueError: an unknown name, an option that the network does not have, a value out of range.
    """
    if name not in NETWORKS:
        raise ValueError(f"unknown network {name!r}; known: {', '.join(NETWORKS)}")
    classes = changes.get("num_classes")
    if classes is not None and (type(classes) is not int or classes < 1):
        raise ValueError(f"num_classes must be a whole number of at least 1, got {classes!r}")
    layout = NETWORKS[name]
    defaults = NetworkOptions(
        name, repeats=layout.repeats, residual_scales=layout.residual_scales, dropout=layout.dropout
    )
    given: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in changes.items()
        if value is not None
    }
    if layout.residual_scales is None and (
        "residual_scales" in given
        or given.get("shortcut") is False
        or given.get("batch_norm_on_sums", "none") != "none"
    ):
        raise ValueError(
            f"{name} has no residual modules, so residual_scales, shortcut and batch_norm_on_sums "
            "cannot be set"
        )
    if given.get("count_padding") and not layout.has_padded_pools:
        raise ValueError(f"{name} has no padded average pools, so count_padding cannot be set")
    if layout.repeats is None and "repeats" in given:
        raise ValueError(f"{name} has fixed modules, so repeats cannot be set")
    if not 0 < given.get("width", 1) <= WIDEST:
        raise ValueError(f"width must be over 0 and at most {WIDEST:g}, got {given['width']}")
    if min(given.get("repeats", (1,))) < 1:
        raise ValueError(f"repeats must be at least 1 each, got {given['repeats']}")
    return replace(defaults, **given)


def check_image_size(size: tuple[int, int]) -> None:
    """Raise ValueError if a side of (height, width) is below the networks' minimum."""
    if min(size) < MINIMUM_IMAGE_SIZE:
        raise ValueError(
            f"image size must be at least {MINIMUM_IMAGE_SIZE}x{MINIMUM_IMAGE_SIZE} pixels, "
            f"got {size[0]}x{size[1]}"
        )


def describe(options: NetworkOptions) -> Description:
    """Return the description of a network by its figures; imports no torch.

    Raises:
        ValueError: an unknown name.
    """
    if options.name not in NETWORKS:
        raise ValueError(f"unknown network {options.name!r}; known: {', '.join(NETWORKS)}")
    module = import_module(f"inceptcli.networks.figures.{NETWORKS[options.name].module}")
    description: Description = module.describe(options)
    return description.completed()


def build(options: NetworkOptions) -> Network:
    """Build an initialized network; images (N, C, H, W) in [-1, 1] -> logits (N, num_classes).

    Raises:
        ValueError: an unknown name.
    """
    from inceptcli.networks.network import Network

    return Network(describe(options))
