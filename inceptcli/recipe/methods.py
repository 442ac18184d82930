"""Settings of each optimizer and each learning-rate schedule."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from inceptcli.recipe.section import Fraction, Positive, Section

METHOD_NAME = Field(description="Method; the other keys of the section depend on it.")
Rate = Annotated[Positive, Field(description="Highest learning rate of the schedule.")]
Momentum = Annotated[Fraction, Field(description="Share of the previous step added to the next.")]
Epsilon = Annotated[Positive, Field(description="Constant added to the divisor of each step.")]
Decay = Annotated[
    float, Field(ge=0, description="Weight decay; sgd and rmsprop_tf add it to the gradient.")
]


class Optimized(Section):
    """Keys of every optimizer."""

    head_learning_rate: Positive | None = Field(
        default=None, description="Learning rate of the classifier; null: same as learning_rate."
    )
    layer_decay: Annotated[float, Field(gt=0, le=1)] | None = Field(
        default=None,
        description="Factor on the learning rate from each layer to the one before it, starting "
        "below the classifier; null: one rate.",
    )
    weight_decay_on_biases: bool = Field(
        default=False,
        description="Whether biases of convolutions and linear layers decay too, as in the "
        "authors' Inception-ResNet-v2; batch norm never does.",
    )


class Adaptive(Optimized):
    """Optimizers that average the first two moments of the gradient."""

    betas: Annotated[list[Fraction], Field(min_length=2, max_length=2)] = Field(
        default=[0.9, 0.999],
        description="Decays of the moving averages of the gradient and of its square.",
    )


class AdamWSettings(Adaptive):
    """Adam with decoupled weight decay."""

    name: Annotated[Literal["adamw"], METHOD_NAME] = "adamw"
    learning_rate: Rate = 0.001
    epsilon: Epsilon = 1e-8
    weight_decay: Decay = 0.05


class MomentumSGDSettings(Optimized):
    """Stochastic gradient descent with momentum."""

    name: Annotated[Literal["sgd"], METHOD_NAME]
    learning_rate: Rate = 0.1
    momentum: Momentum = 0.9
    nesterov: bool = Field(default=False, description="Use Nesterov momentum.")
    weight_decay: Decay = 4e-5


class RMSPropTFSettings(Optimized):
    """RMSProp as TensorFlow computes it; the defaults are the authors' (paper, section 4)."""

    name: Annotated[Literal["rmsprop_tf"], METHOD_NAME]
    learning_rate: Rate = 0.045
    decay: Fraction = Field(
        default=0.9, description="Decay of the moving average of the squared gradient."
    )
    momentum: Momentum = 0.9
    epsilon: Epsilon = 1.0
    weight_decay: Decay = 4e-5


class LambSettings(Adaptive):
    """LAMB from timm (extra `timm`), for batches of thousands of images."""

    name: Annotated[Literal["lamb"], METHOD_NAME]
    learning_rate: Rate = 0.005
    epsilon: Epsilon = 1e-6
    weight_decay: Decay = 0.02


class WarmedUp(Section):
    """Schedules with a warm-up: linear, or constant at `warmup_factor` of the rate."""

    warmup_epochs: Annotated[float, Field(ge=0)] = Field(
        default=0, description="Epochs of warm-up."
    )
    warmup_factor: Positive | None = Field(
        default=None,
        description="Constant share of the rate during the warm-up; null: linear from 0 to 1.",
    )


class Constant(WarmedUp):
    """Constant learning rate after the warm-up."""

    name: Annotated[Literal["constant"], METHOD_NAME]


class Staircase(WarmedUp):
    """Exponential decay of the paper: rate * multiply_by ** (epoch // every_epochs)."""

    name: Annotated[Literal["staircase"], METHOD_NAME]
    multiply_by: Annotated[float, Field(gt=0, le=1)] = Field(
        default=0.94, description="Factor applied to the rate at each step down."
    )
    every_epochs: Positive = Field(default=2, description="Epochs between steps down.")


class Cosine(WarmedUp):
    """Cosine decay from the rate to zero after the warm-up."""

    name: Annotated[Literal["cosine"], METHOD_NAME]


class OneCycle(Section):
    """Cosine rise from rate / 25 to the rate, then cosine decay to nearly zero."""

    name: Annotated[Literal["one-cycle"], METHOD_NAME] = "one-cycle"
    rise: Annotated[float, Field(gt=0, lt=1)] = Field(
        default=0.25, description="Share of the run in which the rate rises."
    )


Optimizer = AdamWSettings | MomentumSGDSettings | RMSPropTFSettings | LambSettings
Schedule = OneCycle | Cosine | Staircase | Constant
