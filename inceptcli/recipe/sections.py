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

    name: str = Field(
        default="irv2", description="Network to train; `inceptcli list networks` shows all."
    )
    repeats: Annotated[list[Count], Field(min_length=3, max_length=3)] | None = Field(
        default=None, description="Repeats of the A, B and C blocks; null: the network's own."
    )
    residual_scales: Annotated[list[float], Field(min_length=3, max_length=3)] | None = Field(
        default=None,
        description="Factors on the residuals of the A, B and C blocks; null: the network's own.",
    )
    shortcut: bool | None = Field(
        default=None,
        description="Whether residual blocks add their input; null: the network's own.",
    )
    batch_norm_on_sums: bool | None = Field(
        default=None,
        description="Batch norm on the sums of residual blocks; null: the network's own.",
    )
    dropout: Annotated[float, Field(ge=0, lt=1)] | None = Field(
        default=None,
        description="Probability of dropping a feature before the classifier; null: the network's "
        "own.",
    )
    batch_norm_eps: Positive | None = Field(
        default=None,
        description="Constant that batch norm adds to the variance; null: the network's own.",
    )
    batch_norm_momentum: Annotated[float, Field(gt=0, le=1)] | None = Field(
        default=None,
        description="Weight of a batch in batch norm's running figures; null: the network's own.",
    )
    count_padding: bool | None = Field(
        default=None,
        description="Whether average pools count padding, as torchvision's iv3 does; null: the "
        "network's own.",
    )
    in_channels: Literal[1, 3] | None = Field(
        default=None,
        description="Channels of the images: 3 for RGB, 1 for grayscale; null: the network's own.",
    )
    init: PathText | None = Field(
        default=None,
        description="Weights to start from, named as for --weights; null starts from random ones.",
    )
    freeze: Literal["none", "stem", "all-but-head"] = Field(
        default="none",
        description="Part of the network that is not trained, its batch norm included.",
    )
    auxiliary_weight: Positive | None = Field(
        default=None,
        description="Weight of the auxiliary head's loss (released code: 0.4); null trains without "
        "the head.",
    )


class DataSection(Section):
    """Where images come from and how they are fed. Without a path: the drawn `shapes`."""

    path: PathText | None = Field(
        default=None, description="Class folders or tar shards to train on; null draws shapes."
    )
    val_path: PathText | None = Field(
        default=None,
        description="Class folders or tar shards to validate on, where data.path has no val.",
    )
    val_fraction: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        default=None,
        description="Share of the images of each class to validate on, where nothing else does.",
    )
    image_size: Side | Annotated[list[Side], Field(min_length=2, max_length=2)] = Field(
        default=299, description="Side of an image in pixels, or its height and width."
    )
    crop_fraction: Annotated[float, Field(gt=0, le=1)] = Field(
        default=0.875,
        description="Share of the resized image's side that the validation crop takes.",
    )
    resize: Literal["short-side", "squash"] = Field(
        default="short-side",
        description="Resize the shorter side and keep the aspect ratio, or squash to the wanted "
        "one.",
    )
    interpolation: Literal["bilinear", "bicubic"] = Field(
        default="bicubic", description="Interpolation for resizing images."
    )
    mean: float | Annotated[list[float], Field(min_length=3, max_length=3)] = Field(
        default=0.5,
        description="Mean to subtract from pixels of 0 to 1, one number or three (RGB).",
    )
    std: Positive | Annotated[list[Positive], Field(min_length=3, max_length=3)] = Field(
        default=0.5,
        description="Standard deviation to divide pixels of 0 to 1 by, one number or three (RGB).",
    )
    batch_size: Count | Literal["auto"] = Field(
        default=32, description="Images per device and step; auto finds the largest that fits."
    )
    workers: Annotated[int, Field(ge=0)] = Field(
        default=2,
        description="Processes per device that read images; 0 reads in the training process.",
    )
    train_size: Count = Field(
        default=4000, description="Number of drawn shapes to train on, where data.path is null."
    )
    val_size: Count = Field(
        default=500, description="Number of drawn shapes to validate on, where data.path is null."
    )
    max_skipped: Fraction = Field(
        default=0.01,
        description="Share of the training images that may be unreadable before training fails.",
    )

    @property
    def height_and_width(self) -> tuple[int, int]:
        """`image_size` as (height, width), pixels."""
        if isinstance(self.image_size, int):
            return self.image_size, self.image_size
        return self.image_size[0], self.image_size[1]


class AugmentationSection(Section):
    """What happens to a training image and its label.

    `style` authors is the distortion of the authors' released code: attempts at a crop, resize
    method, color arithmetic and its order are TensorFlow's.
    """

    style: Literal["usual", "authors"] = Field(
        default="usual",
        description="Usual augmentation, or the distortion of the authors' released code.",
    )
    crop_area: Annotated[
        list[Fraction], Field(min_length=2, max_length=2), AfterValidator(in_order)
    ] = Field(
        default=[0.3, 1.0],
        description="Smallest and largest share of the image's area that a random crop takes.",
    )
    crop_aspect: Annotated[
        list[Positive], Field(min_length=2, max_length=2), AfterValidator(in_order)
    ] = Field(
        default=[3 / 4, 4 / 3],
        description="Smallest and largest width of a random crop divided by its height.",
    )
    mirror: Fraction = Field(
        default=0.5, description="Probability of mirroring an image left to right."
    )
    brightness: Fraction = Field(default=0.0, description="Largest random change of brightness.")
    contrast: Fraction = Field(default=0.0, description="Largest random change of contrast.")
    saturation: Fraction = Field(default=0.0, description="Largest random change of saturation.")
    hue: Annotated[float, Field(ge=0, le=0.5)] = Field(
        default=0.0, description="Largest random change of hue, as a share of the color circle."
    )
    policy: Literal["none", "randaugment", "trivialaugment"] = Field(
        default="none", description="Random operations on each image after cropping."
    )
    policy_operations: Count = Field(default=2, description="Operations per image of randaugment.")
    policy_magnitude: Annotated[int, Field(ge=0, le=30)] = Field(
        default=9, description="Strength of randaugment's operations."
    )
    erasing: Fraction = Field(default=0.0, description="Probability of erasing a random rectangle.")
    mixup: Annotated[float, Field(ge=0)] = Field(
        default=0.0,
        description="Alpha of mixup, 0 for none; with cutmix each batch draws one of the two.",
    )
    cutmix: Annotated[float, Field(ge=0)] = Field(
        default=0.0, description="Alpha of cutmix, 0 for none."
    )
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.1, description="Share of the label's probability that is spread over all classes."
    )


class AveragingSection(Section):
    """The running average of the parameters that is validated and saved; decay 0 is none."""

    decay: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.99,
        description="Decay of the moving average of the weights, which is validated and saved; 0 "
        "for none.",
    )
    warm_up: bool = Field(
        default=True,
        description="Start with a lower decay: at most (1 + n) / (10 + n) in update n.",
    )


class TrainerSection(Section):
    """How long, on what, and in which precision."""

    epochs: Count = Field(default=10, description="Passes over the training images.")
    seed: Annotated[int, Field(ge=0, lt=2**32)] = Field(
        default=0,
        description="Seed of all random numbers: initial weights, order, augmentation, dropout.",
    )
    precision: Literal["32-true", "bf16-mixed", "16-mixed", "bf16-true", "16-true", "64-true"] = (
        Field(
            default="32-true", description="Number format of the computation, by Lightning's names."
        )
    )
    accelerator: Literal["auto", "cpu", "gpu", "cuda", "mps", "tpu"] = Field(
        default="auto", description="Kind of device to train on."
    )
    devices: Count | Literal["auto"] = Field(
        default=1, description="Devices per node; auto takes all."
    )
    num_nodes: Count = Field(default=1, description="Nodes (machines) to train on.")
    strategy: str = Field(
        default="auto", description="Lightning's strategy for several devices, such as ddp."
    )
    accumulate_batches: Count = Field(
        default=1, description="Batches of each device whose gradients make one step."
    )
    clip_norm: Positive | None = Field(
        default=1.0,
        description="Largest norm of the gradient, which is scaled down to it; null for no limit.",
    )
    sync_batch_norm: bool = Field(
        default=False,
        description="Compute batch norm's statistics over the batches of all devices.",
    )
    checkpoint_activations: bool = Field(
        default=False,
        description="Compute activations again in the backward pass instead of keeping them.",
    )
    compile: bool = Field(default=False, description="Compile the network with torch.compile.")
    deterministic: bool = Field(
        default=False,
        description="Use only kernels that give the same bits each time; slower on a GPU.",
    )
    limit_batches: Count | None = Field(
        default=None,
        description="Most batches per device of an epoch and of its validation; null for all.",
    )
    profiler: Literal["none", "simple", "advanced", "pytorch"] = Field(
        default="none", description="Lightning's profiler to run."
    )
    logger: Literal["none", "csv", "tensorboard", "wandb", "mlflow", "comet"] = Field(
        default="none", description="Logger that gets the figures too, besides metrics.csv."
    )
    stop_after: Annotated[str, AfterValidator(_duration)] | None = Field(
        default=None,
        description="Time after which to save and exit, such as 45s, 30m, 3h50m or 1d2h; null for "
        "never.",
    )


class CheckpointSection(Section):
    """How much work a kill may cost at most."""

    every_steps: Count = Field(
        default=500, description="Steps after which a checkpoint is written at the latest."
    )
    every_minutes: Positive = Field(
        default=10.0, description="Minutes after which a checkpoint is written at the latest."
    )
    requeue: bool = Field(
        default=False, description="Requeue the SLURM job when it stops before its time limit."
    )
