"""Build the optimizer and the learning-rate schedule of a recipe."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from inceptcli.networks.network import Network
from inceptcli.recipe import methods


class RMSPropTF(Optimizer):
    """RMSProp as TensorFlow computes it.

    mean_square = decay * mean_square + (1 - decay) * gradient ** 2, starting at one;
    velocity = momentum * velocity + rate * gradient / sqrt(mean_square + epsilon);
    parameter -= velocity.

    torch's RMSprop starts at zero, adds epsilon outside the root and keeps the rate out of the
    velocity, which gives different results at the paper's epsilon of 1.0. Weight decay is added to
    the gradient (L2), as in the authors' code.
    """

    def __init__(
        self,
        parameters: Any,
        lr: float,
        decay: float = 0.9,
        momentum: float = 0.9,
        eps: float = 1.0,
        weight_decay: float = 0.0,
    ) -> None:
        defaults = {
            "lr": lr, "decay": decay, "momentum": momentum, "eps": eps, "weight_decay": weight_decay
        }  # fmt: skip
        super().__init__(parameters, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            if parameters:
                self._update(parameters, group)
        return loss

    def _update(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        for parameter in parameters:
            if not self.state[parameter]:
                self.state[parameter]["mean_square"] = torch.ones_like(parameter)
                self.state[parameter]["velocity"] = torch.zeros_like(parameter)
        gradients = [p.grad for p in parameters if p.grad is not None]
        mean_squares = [self.state[p]["mean_square"] for p in parameters]
        velocities = [self.state[p]["velocity"] for p in parameters]
        if group["weight_decay"]:
            gradients = list(torch._foreach_add(gradients, parameters, alpha=group["weight_decay"]))
        torch._foreach_mul_(mean_squares, group["decay"])
        torch._foreach_addcmul_(mean_squares, gradients, gradients, 1 - group["decay"])
        roots = torch._foreach_add(mean_squares, group["eps"])
        torch._foreach_sqrt_(roots)
        torch._foreach_mul_(velocities, group["momentum"])
        torch._foreach_addcdiv_(velocities, gradients, roots, group["lr"])
        torch._foreach_sub_(parameters, velocities)


def optimizer(
    settings: methods.Optimizer, module: nn.Module, network: Network, scaled: bool = False
) -> Optimizer:
    """Build the recipe's optimizer for the trained parameters of `module`, which has `network`.

    AdamW and SGD are torch's fused versions, except SGD with `scaled` gradients (16-mixed): fused
    SGD updates its momentum even in steps that overflow and are skipped.
    """
    rate, groups = settings.learning_rate, parameter_groups(settings, module, network)
    if isinstance(settings, methods.AdamWSettings):
        first, second = settings.betas
        return AdamW(groups, rate, (first, second), settings.epsilon, fused=True)
    if isinstance(settings, methods.MomentumSGDSettings):
        momentum = settings.momentum
        return SGD(groups, rate, momentum, nesterov=settings.nesterov, fused=not scaled)
    if isinstance(settings, methods.LambSettings):
        from timm.optim.lamb import Lamb

        first, second = settings.betas
        # The trainer clips gradients.
        lamb: Optimizer = Lamb(
            groups, rate, betas=(first, second), eps=settings.epsilon, max_grad_norm=None
        )
        return lamb
    return RMSPropTF(groups, rate, settings.decay, settings.momentum, settings.epsilon)


def parameter_groups(
    settings: methods.Optimizer, module: nn.Module, network: Network
) -> list[dict[str, Any]]:
    """Group the trained parameters of `module` by learning rate and weight decay.

    Batch norm has no weight decay, biases only with `weight_decay_on_biases`. The classifier may
    have its own learning rate. Each layer before it has `layer_decay` times the rate of the next
    one (see `Network.layers`); an auxiliary head has the full rate. `layer_scale` is the group's
    power of `layer_decay`.
    """
    layers, factor = network.layers(), settings.layer_decay or 1.0
    scales = {
        id(parameter): factor ** (len(layers) - 1 - position)
        for position, layer in enumerate(layers)
        for parameter in layer.parameters()
    }
    of_head = {id(parameter) for parameter in network.classifier.parameters()}
    decaying = {
        id(parameter)
        for layer in module.modules()
        if isinstance(layer, nn.Conv2d | nn.Linear)
        for name, parameter in layer.named_parameters(recurse=False)
        if name == "weight" or settings.weight_decay_on_biases
    }
    groups: dict[tuple[bool, float, bool], dict[str, Any]] = {}
    for parameter in module.parameters():
        if parameter.requires_grad:
            is_head, scale = id(parameter) in of_head, scales.get(id(parameter), 1.0)
            head_rate = settings.head_learning_rate if is_head else None
            rate = head_rate or settings.learning_rate * scale
            decays = id(parameter) in decaying
            decay = settings.weight_decay if decays else 0.0
            group = {"params": [], "weight_decay": decay, "lr": rate, "layer_scale": scale}
            groups.setdefault((is_head, scale, decays), group)["params"].append(parameter)
    return list(groups.values())


def current_rate(optimizer: Optimizer) -> float:
    """Return the current learning rate without layer decay, the classifier's if it trains alone."""
    group = optimizer.param_groups[0]
    return float(group["lr"] / group["layer_scale"])


def schedule(
    settings: methods.Schedule,
    steps_per_epoch: int,
    epochs: int,
) -> Callable[[int], float]:
    """Return the factor on the learning rate as a function of the optimizer step (0-based).

    The factor depends on the step alone, so a resumed run needs no other state.
    """
    total = steps_per_epoch * epochs
    if isinstance(settings, methods.OneCycle):
        top = max(1.0, settings.rise * total - 1)

        def one_cycle(step: int) -> float:
            if step <= top:
                return 1 + (1 / 25 - 1) * _cosine(step / top)
            return 1e-4 / 25 + (1 - 1e-4 / 25) * _cosine((step - top) / max(1.0, total - 1 - top))

        return one_cycle
    warmup = settings.warmup_epochs * steps_per_epoch

    def warmed(step: int) -> float:
        if step < warmup:
            return settings.warmup_factor or (step + 1) / (warmup + 1)
        if isinstance(settings, methods.Cosine):
            return _cosine((step - warmup) / max(1.0, total - warmup))
        if isinstance(settings, methods.Staircase):
            epoch = step / steps_per_epoch
            return float(settings.multiply_by ** math.floor(epoch / settings.every_epochs))
        return 1.0

    return warmed


def _cosine(progress: float) -> float:
    """Return half a cosine: 1 at progress 0, 0 from progress 1 on."""
    return (1 + math.cos(math.pi * min(progress, 1.0))) / 2


def scheduler(optimizer: Optimizer, factor: Callable[[int], float]) -> LambdaLR:
    """Return torch's scheduler that applies `factor` and is saved in checkpoints."""
    return LambdaLR(optimizer, factor)
