"""Sections of a recipe other than optimizer and schedule."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from inceptcli.recipe.section import Count, Fraction, PathText, Positive, Section, Side, in_order
from inceptcli.text import seconds_in


def _duration(text: str) -> str:
    seconds_in(text)
    return text


def _interval(value: int | str) -> int | str:
    """Return a number of epochs, or of steps such as 500steps."""
    if isinstance(value, str):
        number = re.fullmatch(r"([1-9]\d{0,9}) ?steps?", value.strip())
        if number is None:
            raise ValueError("must be a number of epochs, or of steps such as 500steps")
        return f"{number[1]}steps"
    if value < 1:
        raise ValueError("must be at least 1")
    return value


class NetworkSection(Section):
    """Network to train; null keeps the network's default (`inceptcli summarize NAME`)."""

    name: str = Field(
        default="irv2", description="Network to train; `inceptcli list networks` shows all."
    )
    width: Annotated[float, Field(gt=0, le=4)] | None = Field(
        default=None,
        description="Factor on the channels of every convolution, rounded to whole channels; null: "
        "the network's own.",
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
    batch_norm_on_sums: Literal["none", "last", "all"] | None = Field(
        default=None,
        description="Sums of residual blocks that have batch norm: none, the last before the "
        "average pooling (paper, section 3.3), or all; null: the network's own.",
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
        description="Weight of a batch in batch norm's running statistics; null: the network's "
        "own.",
    )
    batch_norm_scale: bool | None = Field(
        default=None,
        description="Whether batch norm has trained scales (gamma), which the authors' code has "
        "not; null: the network's own.",
    )
    initialization: Literal["he", "he-xavier", "xavier"] | None = Field(
        default=None,
        description="Initial weights: He, Xavier uniform (the authors' Inception-ResNet-v2), or "
        "Xavier for the classifier only (their Inception-v4); null: the network's own.",
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
        description="Weights to fine-tune, named as for --weights; null: random initialization.",
    )
    freeze: Literal["none", "stem", "all-but-head"] = Field(
        default="none",
        description="Part of the network to freeze, including its batch norm.",
    )
    auxiliary_weight: Positive | None = Field(
        default=None,
        description="Weight of the auxiliary head's loss (authors' code: 0.4); null trains without "
        "the head.",
    )


class DataSection(Section):
    """Images, preprocessing and loading; a null path draws `shapes`."""

    path: PathText | None = Field(
        default=None,
        description="Class folders, CSV file or tar shards to train on; null draws shapes.",
    )
    val_path: PathText | None = Field(
        default=None,
        description="Class folders, CSV file or tar shards to validate on, if data.path has no "
        "val.",
    )
    val_fraction: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        default=None,
        description="Share of each class to hold out for validation, if there is no other "
        "validation data.",
    )
    exclude: PathText | None = Field(
        default=None,
        description="File that lists images to leave out of validation, as `eval --exclude` takes "
        "it; null for none.",
    )
    allow_unlabeled: bool = Field(
        default=False,
        description="Whether an image of a CSV file may have an empty field labels: no class.",
    )
    shapes: Literal["single", "pairs"] = Field(
        default="single",
        description="Shapes to draw if data.path is null: one, or a pair, which is multi-label.",
    )
    image_size: Side | Annotated[list[Side], Field(min_length=2, max_length=2)] = Field(
        default=299, description="Side of an image in pixels, or its height and width."
    )
    crop_fraction: Annotated[float, Field(gt=0, le=1)] = Field(
        default=0.875,
        description="Side of the validation crop as a share of the resized image's side.",
    )
    resize: Literal["short-side", "squash"] = Field(
        default="short-side",
        description="In validation and prediction: resize the shorter side and keep the aspect "
        "ratio, or squash to the target aspect ratio.",
    )
    interpolation: Literal["bilinear", "bicubic"] = Field(
        default="bicubic",
        description="Interpolation for resizing images in validation and prediction; training's "
        "crops are bilinear.",
    )
    antialias: bool = Field(
        default=True,
        description="Whether shrinking images averages all pixels; false: pixels are sampled as in "
        "TensorFlow 1, which augmentation.style authors always does.",
    )
    mean: float | Annotated[list[float], Field(min_length=3, max_length=3)] = Field(
        default=0.5,
        description="Mean subtracted from pixels in 0 to 1, one number or three (RGB).",
    )
    std: Positive | Annotated[list[Positive], Field(min_length=3, max_length=3)] = Field(
        default=0.5,
        description="Standard deviation that divides the centered pixels, one number or three.",
    )
    sampling: Literal["natural", "balanced"] = Field(
        default="natural",
        description="Draw every training image once an epoch, or every class equally often; images "
        "too few for a last batch are left out, others each epoch.",
    )
    batch_size: Count | Literal["auto"] = Field(
        default=32, description="Images per device and batch; auto finds the largest that fits."
    )
    workers: Annotated[int, Field(ge=0)] = Field(
        default=2,
        description="Loader processes per device; 0 loads in the training process.",
    )
    train_size: Count = Field(
        default=4000, description="Number of drawn shapes to train on, if data.path is null."
    )
    val_size: Count = Field(
        default=500, description="Number of drawn shapes to validate on, if data.path is null."
    )
    max_skipped: Fraction = Field(
        default=0.01,
        description="Largest share of unreadable images before training fails.",
    )

    @property
    def height_and_width(self) -> tuple[int, int]:
        """Return `image_size` as (height, width) in pixels."""
        if isinstance(self.image_size, int):
            return self.image_size, self.image_size
        return self.image_size[0], self.image_size[1]


class AugmentationSection(Section):
    """Augmentation of training images and labels.

    `style` authors follows the authors' released TensorFlow code in crop attempts, resize method,
    color arithmetic and order. `style` none keeps the validation crop of each image: the keys from
    fast_mode to erasing do nothing.
    """

    style: Literal["usual", "authors", "none"] = Field(
        default="usual",
        description="Usual augmentation, the distortion of the authors' released code, or none: "
        "the validation crop, without the keys from fast_mode to erasing.",
    )
    fast_mode: bool = Field(
        default=False,
        description="With style authors, resize bilinearly and change only brightness and "
        "saturation, as TF-slim's training script does; false: four resize methods, hue and "
        "contrast too.",
    )
    crop_area: Annotated[
        list[Fraction], Field(min_length=2, max_length=2), AfterValidator(in_order)
    ] = Field(
        default=[0.3, 1.0],
        description="Smallest and largest area of a random crop as a share of the image's area.",
    )
    crop_aspect: Annotated[
        list[Positive], Field(min_length=2, max_length=2), AfterValidator(in_order)
    ] = Field(
        default=[3 / 4, 4 / 3],
        description="Smallest and largest aspect ratio (width / height) of a random crop.",
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
        description="Alpha of mixup, 0 for none; with cutmix, each batch uses one of them at "
        "random.",
    )
    cutmix: Annotated[float, Field(ge=0)] = Field(
        default=0.0, description="Alpha of cutmix, 0 for none."
    )
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.1, description="Share of the label's probability spread over all classes."
    )


class LossSection(Section):
    """Training loss; validation always measures plain cross-entropy."""

    name: Literal["cross-entropy", "binary"] = Field(
        default="cross-entropy",
        description="Cross-entropy of the softmax, or binary cross-entropy of a sigmoid per class.",
    )
    class_weights: list[Annotated[float, Field(gt=0, le=1e6)]] | Literal["balanced"] | None = Field(
        default=None,
        description="Weight of each class's images in the order of the classes; balanced: images / "
        "(classes x images of the class); null: 1.",
    )
    focal_gamma: Annotated[float, Field(ge=0, le=100)] = Field(
        default=0.0,
        description="Focal loss: multiply the loss of a class by (1 - probability) to this power; "
        "0 for none.",
    )


class AveragingSection(Section):
    """Moving average of the weights, which is validated and saved."""

    decay: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.99,
        description="Decay of the moving average of the weights, which is validated and saved; 0 "
        "for none.",
    )
    warm_up: bool = Field(
        default=True,
        description="Limit the decay in update n to (1 + n) / (10 + n).",
    )


class TrainerSection(Section):
    """Duration, devices, precision and other options of Lightning's Trainer."""

    epochs: Count = Field(default=10, description="Passes over the training images.")
    seed: Annotated[int, Field(ge=0, lt=2**32)] = Field(
        default=0,
        description="Seed of initial weights, image order, augmentation and dropout.",
    )
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = Field(
        default="32-true",
        description="Precision of the computation, as Lightning names it; weights stay float32.",
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
        default=1, description="Batches per device whose gradients are accumulated for one step."
    )
    clip_norm: Positive | None = Field(
        default=1.0,
        description="Clip the gradient to this norm; null for no limit.",
    )
    sync_batch_norm: bool = Field(
        default=False,
        description="Compute batch norm statistics over the batches of all devices.",
    )
    batch_norm_updates: Count | None = Field(
        default=None,
        description="Updates per optimizer step that network.batch_norm_momentum is for, such as "
        "one of each worker; the momentum of a batch then depends on the number of accumulated "
        "batches. null: it is for one batch.",
    )
    checkpoint_activations: bool = Field(
        default=False,
        description="Recompute activations in the backward pass to save memory.",
    )
    compile: bool = Field(default=False, description="Compile the network with torch.compile.")
    deterministic: bool = Field(
        default=False,
        description="Use deterministic kernels only; slower on a GPU.",
    )
    limit_batches: Count | None = Field(
        default=None,
        description="Largest number of batches per device in an epoch and in its validation; null "
        "for all.",
    )
    validate_every: Annotated[int | str, AfterValidator(_interval)] = Field(
        default=1,
        description="Epochs from one validation to the next, or steps, such as 500steps; the last "
        "step is always followed by one.",
    )
    best_by: Literal["val_top1", "val_loss", "val_macro_f1", "val_balanced_accuracy"] = Field(
        default="val_top1",
        description="Measure of the validation that selects the best weights: the lowest val_loss, "
        "the highest of the others. For multi-label data, val_top1 means val_average_precision.",
    )
    patience: Count | None = Field(
        default=None,
        description="Stop after this many validations in a row without a better trainer.best_by; "
        "null for never.",
    )
    profiler: Literal["none", "simple", "advanced", "pytorch"] = Field(
        default="none", description="Lightning profiler to run."
    )
    logger: Literal["none", "csv", "tensorboard", "wandb", "mlflow", "comet"] = Field(
        default="none", description="Logger for the metrics, in addition to metrics.csv."
    )
    stop_after: Annotated[str, AfterValidator(_duration)] | None = Field(
        default=None,
        description="Save and exit after this time, such as 45s, 30m, 3h50m or 1d2h; null for "
        "never.",
    )


class CheckpointSection(Section):
    """Checkpoint interval, the most work that a kill can cost."""

    every_steps: Count = Field(
        default=500, description="Largest number of steps between checkpoints."
    )
    every_minutes: Positive = Field(
        default=10.0, description="Largest number of minutes between checkpoints."
    )
    requeue: bool = Field(
        default=False,
        description="Requeue the SLURM job after SIGUSR1, the warning of its time limit, and after "
        "trainer.stop_after.",
    )
