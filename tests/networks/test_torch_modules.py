"""What the modules of a description compute; test_figures.py holds what they are."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from inceptcli.networks.boxes import AveragePool, Box, Conv, Fork, MaxPool, Residual
from inceptcli.networks.registry import network_options
from inceptcli.networks.torch_modules import (
    ConvModule,
    ForkModule,
    ResidualModule,
    initialize,
    module_of,
    regions,
)


def drawn_features(channels: int) -> torch.Tensor:
    return torch.randn(2, channels, 5, 6, generator=torch.Generator().manual_seed(0))


def built(box: Box | list[Box], **options: Any) -> nn.Module:
    torch.manual_seed(1)
    return module_of(box, 4, network_options("irv1", **options)).eval()


def residual(activation: bool = True, batch_norm: bool = False, **options: Any) -> ResidualModule:
    paths = {"direct": [Conv("1x1", 3)], "deep": [Conv("1x7", 2)]}
    module = built(Residual(0.25, activation, batch_norm, **paths), **options)
    assert isinstance(module, ResidualModule)
    return module


def linear_of_paths(module: ResidualModule, features: torch.Tensor) -> torch.Tensor:
    paths = [path(features) for path in module.paths.values()]
    output: torch.Tensor = module.linear(torch.cat(paths, dim=1))
    return output


def test_a_residual_adds_its_scaled_paths_to_the_input_and_rectifies() -> None:
    module, features = residual(), drawn_features(4)
    expected = functional.relu(features + 0.25 * linear_of_paths(module, features))
    torch.testing.assert_close(module(features), expected)


def test_a_residual_without_activation_leaves_the_sum_negative() -> None:
    module, features = residual(activation=False), drawn_features(4)
    expected = features + 0.25 * linear_of_paths(module, features)
    assert expected.min() < 0
    torch.testing.assert_close(module(features), expected)


def test_a_residual_without_shortcut_is_its_paths_unscaled() -> None:
    module, features = residual(shortcut=False), drawn_features(4)
    expected = functional.relu(linear_of_paths(module, features))
    torch.testing.assert_close(module(features), expected)


def test_a_residual_leaves_its_input_untouched() -> None:
    features = drawn_features(4)
    kept = features.clone()
    residual()(features)
    assert torch.equal(features, kept)


def test_batch_norm_on_a_sum_normalizes_it_before_the_relu() -> None:
    module = residual(batch_norm=True).train()
    outputs = module(torch.randn(64, 4, 5, 5) * 30 + 100)
    positive = (outputs > 0).float().mean(dim=(0, 2, 3))
    assert ((positive > 0.3) & (positive < 0.7)).all()
    assert outputs.max() < 10


def test_a_convolution_is_followed_by_batch_norm_and_a_relu() -> None:
    module, features = built(Conv("3x3", 3)), drawn_features(4)
    assert isinstance(module, ConvModule)
    module.batch_norm.running_mean.fill_(0.5)  # type: ignore[operator]
    expected = functional.relu(module.batch_norm(module.conv(features)))
    assert expected.min() == 0 < expected.max()
    assert module.conv.bias is None
    torch.testing.assert_close(module(features), expected)


def test_an_average_pool_counts_the_padding_on_request_only() -> None:
    ones = torch.ones(1, 4, 4, 4)
    torch.testing.assert_close(built(AveragePool())(ones), ones)
    counting = module_of(AveragePool(), 4, network_options("iv3", count_padding=True))(ones)
    torch.testing.assert_close(counting[0, 0, 0], torch.tensor([4 / 9, 6 / 9, 6 / 9, 4 / 9]))


def test_a_fork_concatenates_its_paths_in_the_order_given() -> None:
    module = built(Fork(second=[Conv("1x1", 2)], first=[Conv("3x3", 3)]))
    assert isinstance(module, ForkModule)
    features = drawn_features(4)
    second, first = (path(features) for path in module.children())
    assert list(module.paths) == ["second", "first"]
    assert (second.shape[1], first.shape[1]) == (2, 3)
    torch.testing.assert_close(module(features), torch.cat([second, first], dim=1))


def test_a_box_that_is_described_once_and_repeated_has_weights_of_its_own() -> None:
    first, second = built([Conv("1x1", 4)] * 2).children()
    assert isinstance(first, ConvModule)
    assert isinstance(second, ConvModule)
    assert first is not second
    assert not torch.equal(first.conv.weight, second.conv.weight)


def test_regions_are_the_modules_of_a_repeat_or_else_the_stage() -> None:
    module = Fork(only=[Conv("1x1", 4)])
    repeated, mixed, alone = built([module, module]), built([module, MaxPool()]), built(module)
    assert regions(repeated) == list(repeated.children())
    assert regions(mixed) == [mixed]
    assert regions(alone) == [alone]


def test_initial_variance_is_two_over_fan_in_before_a_relu_and_one_over_it_elsewhere() -> None:
    torch.manual_seed(0)
    before_relu, linear = nn.Conv2d(64, 128, 3, bias=False), nn.Linear(576, 128)
    initialize(nn.ModuleList([before_relu, linear]))
    assert before_relu.weight.var().item() == pytest.approx(2 / 576, rel=0.02)
    assert linear.weight.var().item() == pytest.approx(1 / 576, rel=0.02)
    assert before_relu.weight.abs().max() < 2.01 * (2 / 576) ** 0.5 / 0.8796
    assert not linear.bias.any()


@pytest.mark.parametrize("method", ["he-xavier", "xavier"])
def test_xavier_is_torchs_uniform_for_the_classifier_or_all_layers(method: Any) -> None:
    torch.manual_seed(0)
    convolution, linear = nn.Conv2d(64, 128, 3, bias=False), nn.Linear(576, 128)
    nn.init.ones_(linear.bias)
    initialize(nn.ModuleList([convolution, linear]), method)
    for layer, fans in ((linear, 576 + 128), (convolution, 576 + 1152)):
        largest, deviation = layer.weight.abs().max(), layer.weight.std()
        is_xavier = method == "xavier" or layer is linear
        expected = (2 / fans) ** 0.5 if is_xavier else (2 / 576) ** 0.5
        assert deviation.item() == pytest.approx(expected, rel=0.02)
        assert (largest < 1.7321 * deviation * 1.02).item() == is_xavier
    assert not linear.bias.any()
