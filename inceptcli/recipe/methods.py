"""Optimizers and schedules by name, each with keys of its own."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from inceptcli.recipe.section import Fraction, Positive, Section


class Optimized(Section):
    """What every optimizer has."""

    head_learning_rate: Positive | None = None  # the classifier's own


class Adaptive(Optimized):
    """Optimizers that remember the gradients' first two moments."""

    betas: Annotated[list[Fraction], Field(min_length=2, max_length=2)] = Field(
        default=[0.9, 0.999]
    )


class AdamWSettings(Adaptive):
    """Adam with decoupled weight decay."""

    name: Literal["adamw"] = "adamw"
    learning_rate: Positive = 0.001
    epsilon: Positive = 1e-8
    weight_decay: Annotated[float, Field(ge=0)] = 0.05


class MomentumSGDSettings(Optimized):
    """Stochastic gradient descent with momentum."""

    name: Literal["sgd"]
    learning_rate: Positive = 0.1
    momentum: Fraction = 0.9
    nesterov: bool = False
    weight_decay: Annotated[float, Field(ge=0)] = 4e-5


class RMSPropTFSettings(Optimized):
    """RMSProp as TensorFlow computes it; the defaults are the authors' (paper, section 4)."""

    name: Literal["rmsprop_tf"]
    learning_rate: Positive = 0.045
    decay: Fraction = 0.9
    momentum: Fraction = 0.9
    epsilon: Positive = 1.0
    weight_decay: Annotated[float, Field(ge=0)] = 4e-5


class LambSettings(Adaptive):
    """LAMB, for batches of thousands; timm's (extra `timm`)."""

    name: Literal["lamb"]
    learning_rate: Positive = 0.005
    epsilon: Positive = 1e-6
    weight_decay: Annotated[float, Field(ge=0)] = 0.02


class WarmedUp(Section):
    """A warm-up first: linear, or with a factor that share of the rate throughout."""

    warmup_epochs: Annotated[float, Field(ge=0)] = 0
    warmup_factor: Positive | None = None


class Constant(WarmedUp):
    """The optimizer's rate throughout, after the warm-up."""

    name: Literal["constant"]


class Staircase(WarmedUp):
    """rate * multiply_by ** (epoch // every_epochs), the paper's exponential decay."""

    name: Literal["staircase"]
    multiply_by: Annotated[float, Field(gt=0, le=1)] = 0.94
    every_epochs: Positive = 2


class Cosine(WarmedUp):
    """Half a cosine from the rate to zero, after the warm-up."""

    name: Literal["cosine"]


class OneCycle(Section):
    """Cosine up from rate / 25 to the rate, then cosine down to nearly zero."""

    name: Literal["one-cycle"] = "one-cycle"
    rise: Annotated[float, Field(gt=0, lt=1)] = 0.25  # share of the run spent going up


Optimizer = AdamWSettings | MomentumSGDSettings | RMSPropTFSettings | LambSettings
Schedule = OneCycle | Cosine | Staircase | Constant
