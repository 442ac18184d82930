import torch
from torch.nn import functional

from inceptcli.networks.blocks import ConvUnit, Residual, average_pool, conv, fork, repeat


def drawn_features(channels: int) -> torch.Tensor:
    return torch.randn(2, channels, 5, 6, generator=torch.Generator().manual_seed(0))


def residual(scale: float = 0.25, shortcut: bool = True, activation: bool = True) -> Residual:
    torch.manual_seed(1)
    return Residual(
        4, scale, shortcut, activation, direct=[conv("1x1", 3)], deep=[conv("1x7", 2)]
    ).eval()


def linear_of_paths(module: Residual, features: torch.Tensor) -> torch.Tensor:
    paths = [path(features) for path in module.paths.values()]
    output: torch.Tensor = module.linear(torch.cat(paths, dim=1))
    return output


def test_residual_adds_its_scaled_paths_to_the_input_and_rectifies() -> None:
    module, features = residual(), drawn_features(4)
    expected = functional.relu(features + 0.25 * linear_of_paths(module, features))
    torch.testing.assert_close(module(features), expected)


def test_residual_without_activation_leaves_the_sum_negative() -> None:
    module, features = residual(activation=False), drawn_features(4)
    expected = features + 0.25 * linear_of_paths(module, features)
    assert expected.min() < 0
    torch.testing.assert_close(module(features), expected)


def test_residual_without_shortcut_is_its_paths_unscaled() -> None:
    module, features = residual(shortcut=False), drawn_features(4)
    expected = functional.relu(linear_of_paths(module, features))
    torch.testing.assert_close(module(features), expected)


def test_residual_leaves_its_input_untouched() -> None:
    features = drawn_features(4)
    kept = features.clone()
    residual()(features)
    assert torch.equal(features, kept)


def test_convolution_unit_is_convolution_then_batch_norm_then_relu() -> None:
    unit = conv("3x3", 3)(4).eval()
    assert isinstance(unit, ConvUnit)
    unit.batch_norm.running_mean.fill_(0.5)  # type: ignore[union-attr]
    features = drawn_features(4)
    expected = functional.relu(unit.batch_norm(unit.conv(features)))
    assert unit.conv.bias is None
    torch.testing.assert_close(unit(features), expected)


def test_average_pool_does_not_count_the_padding() -> None:
    ones = torch.ones(1, 2, 4, 4)
    torch.testing.assert_close(average_pool()(2)(ones), ones)


def test_fork_concatenates_its_paths_in_the_order_given() -> None:
    module = fork(second=[conv("1x1", 2)], first=[conv("3x3", 3)])(4).eval()
    features = drawn_features(4)
    second, first = (path(features) for path in module.children())
    assert (second.shape[1], first.shape[1], module.out_channels) == (2, 3, 5)
    torch.testing.assert_close(module(features), torch.cat([second, first], dim=1))


def test_repeat_builds_modules_of_their_own_and_replaces_the_last() -> None:
    module = repeat(3, conv("1x1", 4), last=conv("3x3", 5))(4)
    units = list(module.children())
    assert [unit.conv.kernel_size for unit in units] == [(1, 1), (1, 1), (3, 3)]  # type: ignore[union-attr]
    assert units[0] is not units[1]
    assert module.out_channels == 5
