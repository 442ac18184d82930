"""The sections of a recipe but for optimizer and schedule: what is trained, on what, how long."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from inceptcli.recipe.section import Count, Fraction, PathText, Positive, Section, Side, in_order
from inceptcli.text import seconds_in


def _duration(text: str) -> str:
    seconds_in(text)
    return text


class NetworkSection(Section):
    """What is trained; None keeps the network's own default (`inceptcli summarize NAME`)."""

    name: str = "irv2"
    repeats: Annotated[list[Count], Field(min_length=3, max_length=3)] | None = None
    residual_scales: Annotated[list[float], Field(min_length=3, max_length=3)] | None = None
    shortcut: bool | None = None
    batch_norm_on_sums: bool | None = None
    dropout: Annotated[float, Field(ge=0, lt=1)] | None = None
    batch_norm_eps: Positive | None = None
    batch_norm_momentum: Annotated[float, Field(gt=0, le=1)] | None = None
    count_padding: bool | None = None  # in average pools, as torchvision's iv3 does
    in_channels: Literal[1, 3] | None = None  # 1: images are turned grey
    init: PathText | None = None  # what to start from: as --weights has it
    freeze: Literal["none", "stem", "all-but-head"] = "none"
    auxiliary_weight: Positive | None = None  # of the auxiliary head's loss; released code: 0.4


class DataSection(Section):
    """Where images come from and how they are fed. Without a path: the drawn `shapes`."""

    path: PathText | None = None  # of class folders or shards
    val_path: PathText | None = None  # what validates, where path does not say
    val_fraction: Annotated[float, Field(gt=0, lt=1)] | None = None
    image_size: Side | Annotated[list[Side], Field(min_length=2, max_length=2)] = 299
    crop_fraction: Annotated[float, Field(gt=0, le=1)] = 0.875
    resize: Literal["short-side", "squash"] = "short-side"
    interpolation: Literal["bilinear", "bicubic"] = "bicubic"
    mean: float | Annotated[list[float], Field(min_length=3, max_length=3)] = 0.5  # of 0 to 1
    std: Positive | Annotated[list[Positive], Field(min_length=3, max_length=3)] = 0.5
    batch_size: Count | Literal["auto"] = 32  # images per device and step
    workers: Annotated[int, Field(ge=0)] = 2
    train_size: Count = 4000  # images of shapes
    val_size: Count = 500
    max_skipped: Fraction = 0.01  # share of the training images that may be unreadable

    @property
    def height_and_width(self) -> tuple[int, int]:
        """`image_size` as (height, width), pixels."""
        if isinstance(self.image_size, int):
            return self.image_size, self.image_size
        return self.image_size[0], self.image_size[1]


class AugmentationSection(Section):
    """What happens to a training image and its label.

    `style` authors is the distortion of the authors' released code: attempts at a crop, resize
    method, colour arithmetic and its order are TensorFlow's.
    """

    style: Literal["usual", "authors"] = "usual"
    crop_area: Annotated[
        list[Fraction], Field(min_length=2, max_length=2), AfterValidator(in_order)
    ] = Field(default=[0.3, 1.0])
    crop_aspect: Annotated[
        list[Positive], Field(min_length=2, max_length=2), AfterValidator(in_order)
    ] = Field(default=[3 / 4, 4 / 3])
    mirror: Fraction = 0.5
    brightness: Fraction = 0.0
    contrast: Fraction = 0.0
    saturation: Fraction = 0.0
    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    policy: Literal["none", "randaugment", "trivialaugment"] = "none"
    policy_operations: Count = 2  # of randaugment, per image
    policy_magnitude: Annotated[int, Field(ge=0, le=30)] = 9  # of randaugment
    erasing: Fraction = 0.0  # probability of a grey rectangle
    mixup: Annotated[float, Field(ge=0)] = 0.0  # alpha; with cutmix each batch draws one of them
    cutmix: Annotated[float, Field(ge=0)] = 0.0  # alpha
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.1


class AveragingSection(Section):
    """The running average of the parameters that is validated and saved; decay 0 is none."""

    decay: Annotated[float, Field(ge=0, lt=1)] = 0.99
    warm_up: bool = True  # update n remembers min(decay, (1 + n) / (10 + n))


class TrainerSection(Section):
    """How long, on what, and in which precision."""

    epochs: Count = 10
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    precision: Literal["32-true", "bf16-mixed", "16-mixed", "bf16-true", "16-true", "64-true"] = (
        "32-true"
    )
    accelerator: Literal["auto", "cpu", "gpu", "cuda", "mps", "tpu"] = "auto"
    devices: Count | Literal["auto"] = 1
    num_nodes: Count = 1
    strategy: str = "auto"
    accumulate_batches: Count = 1
    clip_norm: Positive | None = 1.0
    sync_batch_norm: bool = False
    checkpoint_activations: bool = False  # compute them again instead of keeping them
    compile: bool = False  # by torch.compile, when the first batch comes
    deterministic: bool = False  # on a GPU: kernels that give the same bits each time, slower
    limit_batches: Count | None = None  # of an epoch and of its validation, per device
    profiler: Literal["none", "simple", "advanced", "pytorch"] = "none"
    logger: Literal["none", "csv", "tensorboard", "wandb", "mlflow", "comet"] = "none"
    stop_after: Annotated[str, AfterValidator(_duration)] | None = None  # such as 3h50m


class CheckpointSection(Section):
    """How much work a kill may cost at most."""

    every_steps: Count = 500
    every_minutes: Positive = 10.0
    requeue: bool = False  # the SLURM job, on SIGUSR1 and trainer.stop_after
