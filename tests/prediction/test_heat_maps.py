from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from inceptcli.data.pixels.preprocessing import Preprocessing
from inceptcli.networks.registry import NETWORKS, build, network_options
from inceptcli.prediction.engines.torch_engine import TorchEngine
from inceptcli.prediction.heat_maps import HeatMaps, locate
from inceptcli.weights.metadata import ClassName, WeightsMetadata
from tests.prediction.two_halves import DISCS, STRIPES, halves, save_trained

SIZE = 75


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> TorchEngine:
    file = tmp_path_factory.mktemp("halves") / "model.safetensors"
    save_trained(file, SIZE, steps=100)
    return TorchEngine.load(file, "cpu")


def share_of_half(heat: NDArray[np.float32], *, left: bool) -> float:
    """The share of the mass on one half; none of it where there is no mass."""
    middle = heat.shape[1] // 2
    part = heat[:, :middle] if left else heat[:, middle:]
    return float(part.sum() / heat.sum()) if heat.sum() else 0.0


@pytest.mark.train
def test_on_two_halves_the_map_lies_on_the_half_of_the_class(trained: TorchEngine) -> None:
    random, maps = np.random.default_rng(1), HeatMaps(trained)
    of_answer: list[float] = []
    of_other: list[float] = []
    for number in range(50):
        first = (STRIPES, DISCS)[number % 2]
        view = halves(random, first, 1 - first, SIZE)
        answer = int(trained.logits(view[None]).argmax())
        for index, shares in ((answer, of_answer), (1 - answer, of_other)):
            shares.append(share_of_half(maps.heat(view, index), left=index == first))
    assert min(of_answer) > 0.8
    assert min(of_other) > 0.8


@pytest.mark.parametrize(
    ("name", "side", "stage", "cells"),
    [
        ("iv4", 75, "inception_a", 7),
        ("irv1", 75, "inception_a", 7),
        ("irv2", 75, "inception_a", 7),
        ("iv4-tf", 75, "inception_a", 7),
        ("irv2-tf", 75, "inception_a", 7),
        ("irv1-facenet", 160, "inception_b", 8),
        ("iv3", 75, "inception_a", 7),
        ("irv2-tf", 299, "projection", 8),
    ],
)
def test_every_network_has_a_map_of_the_last_grid_that_tells_places(
    name: str, side: int, stage: str, cells: int
) -> None:
    repeats = None if NETWORKS[name].repeats is None else (1, 1, 1)
    options = network_options(name, num_classes=3, repeats=repeats)
    torch.manual_seed(0)
    classes = tuple(ClassName(letter, letter) for letter in "abc")
    metadata = WeightsMetadata(options, classes, Preprocessing((side, side)))
    maps = HeatMaps(TorchEngine(build(options), metadata))
    view = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    seen = []
    hook = maps.network.get_submodule(maps.stage).register_forward_hook(
        lambda _, __, output: seen.append(min(output.shape[-2:]))
    )
    heat = maps.heat(view, 1)
    hook.remove()
    assert (maps.stage, set(seen)) == (stage, {cells})
    assert heat.shape == (side, side)
    assert heat.min() >= 0
    assert not np.array_equal(heat, maps.heat(view, 2))


def test_a_map_is_grad_cam_of_the_logit(engine: TorchEngine) -> None:
    maps = HeatMaps(engine)
    view = np.random.default_rng(0).integers(0, 256, (77, 77, 3), np.uint8)
    kept: list[torch.Tensor] = []

    def keep(module: object, inputs: object, output: torch.Tensor) -> torch.Tensor:
        kept.append(output.detach().requires_grad_())
        return kept[0]

    hook = maps.network.get_submodule(maps.stage).register_forward_hook(keep)
    logits = maps.network(maps._images(view))
    hook.remove()
    for index in range(3):
        (gradient,) = torch.autograd.grad(logits[0, index], kept[0], retain_graph=True)
        grid = (gradient.mean(dim=(2, 3), keepdim=True) * kept[0]).sum(dim=1).relu()
        heat = maps.heat(view, index)
        middles = heat[5::11, 5::11]  # of 7 cells over 77 pixels
        assert middles == pytest.approx(grid[0].detach().numpy(), rel=1e-4, abs=1e-6)
        assert heat.max() == pytest.approx(grid.max().item(), rel=1e-4)


def test_a_place_is_in_pixels_of_the_picture() -> None:
    heat = np.zeros((10, 20), np.float32)
    heat[2:4, 5:9] = 1
    # The network saw 40x40 pixels of the picture from (100, 50) on.
    place = locate(heat, (100, 50, 140, 90))
    assert place is not None
    assert place.center == pytest.approx((100 + 7 * 2, 50 + 3 * 4))
    # The eight pixels are equally hot, so that half of them means all of them.
    assert place.box == (110, 58, 118, 66)


def test_where_nothing_speaks_for_a_class_there_is_no_place() -> None:
    assert locate(np.zeros((4, 4), np.float32), (0, 0, 8, 8)) is None


def test_half_of_the_picture_that_was_seen_is_all_that_the_map_covers() -> None:
    preprocessing = Preprocessing((76, 76), crop_fraction=0.5)
    place = locate(np.ones((76, 76), np.float32), preprocessing.source_box(200, 400))
    assert place is not None
    assert place.center == pytest.approx((200, 100))
    assert place.box == (150, 50, 250, 150)
