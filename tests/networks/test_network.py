"""What every registered network does, and what its options change."""

from typing import Any

import pytest
import torch
from torch import nn

from inceptcli.networks.boxes import scaled_channels
from inceptcli.networks.network import Network
from inceptcli.networks.registry import NETWORKS, build, describe, network_options
from inceptcli.networks.summary import summarize
from inceptcli.networks.torch_modules import ConvModule, ResidualModule

RESIDUAL_NETWORKS = [name for name, layout in NETWORKS.items() if layout.residual_scales]


@pytest.fixture(scope="module", params=NETWORKS)
def network(request: pytest.FixtureRequest) -> Network:
    torch.manual_seed(0)
    return build(network_options(request.param, num_classes=5))


def on_meta(name: str, **changes: Any) -> Network:
    with torch.device("meta"):
        return build(network_options(name, **changes))


def images(height: int, width: int, count: int = 2) -> torch.Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(0)) * 2 - 1


def residual_modules(network: Network, stage: str) -> list[ResidualModule]:
    return [
        part for part in network.get_submodule(stage).modules() if isinstance(part, ResidualModule)
    ]


def test_smallest_images_become_logits_and_every_parameter_gets_a_gradient(
    network: Network,
) -> None:
    network.train().zero_grad()
    logits = network(images(75, 75))
    logits.square().sum().backward()
    assert logits.shape == (2, 5)
    gradients = {name: tensor.grad for name, tensor in network.named_parameters()}
    assert all(grad is not None and grad.isfinite().all() for grad in gradients.values())
    stem = next(iter(gradients.values()))
    assert stem is not None
    assert stem.abs().max() > 0


def test_images_need_not_be_square(network: Network) -> None:
    network.eval()
    with torch.no_grad():
        assert network(images(75, 107, count=1)).shape == (1, 5)
        assert network.embed(images(107, 75, count=1)).shape == (1, network.num_features)


@pytest.mark.parametrize(("height", "width"), [(74, 75), (75, 74)])
def test_a_side_under_75_pixels_is_refused(network: Network, height: int, width: int) -> None:
    with pytest.raises(ValueError, match=f"at least 75x75 pixels, got {height}x{width}"):
        network(images(height, width))


def test_the_last_stage_is_pooled_into_the_embedding(network: Network) -> None:
    network.eval()
    with torch.no_grad():
        features = network.forward_features(images(139, 139))
        pooled = features.mean(dim=(2, 3))
        embedded = network.embed(images(139, 139))
        logits = network(images(139, 139))
    assert features.shape[2:] == (3, 3)
    if network.options.name == "irv1-facenet":
        # The classifier reads the embedding before its length becomes 1.
        assert network.embedding is not None
        pooled = network.embedding(pooled)
        torch.testing.assert_close(embedded.norm(dim=1), torch.ones(2))
        torch.testing.assert_close(embedded, pooled / pooled.norm(dim=1, keepdim=True))
    else:
        torch.testing.assert_close(embedded, pooled)
    torch.testing.assert_close(logits, network.classifier(pooled))


def test_figures_name_the_stages_in_order(network: Network) -> None:
    stages = [name for name, _ in network.named_children() if name in network.figures]
    assert stages == list(network.figures)
    assert network.figures == {
        stage.name: stage.figure for stage in describe(network.options).stages
    }
    assert all(network.figures.values())


@pytest.mark.parametrize("name", NETWORKS)
def test_batch_norm_epsilon_and_momentum_reach_every_batch_norm(name: str) -> None:
    network = on_meta(name, batch_norm_eps=0.5, batch_norm_momentum=0.25)
    norms = [
        part for part in network.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)
    ]
    assert len(norms) > 50
    assert {(norm.eps, norm.momentum) for norm in norms} == {(0.5, 0.25)}
    default = on_meta(name)
    norms = [
        part for part in default.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)
    ]
    assert {(norm.eps, norm.momentum) for norm in norms} == {(0.001, 0.1)}


@pytest.mark.parametrize("name", NETWORKS)
def test_classes_channels_and_dropout_are_options(name: str) -> None:
    network = on_meta(name, num_classes=7, in_channels=1, dropout=0.75)
    assert network.classifier.out_features == 7
    assert next(network.parameters()).shape[1] == 1
    assert network.dropout.p == 0.75
    assert network(torch.empty(2, 1, 75, 75, device="meta")).shape == (2, 7)


@pytest.mark.parametrize("name", ["irv1", "irv1-facenet"])
def test_dropout_acts_on_the_pooled_features_in_training_only(name: str) -> None:
    network = build(network_options(name, num_classes=3, repeats=(1, 1, 1), dropout=1.0)).eval()
    with torch.no_grad():
        network.classifier.bias.fill_(2.0)
        assert not torch.equal(network(images(75, 75)), torch.full((2, 3), 2.0))
        network.dropout.train()
        torch.testing.assert_close(network(images(75, 75)), torch.full((2, 3), 2.0))


@pytest.mark.parametrize("name", [name for name in NETWORKS if name != "iv3"])
def test_repeats_count_the_modules_of_each_stage(name: str) -> None:
    network = on_meta(name, repeats=(3, 2, 1))
    stages = ("inception_a", "inception_b", "inception_c")
    counts = [len(list(network.get_submodule(stage).children())) for stage in stages]
    assert counts == [3, 2, 1]


@pytest.mark.parametrize(
    ("channels", "width", "scaled"),
    [(32, 0.15, 5), (96, 0.15, 14), (10, 0.25, 3), (30, 0.25, 8), (32, 0.01, 1), (1536, 1.0, 1536)],
)
def test_channels_are_rounded_half_up_to_at_least_one(
    channels: int, width: float, scaled: int
) -> None:
    assert scaled_channels(channels, width) == scaled


@pytest.mark.parametrize("name", NETWORKS)
def test_width_is_a_factor_on_the_channels_of_every_convolution(name: str) -> None:
    network, half = on_meta(name), on_meta(name, width=0.5)
    for key, part in half.named_modules():
        if isinstance(part, ConvModule):
            assert 2 * part.conv.out_channels == network.get_submodule(f"{key}.conv").out_channels
        if isinstance(part, ResidualModule):
            linear = network.get_submodule(f"{key}.linear")
            assert 2 * part.linear.out_channels == linear.out_channels
    assert next(half.parameters()).shape[1] == 3
    assert 2 * half.num_features == network.num_features
    assert half.classifier.out_features == 1000


@pytest.mark.parametrize("name", NETWORKS)
def test_multiply_adds_grow_about_as_the_square_of_the_width(name: str) -> None:
    whole = summarize(network_options(name), (299, 299)).multiply_adds
    for width in (0.25, 0.5, 2.0):
        found = summarize(network_options(name, width=width), (299, 299)).multiply_adds
        assert found == pytest.approx(width**2 * whole, rel=0.02)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_narrowest_network_has_one_channel_in_every_convolution(name: str) -> None:
    network = build(network_options(name, num_classes=3, width=1e-300)).eval()
    units = [part.conv for part in network.modules() if isinstance(part, ConvModule)]
    assert {unit.out_channels for unit in units} == {1}
    assert network(images(75, 75)).shape == (2, 3)


@pytest.mark.parametrize("name", RESIDUAL_NETWORKS)
def test_residual_scales_belong_to_the_a_b_and_c_modules(name: str) -> None:
    network = on_meta(name, residual_scales=(0.3, 0.2, 0.1))
    c_modules = residual_modules(network, "inception_c")
    if name in {"irv2-tf", "irv1-facenet"}:
        last = c_modules.pop()
        assert (last.scale, last.activation) == (1.0, False)
    assert {module.scale for module in residual_modules(network, "inception_a")} == {0.3}
    assert {module.scale for module in residual_modules(network, "inception_b")} == {0.2}
    assert {module.scale for module in c_modules} == {0.1}
    assert all(module.activation for module in c_modules)


@pytest.mark.parametrize("name", RESIDUAL_NETWORKS)
def test_without_shortcut_no_module_has_one(name: str) -> None:
    for shortcut in (True, False):
        network = on_meta(name, shortcut=shortcut)
        modules = [part for part in network.modules() if isinstance(part, ResidualModule)]
        assert len(modules) == sum(network.options.repeats or ())
        assert {module.shortcut for module in modules} == {shortcut}


@pytest.mark.parametrize("name", RESIDUAL_NETWORKS)
def test_no_batch_norm_is_on_a_sum(name: str) -> None:
    network = on_meta(name)
    units = [part for part in network.modules() if isinstance(part, ConvModule)]
    norms = [part for part in network.modules() if isinstance(part, nn.BatchNorm2d)]
    assert len(norms) == len(units)
    assert all(
        module.linear.bias is not None for module in residual_modules(network, "inception_a")
    )


@pytest.mark.parametrize("name", RESIDUAL_NETWORKS)
def test_batch_norm_is_on_the_last_sum_or_on_all(name: str) -> None:
    sums = sum(network_options(name).repeats or ())
    for on_sums, expected in (("last", [False] * (sums - 1) + [True]), ("all", [True] * sums)):
        network = on_meta(name, batch_norm_on_sums=on_sums)
        modules = [part for part in network.modules() if isinstance(part, ResidualModule)]
        assert [module.sum_batch_norm is not None for module in modules] == expected
    assert all(
        module.sum_batch_norm.num_features == module.linear.out_channels
        for module in modules
        if module.sum_batch_norm is not None
    )
    assert network(torch.empty(2, 3, 75, 75, device="meta")).shape == (2, 1000)


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_what_is_loaded_next_is_not_initialized(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def draw(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr("torch.nn.init.trunc_normal_", draw)
    with torch.device("meta"):
        network = build(network_options(name))
    assert {parameter.device.type for parameter in network.parameters()} == {"meta"}
