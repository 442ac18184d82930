"""The schema of a recipe: all that defines a training run, checked without torch.

The sections are network, data, augmentation, optimizer, schedule, averaging, trainer, checkpoint.
An unknown key is an error with its dotted place.
"""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
)

from inceptcli.errors import UsageError
from inceptcli.text import seconds_in

Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
Side = Annotated[int, Field(ge=75, le=4096)]


def _duration(text: str) -> str:
    seconds_in(text)
    return text


class Section(BaseModel):
    """A part of a recipe: no unknown keys, no silent conversions, no NaN, frozen."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Network(Section):
    """What is trained; None keeps the network's own default (`inceptcli summarize NAME`)."""

    name: str = "irv2"
    repeats: Annotated[list[Count], Field(min_length=3, max_length=3)] | None = None
    residual_scales: Annotated[list[float], Field(min_length=3, max_length=3)] | None = None
    shortcut: bool | None = None
    dropout: Annotated[float, Field(ge=0, lt=1)] | None = None
    batch_norm_eps: Positive | None = None
    batch_norm_momentum: Annotated[float, Field(gt=0, le=1)] | None = None
    in_channels: Literal[1, 3] | None = None  # 1: images are turned grey
    init: str | None = None  # what to start from: a weights file, run directory or published name
    freeze: Literal["none", "stem", "all-but-head"] = "none"


class Data(Section):
    """Where images come from and how they are fed. Without a path: the drawn `shapes`."""

    path: str | None = None
    val_fraction: Annotated[float, Field(gt=0, lt=1)] | None = None
    image_size: Side | Annotated[list[Side], Field(min_length=2, max_length=2)] = 299
    crop_fraction: Annotated[float, Field(gt=0, le=1)] = 0.875
    resize: Literal["short-side", "squash"] = "short-side"
    interpolation: Literal["bilinear", "bicubic"] = "bicubic"
    batch_size: Count = 32  # images per device and step
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


class Augmentation(Section):
    """What happens to a training image and its label."""

    crop_area: Annotated[list[Fraction], Field(min_length=2, max_length=2)] = [0.3, 1.0]
    crop_aspect: Annotated[list[Positive], Field(min_length=2, max_length=2)] = [3 / 4, 4 / 3]
    mirror: Fraction = 0.5
    brightness: Fraction = 0.0
    contrast: Fraction = 0.0
    saturation: Fraction = 0.0
    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.1


class AdamW(Section):
    """Adam with decoupled weight decay."""

    name: Literal["adamw"] = "adamw"
    learning_rate: Positive = 0.001
    betas: Annotated[list[Fraction], Field(min_length=2, max_length=2)] = [0.9, 0.999]
    epsilon: Positive = 1e-8
    head_learning_rate: Positive | None = None  # the classifier's own
    weight_decay: Annotated[float, Field(ge=0)] = 0.05


class MomentumSGD(Section):
    """Stochastic gradient descent with momentum."""

    name: Literal["sgd"]
    learning_rate: Positive = 0.1
    momentum: Fraction = 0.9
    nesterov: bool = False
    head_learning_rate: Positive | None = None  # the classifier's own
    weight_decay: Annotated[float, Field(ge=0)] = 4e-5


class RMSPropTF(Section):
    """RMSProp as TensorFlow computes it; the defaults are the authors' (paper, section 4)."""

    name: Literal["rmsprop_tf"]
    learning_rate: Positive = 0.045
    decay: Fraction = 0.9
    momentum: Fraction = 0.9
    epsilon: Positive = 1.0
    head_learning_rate: Positive | None = None  # the classifier's own
    weight_decay: Annotated[float, Field(ge=0)] = 4e-5


class Constant(Section):
    """The optimizer's rate throughout, after a linear warm-up."""

    name: Literal["constant"]
    warmup_epochs: Annotated[float, Field(ge=0)] = 0


class Staircase(Section):
    """rate * multiply_by ** (epoch // every_epochs), the paper's exponential decay."""

    name: Literal["staircase"]
    multiply_by: Annotated[float, Field(gt=0, le=1)] = 0.94
    every_epochs: Positive = 2
    warmup_epochs: Annotated[float, Field(ge=0)] = 0


class Cosine(Section):
    """Half a cosine from the rate to zero, after a linear warm-up."""

    name: Literal["cosine"]
    warmup_epochs: Annotated[float, Field(ge=0)] = 0


class OneCycle(Section):
    """Cosine up from rate / 25 to the rate, then cosine down to nearly zero."""

    name: Literal["one-cycle"] = "one-cycle"
    rise: Annotated[float, Field(gt=0, lt=1)] = 0.25  # share of the run spent going up


class Averaging(Section):
    """The running average of the parameters that is validated and saved; decay 0 is none."""

    decay: Annotated[float, Field(ge=0, lt=1)] = 0.99
    warm_up: bool = True  # update n remembers min(decay, (1 + n) / (10 + n))


class Trainer(Section):
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
    stop_after: Annotated[str, AfterValidator(_duration)] | None = None  # such as 3h50m


class Checkpoint(Section):
    """How much work a kill may cost at most."""

    every_steps: Count = 500
    every_minutes: Positive = 10.0
    requeue: bool = False  # the SLURM job, on SIGUSR1 and trainer.stop_after


def _named(default: str) -> Discriminator:
    def name(value: Any) -> Any:
        return dict(value).get("name", default) if isinstance(value, dict | Section) else default

    return Discriminator(name)


class Recipe(Section):
    """A whole run. Every key has a default, so that a recipe states only what matters to it."""

    network: Network = Network()
    data: Data = Data()
    augmentation: Augmentation = Augmentation()
    optimizer: Annotated[
        Annotated[AdamW, Tag("adamw")]
        | Annotated[MomentumSGD, Tag("sgd")]
        | Annotated[RMSPropTF, Tag("rmsprop_tf")],
        _named("adamw"),
    ] = AdamW()
    schedule: Annotated[
        Annotated[OneCycle, Tag("one-cycle")]
        | Annotated[Cosine, Tag("cosine")]
        | Annotated[Staircase, Tag("staircase")]
        | Annotated[Constant, Tag("constant")],
        _named("one-cycle"),
    ] = OneCycle()
    averaging: Averaging = Averaging()
    trainer: Trainer = Trainer()
    checkpoint: Checkpoint = Checkpoint()

    def as_dict(self) -> dict[str, Any]:
        """Plain values with every default filled in; `check` accepts them again."""
        return self.model_dump(mode="json")


def check(values: Mapping[str, Any], place: str = "recipe") -> Recipe:
    """The recipe that plain `values` describe.

    Raises UsageError that names `place`, the dotted key, the rule and the value.
    """
    try:
        return Recipe.model_validate(dict(values))
    except ValidationError as error:
        raise UsageError(f"{place}: {_explain(error)}") from error


def _explain(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    tags = {"adamw", "sgd", "rmsprop_tf", "one-cycle", "cosine", "staircase", "constant"}
    # A place is section.key; what pydantic adds to it are the members of a union.
    key = ".".join([str(part) for part in first["loc"] if part not in tags][:2])
    if first["type"] == "extra_forbidden":
        return f"unknown key {key}"
    if first["type"] == "union_tag_invalid":
        found, known = first["ctx"]["tag"], first["ctx"]["expected_tags"]
        return f"{key}.name must be one of {known}, got {reprlib.repr(found)}"
    rule = first["msg"].removeprefix("Value error, ").removeprefix("Input ")
    rule = rule.replace("should be", "must be")
    return f"{key} {rule}, got {reprlib.repr(first['input'])}"
