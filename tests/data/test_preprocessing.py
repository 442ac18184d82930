import json
import tracemalloc
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from timm.data.transforms_factory import create_transform

from inceptcli.data.pixels.preprocessing import Preprocessing
from tests.photographs import photographs

SQUARE = Preprocessing((299, 299))


def noise(height: int, width: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def largest_difference(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> int:
    assert one.shape == other.shape
    return int(np.abs(one.astype(int) - other.astype(int)).max())


@pytest.mark.parametrize(
    ("fraction", "size", "box"),
    [
        # 299 / 0.875 -> 341 pixels: 21 are cut off before the crop, the other side keeps the ratio.
        (0.875, (341, 341), (21, 21, 320, 320)),
        (0.875, (341, 500), (100, 21, 399, 320)),
        (0.875, (500, 341), (21, 100, 320, 399)),
        (0.875, (682, 1000), (200, 42, 798, 640)),
        (0.8975, (333, 333), (17, 17, 316, 316)),
        (1.0, (299, 400), (50, 0, 349, 299)),
    ],
)
def test_short_side_cuts_the_center_of_the_scaled_image(
    fraction: float, size: tuple[int, int], box: tuple[float, ...]
) -> None:
    found = Preprocessing((299, 299), crop_fraction=fraction).source_box(*size)
    assert found == pytest.approx(box)


def test_a_wide_input_is_covered_and_the_center_cut() -> None:
    # 96x128 / 0.875 -> 109x146; 129x140 covers it as 135x146.
    box = Preprocessing((96, 128)).source_box(129, 140)
    assert box == pytest.approx((9 * 140 / 146, 20 * 129 / 135, 137 * 140 / 146, 116 * 129 / 135))


def test_squash_cuts_the_same_part_of_each_side() -> None:
    squash = Preprocessing((299, 299), resize="squash")
    assert squash.source_box(400, 800) == (50, 25, 750, 375)
    assert squash.source_box(1, 1) == (0, 0, 1, 1)


def test_an_image_of_the_scaled_size_is_only_cropped() -> None:
    image = noise(341, 341)
    np.testing.assert_array_equal(SQUARE.crop(image), image[21:320, 21:320])


def test_squash_ignores_the_aspect() -> None:
    image = np.zeros((80, 160, 3), np.uint8)
    image[:, 80:] = 255
    squash = Preprocessing((70, 70), resize="squash", interpolation="bilinear")
    cropped = squash.crop(image)
    assert cropped[:, :34].max() == 0
    assert cropped[:, 36:].min() == 255


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(100, 100), (37, 200), (500, 90), (640, 333), (3, 5), (1, 1)])
@pytest.mark.parametrize("target", [(75, 75), (80, 120)])
def test_cropping_equals_resizing_the_whole_and_cutting(
    size: tuple[int, int], interpolation: Any, target: tuple[int, int]
) -> None:
    image = noise(*size) // 2 + 64  # nothing overshoots, so the order of Pillow's passes is all one
    height, width = target
    scaled = [side / 0.875 // 1 for side in target]
    if height == width:
        whole = [int(scaled[0] * side / min(size)) for side in size]
    else:
        ratio = min(side / goal for side, goal in zip(size, scaled, strict=True))
        whole = [round(side / ratio) for side in size]
    resample = Image.Resampling[interpolation.upper()]
    resized = np.asarray(Image.fromarray(image).resize((whole[1], whole[0]), resample))
    top, left = round((whole[0] - height) / 2), round((whole[1] - width) / 2)
    expected = resized[top : top + height, left : left + width]
    cropped = Preprocessing(target, interpolation=interpolation).crop(image)
    assert largest_difference(cropped, expected) <= 1


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_short_side_without_antialiasing_cuts_the_center_of_the_whole(interpolation: Any) -> None:
    aliased = Preprocessing((75, 90), interpolation=interpolation, antialias=False)
    for size in ((100, 140), (333, 90), (500, 600)):
        image = noise(*size)
        height, width = aliased.whole_size(*size)
        whole = Preprocessing((height, width), "squash", 1.0, interpolation, antialias=False)
        top, left = round((height - 75) / 2), round((width - 90) / 2)
        expected = whole.crop(image)[top : top + 75, left : left + 90]
        np.testing.assert_array_equal(aliased.crop(image), expected)
        antialiased = replace(aliased, antialias=True).crop(image)
        assert largest_difference(aliased.crop(image), antialiased) > 20


@pytest.mark.parametrize("resize", ["short-side", "squash"])
@pytest.mark.parametrize("size", [(3, 59424), (65535, 1), (1, 65535)])
def test_a_thin_image_is_cropped_without_the_whole_being_enlarged(
    size: tuple[int, int], resize: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []
    original = Image.Image.resize

    def recorded(image: Image.Image, *arguments: Any) -> Image.Image:
        sizes.append(arguments[0])
        return original(image, *arguments)

    monkeypatch.setattr(Image.Image, "resize", recorded)
    cropped = Preprocessing((299, 299), resize).crop(np.full((*size, 3), 7, np.uint8))
    assert cropped.shape == (299, 299, 3)
    assert set(cropped.flat) == {7}
    assert max(width * height for width, height in sizes) == 299 * 299
    aliased = Preprocessing((299, 299), resize, antialias=False)
    tracemalloc.start()
    assert set(aliased.crop(np.full((*size, 3), 7, np.uint8)).flat) == {7}
    assert tracemalloc.get_traced_memory()[1] < 16 * 2**20
    tracemalloc.stop()


def test_a_crop_may_be_written_to() -> None:
    cropped = SQUARE.crop(noise(20, 20))
    assert cropped.dtype == np.uint8
    assert cropped.flags.writeable


@pytest.mark.parity
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize(("size", "fraction"), [((299, 299), 0.875), ((299, 299), 0.8975)])
def test_short_side_equals_timm(size: tuple[int, int], fraction: float, interpolation: Any) -> None:
    theirs = create_transform(
        (3, *size), interpolation=interpolation, crop_pct=fraction, use_prefetcher=True
    )
    ours = Preprocessing(size, crop_fraction=fraction, interpolation=interpolation)
    for image in photographs(6):
        expected = np.asarray(theirs(Image.fromarray(image))).transpose(1, 2, 0)
        assert largest_difference(ours.crop(image), expected) <= 2, image.shape


@pytest.mark.parity
@pytest.mark.parametrize("size", [(100, 140), (140, 100), (333, 90)])
@pytest.mark.parametrize("target", [(96, 128), (128, 96), (80, 80)])
def test_drawn_images_equal_timm(size: tuple[int, int], target: tuple[int, int]) -> None:
    theirs = create_transform((3, *target), interpolation="bicubic", use_prefetcher=True)
    image = noise(*size)
    expected = np.asarray(theirs(Image.fromarray(image))).transpose(1, 2, 0)
    assert largest_difference(Preprocessing(target).crop(image), expected) <= 2


def test_a_preprocessing_survives_json() -> None:
    written = Preprocessing((299, 320), "squash", 0.9, "bilinear", (0.1, 0.2, 0.3), (1, 2, 3))
    assert Preprocessing.from_dict(json.loads(json.dumps(written.as_dict()))) == written
    assert SQUARE.as_dict() == {
        "image_size": [299, 299],
        "resize": "short-side",
        "crop_fraction": 0.875,
        "interpolation": "bicubic",
        "mean": [0.5, 0.5, 0.5],
        "std": [0.5, 0.5, 0.5],
        "antialias": True,
    }


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("image_size", [0, 299]),
        ("image_size", [299]),
        ("image_size", [299.0, 299.0]),
        ("image_size", [True, True]),
        ("image_size", 299),
        ("resize", "stretch"),
        ("resize", ["squash"]),
        ("crop_fraction", 0),
        ("crop_fraction", 1.01),
        ("crop_fraction", float("nan")),
        ("crop_fraction", "0.875"),
        ("crop_fraction", True),
        ("interpolation", "nearest"),
        ("antialias", 0),
        ("antialias", "false"),
        ("mean", [0.5, 0.5]),
        ("mean", [0.5, 0.5, float("inf")]),
        ("mean", None),
        ("std", [0.5, 0.5, 0]),
        ("std", [0.5, 0.5, float("nan")]),
        ("std", "abc"),
    ],
)
def test_wrong_values_are_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"^{field} must be "):
        Preprocessing.from_dict({**SQUARE.as_dict(), field: value})


def test_missing_and_unknown_fields_are_refused() -> None:
    fields = SQUARE.as_dict()
    for wrong in ({**fields, "color": 1}, {"image_size": [299, 299]}, {}, [*fields], None):
        with pytest.raises(ValueError, match="must have the fields image_size, resize"):
            Preprocessing.from_dict(wrong)  # type: ignore[arg-type]


def test_in_words_says_geometry_and_pixel_values() -> None:
    assert SQUARE.in_words() == [
        "The shorter side is resized to 341 pixels (bicubic), then the central 299x299 is cropped.",
        "Pixel values 0 and 255 become -1 and 1.",
    ]
    squash = Preprocessing((299, 320), resize="squash", mean=(0.0, 0.5, 0.0), std=(1.0, 0.5, 0.5))
    assert squash.in_words() == [
        "The central 87.5 % of each side is resized to 299x320 (bicubic), ignoring its aspect.",
        "Pixel values 0 and 255 become (0, -1, 0) and (1, 1, 2).",
    ]
    assert Preprocessing((70, 140), interpolation="bilinear").in_words()[0] == (
        "The image is resized to just cover 80x160 (bilinear), then the central 70x140 is cropped."
    )
    slim = Preprocessing((299, 299), "squash", interpolation="bilinear", antialias=False)
    assert "resized to 299x299 (bilinear, not antialiased), ignoring" in slim.in_words()[0]
