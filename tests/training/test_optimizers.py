from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from timm.optim.rmsprop_tf import RMSpropTF as TimmRMSpropTF
from torch import nn

from inceptcli.networks.registry import build, network_options
from inceptcli.recipe import methods
from inceptcli.training.optimizers import RMSPropTF, optimizer, schedule


def quadratic(steps: int, **options: float) -> dict[str, np.ndarray]:
    """The same random quadratic descended by ours, timm's, and TensorFlow's formula in numpy."""
    random = np.random.default_rng(0)
    factor = random.normal(size=(8, 8))
    matrix = factor @ factor.T / 8
    start = random.normal(size=8)
    ours, timm = (nn.Parameter(torch.tensor(start)) for _ in range(2))
    tensor = torch.tensor(matrix)
    optimizers = [
        (ours, RMSPropTF([ours], lr=0.045)),
        (timm, TimmRMSpropTF([timm], lr=0.045, alpha=0.9, momentum=0.9, eps=1.0)),
    ]
    point, square, velocity = start.copy(), np.ones(8), np.zeros(8)
    for _ in range(steps):
        for parameter, method in optimizers:
            method.zero_grad()
            torch.autograd.backward(parameter @ tensor @ parameter / 2)
            method.step()
        gradient = matrix @ point
        square = 0.9 * square + (1 - 0.9) * gradient**2
        velocity = 0.9 * velocity + 0.045 * gradient / np.sqrt(square + 1.0)
        point = point - velocity
    return {"ours": ours.detach().numpy(), "timm": timm.detach().numpy(), "formula": point}


@pytest.mark.parametrize("steps", [1, 10, 1000])
def test_rmsprop_is_tensorflows(steps: int) -> None:
    found = quadratic(steps)
    np.testing.assert_allclose(found["ours"], found["formula"], atol=1e-6, rtol=0)
    np.testing.assert_allclose(found["ours"], found["timm"], atol=1e-6, rtol=0)


def test_rmsprop_is_not_torchs() -> None:
    theirs = nn.Parameter(torch.ones(1))
    ours = nn.Parameter(torch.ones(1))
    for parameter, method in (
        (theirs, torch.optim.RMSprop([theirs], lr=0.045, alpha=0.9, momentum=0.9, eps=1.0)),
        (ours, RMSPropTF([ours], lr=0.045)),
    ):
        torch.autograd.backward((parameter * 3).sum())
        method.step()
    assert (theirs - ours).abs().item() > 0.005


def test_biases_and_batch_norm_do_not_decay() -> None:
    network = build(network_options("irv1", num_classes=3, repeats=[1, 1, 1]))
    for settings in (
        methods.AdamWSettings(),
        methods.MomentumSGDSettings(name="sgd"),
        methods.RMSPropTFSettings(name="rmsprop_tf"),
        methods.LambSettings(name="lamb"),
    ):
        groups = optimizer(settings, network, network).param_groups
        decays = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
        for name, parameter in network.named_parameters():
            spared = name.endswith("bias") or "batch_norm" in name
            assert decays[id(parameter)] == (0 if spared else settings.weight_decay), name


def test_biases_decay_on_request_but_batch_norm_does_not() -> None:
    network = build(network_options("irv1-facenet", num_classes=3, repeats=[1, 1, 1], width=0.1))
    settings = methods.RMSPropTFSettings(name="rmsprop_tf", weight_decay_on_biases=True)
    groups = optimizer(settings, network, network).param_groups
    decays = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    names = {name for name, value in network.named_parameters() if decays[id(value)]}
    assert names == {name for name, _ in network.named_parameters() if "batch_norm" not in name}
    assert {"classifier.bias", "inception_a.0.linear.bias", "embedding.linear.weight"} <= names


def test_the_papers_rate_by_epoch() -> None:
    factor = schedule(methods.Staircase(name="staircase"), steps_per_epoch=100, epochs=160)
    rates = {epoch: 0.045 * factor(epoch * 100) for epoch in (0, 20, 40, 80, 100, 160)}
    expected = {0: 0.045, 20: 0.02424, 40: 0.01305, 80: 0.00379, 100: 0.00204, 160: 0.00032}
    for epoch, rate in expected.items():
        assert round(rates[epoch], 5) == rate
    assert factor(199) == 1.0
    assert factor(200) == 0.94


def test_one_cycle_is_torchs() -> None:
    parameter = nn.Parameter(torch.zeros(1))
    theirs = torch.optim.SGD([parameter], lr=1.0)
    reference = torch.optim.lr_scheduler.OneCycleLR(
        theirs, 1.0, total_steps=200, pct_start=0.25, cycle_momentum=False
    )
    ours = schedule(methods.OneCycle(), steps_per_epoch=20, epochs=10)
    for step in range(200):
        assert math.isclose(ours(step), theirs.param_groups[0]["lr"], rel_tol=1e-6), step
        theirs.step()
        if step < 199:
            reference.step()


def test_cosine_ends_at_zero_and_warms_up() -> None:
    factor = schedule(methods.Cosine(name="cosine", warmup_epochs=1), steps_per_epoch=10, epochs=5)
    assert [round(factor(step), 3) for step in (0, 4, 9)] == [0.091, 0.455, 0.909]
    assert factor(10) == 1.0
    assert factor(50) == 0.0
    assert math.isclose(factor(30), 0.5)


def test_a_warm_up_may_be_one_low_rate() -> None:
    settings = methods.Constant(name="constant", warmup_epochs=0.5, warmup_factor=0.001)
    factor = schedule(settings, steps_per_epoch=10, epochs=5)
    assert [factor(step) for step in (0, 4, 5, 49)] == [0.001, 0.001, 1.0, 1.0]


def test_constant_stays() -> None:
    factor = schedule(methods.Constant(name="constant"), steps_per_epoch=10, epochs=5)
    assert {factor(step) for step in range(50)} == {1.0}
