"""The authors' distortion: its geometry, and its colors against Python's own HSV."""

from __future__ import annotations

import colorsys
from typing import Any

import pytest
import torch
from torch import Tensor

from inceptcli.data.pixels import distortion
from inceptcli.data.pixels.distortion import (
    COLOR_ORDERS,
    Distortion,
    random_window,
    scale_contrast,
    scale_saturation,
    turn_hue,
)
from inceptcli.data.pixels.tensorflow_resizing import resized
from inceptcli.recipe.file import find_recipe, read_with_bases
from inceptcli.recipe.schema import check

PIXELS = torch.rand(3, 8, 9, generator=torch.Generator().manual_seed(1))


def by_hsv(pixels: Tensor, turn: float = 0.0, factor: float = 1.0) -> Tensor:
    changed = []
    for rgb in pixels.flatten(1).T.tolist():
        hue, saturation, value = colorsys.rgb_to_hsv(*rgb)
        changed.append(colorsys.hsv_to_rgb((hue + turn) % 1, min(1, saturation * factor), value))
    return torch.tensor(changed).T.reshape(pixels.shape)


@pytest.mark.parametrize("turn", [-0.2, -0.05, 0.0, 0.1, 0.2, 0.5])
def test_hue_turns_as_in_hsv(turn: float) -> None:
    torch.testing.assert_close(turn_hue(PIXELS, turn), by_hsv(PIXELS, turn=turn))


@pytest.mark.parametrize("factor", [0.0, 0.5, 1.0, 1.5])
def test_saturation_is_scaled_as_in_hsv(factor: float) -> None:
    torch.testing.assert_close(scale_saturation(PIXELS, factor), by_hsv(PIXELS, factor=factor))


def test_gray_stays_gray() -> None:
    gray = torch.linspace(-0.1, 1.1, 12).expand(3, 1, 12)
    torch.testing.assert_close(turn_hue(gray, 0.2), gray)
    torch.testing.assert_close(scale_saturation(gray, 1.5), gray)


def test_contrast_keeps_the_mean_of_each_channel() -> None:
    changed = scale_contrast(PIXELS, 0.5)
    torch.testing.assert_close(changed.mean(dim=(1, 2)), PIXELS.mean(dim=(1, 2)))
    torch.testing.assert_close(changed.std(dim=(1, 2)), PIXELS.std(dim=(1, 2)) / 2)


@pytest.mark.parametrize(("height", "width"), [(300, 500), (500, 300), (64, 64), (40, 400)])
def test_crops_keep_area_and_aspect_in_their_ranges(height: int, width: int) -> None:
    torch.manual_seed(0)
    shares, aspects = [], []
    for _ in range(500):
        top, left, box_height, box_width = random_window(height, width, (0.05, 1.0), (0.75, 4 / 3))
        assert 0 <= top <= height - box_height
        assert 0 <= left <= width - box_width
        shares.append(box_height * box_width / (height * width))
        aspects.append(box_width / box_height)
    rounding = 1.5 / min(height, width) ** 0.5
    assert min(shares) >= 0.05
    assert min(shares) < 0.07
    assert max(shares) <= 1
    assert 0.75 - rounding < min(aspects) < 0.8
    assert 1.25 < max(aspects) < 4 / 3 + rounding


@pytest.mark.parametrize("name", ["iv4", "irv1", "irv2"])
def test_crops_of_the_papers_recipes_are_those_of_the_authors(name: str) -> None:
    # TensorFlow's sample_distorted_bounding_box with area_range (0.05, 1), min_object_covered 0.1
    # and one box around the whole image: none under 0.1 of it, 0.39 in the mean.
    chosen = check(read_with_bases(find_recipe(f"paper/{name}"))[0], name).augmentation
    torch.manual_seed(0)
    boxes = [random_window(375, 500, chosen.crop_area, chosen.crop_aspect) for _ in range(4000)]
    shares = torch.tensor([height * width / (375 * 500) for _, _, height, width in boxes])
    assert shares.min() > 0.099
    assert 0.38 < shares.mean() < 0.40


def test_aspect_is_width_by_height() -> None:
    torch.manual_seed(0)
    for _ in range(50):
        _, _, height, width = random_window(300, 300, (0.05, 0.3), (1.5, 2.0))
        assert 1.45 < width / height < 2.05


def test_the_whole_image_is_taken_when_no_crop_is_possible() -> None:
    assert random_window(10, 100, (0.9, 1.0), (0.75, 1.33)) == (0, 0, 10, 100)


@pytest.mark.parametrize("fast_mode", [False, True])
def test_every_order_and_every_resize_method_is_drawn(
    fast_mode: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    methods: set[str] = set()
    orders: list[str] = []
    original = resized

    def note(image: Any, size: tuple[int, int], method: Any) -> Any:
        methods.add(method)
        return original(image, size, method)

    class Noting(Distortion):
        def _changed(self, pixels: Tensor, color: str) -> Tensor:
            orders.append(color)
            return super()._changed(pixels, color)

    monkeypatch.setattr(distortion, "resized", note)
    distort = Noting((20, 24), (0.5, 1.0), (0.75, 1.33), 0.5, 0.125, 0.5, 0.5, 0.2, fast_mode)
    image = (PIXELS * 255).to(torch.uint8)
    torch.manual_seed(0)
    for _ in range(60):
        assert distort(image).shape == (3, 20, 24)
    colors = 2 if fast_mode else 4
    drawn = [tuple(orders[start : start + colors]) for start in range(0, len(orders), colors)]
    if fast_mode:
        assert methods == {"bilinear"}
        assert set(drawn) == {("brightness", "saturation"), ("saturation", "brightness")}
        assert 5 < drawn.count(("brightness", "saturation")) < 25  # a quarter of 60
    else:
        assert methods == {"bilinear", "nearest", "bicubic", "area"}
        assert set(drawn) == set(COLOR_ORDERS)


def test_brightness_is_added_and_pixels_stay_in_range() -> None:
    torch.manual_seed(0)
    brighter = Distortion((8, 9), (1.0, 1.0), (9 / 8, 9 / 8), 0.0, 0.5, 0.0, 0.0, 0.0)
    image = torch.full((3, 8, 9), 128, dtype=torch.uint8)
    values = [torch.unique(brighter(image)).tolist() for _ in range(50)]
    assert all(len(found) == 1 for found in values)
    assert min(values)[0] < 30
    assert max(values)[0] > 225


def test_what_is_too_bright_is_white() -> None:
    torch.manual_seed(0)
    brighter = Distortion((8, 9), (1.0, 1.0), (9 / 8, 9 / 8), 0.0, 0.5, 0.0, 0.0, 0.0)
    image = torch.full((3, 8, 9), 200, dtype=torch.uint8)
    values = [int(brighter(image).max()) for _ in range(50)]
    assert min(values) >= 200 - 128
    assert values.count(255) > 5


def test_mirror_images_are_as_frequent_as_asked() -> None:
    torch.manual_seed(0)
    distort = Distortion((8, 9), (1.0, 1.0), (9 / 8, 9 / 8), 0.5, 0.0, 0.0, 0.0, 0.0)
    image = torch.zeros(3, 8, 9, dtype=torch.uint8)
    image[:, :, 0] = 255
    mirrored = sum(bool(distort(image)[0, 0, -1] > 200) for _ in range(200))
    assert 70 < mirrored < 130
