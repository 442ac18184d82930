"""Where the crops of an image lie, against boxes worked out by hand, and what is in them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some
from numpy.typing import NDArray
from PIL import Image

from inceptcli.data.pixels.crops import CropPlace, Crops, cut, needed_side, places
from inceptcli.data.pixels.preprocessing import Preprocessing, ResizeRule
from inceptcli.errors import UsageError

NETWORK = Preprocessing((299, 299))

# Of a picture 500 wide and 300 high, for 299 pixels: the resized picture's height and width, then
# of each square its left edge, its side, and where its center crop begins (left, top).
SCALES = [
    ((342, 570), 342, [(0, (22, 22)), (114, (136, 22)), (228, (250, 22))]),
    ((384, 640), 384, [(0, (42, 42)), (128, (170, 42)), (256, (298, 42))]),
    ((427, 711), 427, [(0, (64, 64)), (142, (206, 64)), (284, (348, 64))]),
    ((470, 783), 470, [(0, (86, 86)), (156, (242, 86)), (313, (399, 86))]),
]
LANDSCAPE = [
    CropPlace(whole, (left + x, y, left + x + width, y + width))
    for whole, side, squares in SCALES
    for left, (center, top) in squares
    for x, y, width in (
        (0, 0, 299),
        (side - 299, 0, 299),
        (0, side - 299, 299),
        (side - 299, side - 299, 299),
        (center - left, top, 299),
        (0, 0, side),
    )
]


def turned(place: CropPlace) -> CropPlace:
    """The place in a picture whose rows are its columns."""
    left, top, right, bottom = place.box
    return CropPlace(place.whole[::-1], (top, left, bottom, right))


def noise(height: int, width: int) -> NDArray[np.uint8]:
    """Smooth enough that a crop is known again, different everywhere."""
    levels = np.random.default_rng(0).integers(0, 256, (6, 8, 3)).astype(np.uint8)
    return np.array(Image.fromarray(levels).resize((width, height), Image.Resampling.BICUBIC))


def test_a_landscape_has_the_144_crops_of_the_list() -> None:
    found = places(300, 500, NETWORK, 144)
    assert found == LANDSCAPE
    assert len(found) == 72  # and as many mirrored
    assert len(set(found)) == 72
    assert found[5] == CropPlace((342, 570), (0, 0, 342, 342))
    assert found[-2] == CropPlace((470, 783), (399, 86, 698, 385))


def test_a_portrait_has_them_turned() -> None:
    found = places(500, 300, NETWORK, 144)
    assert sorted(found) == sorted(map(turned, LANDSCAPE))


def test_twelve_are_the_center_square_of_the_smallest_scale() -> None:
    assert places(300, 500, NETWORK, 12) == LANDSCAPE[6:12]


def test_a_square_has_each_of_its_squares_three_times() -> None:
    found = places(400, 400, NETWORK, 144)
    assert len(found) == 72
    assert len(set(found)) == 24


@pytest.mark.parametrize(("size", "sides"), [(224, [256, 288, 320, 352]), (75, [86, 96, 107, 118])])
def test_scales_follow_the_size_of_the_input(size: int, sides: list[int]) -> None:
    found = places(400, 400, Preprocessing((size, size)), 144)
    assert sorted({place.whole for place in found}) == [(side, side) for side in sides]


def test_ten_are_corners_and_center_as_torchvision_cuts_them() -> None:
    whole = (341, 568)
    expected = [(0, 0), (269, 0), (0, 42), (269, 42), (134, 21)]
    boxes = [CropPlace(whole, (x, y, x + 299, y + 299)) for x, y in expected]
    assert places(300, 500, NETWORK, 10) == boxes


@pytest.mark.parametrize("shape", [(300, 500), (500, 300)])
def test_five_of_the_ten_are_torchvisions_pixel_for_pixel(shape: tuple[int, int]) -> None:
    import torch
    from torchvision.transforms import InterpolationMode, v2

    image = noise(*shape)
    resize = v2.Resize(341, InterpolationMode.BICUBIC)
    theirs = v2.FiveCrop(299)(resize(Image.fromarray(image)))
    expected = torch.stack([v2.functional.pil_to_tensor(crop) for crop in theirs])
    assert (cut(image, NETWORK, 10)[:5] == expected.permute(0, 2, 3, 1).numpy()).all()


@pytest.mark.parametrize("crops", [10, 12, 144])
@pytest.mark.parametrize("shape", [(300, 500), (500, 300), (64, 64)])
def test_the_second_half_mirrors_the_first(shape: tuple[int, int], crops: Crops) -> None:
    found = cut(noise(*shape), NETWORK, crops)
    assert found.shape == (crops, 299, 299, 3)
    half = crops // 2
    assert (found[half:] == found[:half, :, ::-1]).all()
    assert not (found[half:] == found[:half]).all(axis=(1, 2, 3)).any()


@pytest.mark.parametrize("crops", [12, 144])
def test_every_crop_has_the_pixels_of_its_place(crops: Crops) -> None:
    image = noise(300, 500)
    expected = []
    for whole, box in places(300, 500, NETWORK, 144 if crops == 144 else 12):
        resized = Image.fromarray(image).resize(whole[::-1], Image.Resampling.BICUBIC)
        part = resized.crop(box)
        if part.size != (299, 299):
            part = part.resize((299, 299), Image.Resampling.BICUBIC)
        expected.append(np.array(part))
    assert (cut(image, NETWORK, crops)[: crops // 2] == np.stack(expected)).all()


@pytest.mark.parametrize("crops", [1, 10, 12, 144])
@pytest.mark.parametrize("resize", ["short-side", "squash"])
def test_crops_of_one_color_are_all_that_color(resize: ResizeRule, crops: Crops) -> None:
    image = np.full((60, 100, 3), (10, 200, 90), np.uint8)
    found = cut(image, Preprocessing((75, 75), resize), crops)
    assert found.shape == (crops, 75, 75, 3)
    assert (found == (10, 200, 90)).all()


@pytest.mark.parametrize("preprocessing", [NETWORK, Preprocessing((96, 128))])
def test_one_crop_is_the_center_of_the_ten(preprocessing: Preprocessing) -> None:
    image = noise(300, 500)
    assert (cut(image, preprocessing, 1)[0] == preprocessing.crop(image)).all()
    assert (cut(image, preprocessing, 10)[4] == preprocessing.crop(image)).all()


def test_the_ten_of_squash_are_cut_from_all_of_the_image() -> None:
    preprocessing = Preprocessing((75, 75), "squash", crop_fraction=0.5)
    found = places(60, 100, preprocessing, 10)
    assert found[0] == CropPlace((150, 150), (0, 0, 75, 75))
    assert found[3] == CropPlace((150, 150), (75, 75, 150, 150))


@pytest.mark.parametrize("crops", [12, 144])
def test_an_input_that_is_not_square_has_neither_12_nor_144(crops: Crops) -> None:
    with pytest.raises(UsageError, match=f"--crops {crops} is defined for a square input only"):
        cut(noise(60, 100), Preprocessing((96, 128)), crops)


@pytest.mark.parametrize("shape", [(40, 900), (900, 40)])
def test_crops_of_a_thin_image_are_the_same_without_the_whole(
    shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = cut(noise(*shape), Preprocessing((75, 75)), 144)
    monkeypatch.setattr("inceptcli.data.pixels.crops.MAXIMUM_WHOLE", 10**9)
    whole = cut(noise(*shape), Preprocessing((75, 75)), 144)
    assert (alone != whole).any(), "both were made in the same way"
    assert np.abs(alone.astype(int) - whole).max() <= 2


@pytest.mark.parametrize("shape", [(1, 1_000_000), (1_000_000, 1), (1, 1)])
def test_the_thinnest_image_does_not_fill_the_memory(shape: tuple[int, int]) -> None:
    for resize in ("short-side", "squash"):
        image = np.full((*shape, 3), 7, np.uint8)
        assert (cut(image, Preprocessing((75, 75), resize), 144) == 7).all()
        assert (cut(image, Preprocessing((75, 75), resize), 10) == 7).all()


WIDE, SQUASH = Preprocessing((150, 299)), Preprocessing((299, 299), "squash")


@pytest.mark.parametrize(
    ("network", "crops", "side"),
    [
        (NETWORK, 1, 341),
        (NETWORK, 10, 341),
        (NETWORK, 12, 342),
        (NETWORK, 144, 470),
        (SQUASH, 1, 341),
        (SQUASH, 144, 470),
        (WIDE, 1, 341),
        (Preprocessing((224, 224), crop_fraction=1.0), 1, 224),
        (Preprocessing((224, 224), crop_fraction=1.0), 144, 352),
        (Preprocessing((75, 75), crop_fraction=0.5), 1, 150),
        (Preprocessing((75, 75), crop_fraction=0.5), 12, 86),
    ],
)
def test_the_side_that_the_crops_need(network: Preprocessing, crops: Crops, side: int) -> None:
    assert needed_side(network, crops) == side


@given(
    some.tuples(some.integers(1, 400), some.integers(1, 400)),
    some.sampled_from(["short-side", "squash"]),
    some.floats(0.1, 1.0),
    some.sampled_from([1, 10, 12, 144]),
    some.tuples(some.integers(0, 3), some.integers(0, 2000)),
    some.booleans(),
)
def test_no_image_with_the_needed_side_is_enlarged(
    size: tuple[int, int],
    rule: ResizeRule,
    fraction: float,
    crops: Crops,
    beyond: tuple[int, int],
    portrait: bool,
) -> None:
    size = size if crops in (1, 10) else (size[0], size[0])
    network = Preprocessing(size, rule, fraction)
    side = needed_side(network, crops)
    shorter, longer = side + beyond[0], side + sum(beyond)
    height, width = (longer, shorter) if portrait else (shorter, longer)
    if crops == 1:
        left, top, right, bottom = network.source_box(height, width)
        assert right - left >= size[1] * (1 - 1e-9)
        assert bottom - top >= size[0] * (1 - 1e-9)
        return
    for whole, _ in places(height, width, network, crops):
        assert whole[0] <= height
        assert whole[1] <= width


def test_the_needed_side_of_a_square_that_is_not_one_is_wrong_use() -> None:
    with pytest.raises(UsageError, match="square input only"):
        needed_side(WIDE, 144)
