from __future__ import annotations

import hashlib
import subprocess
import sys

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from inceptcli.data.pixels import shapes
from inceptcli.data.pixels.shapes import CLASSES, Shapes, ShapesSplit, draw, label

SMALL = (32, 32)


def pictures(split: ShapesSplit, size: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    drawn = Shapes(seed=0, size=size, image_size=SMALL, split=split)
    images = np.stack([drawn.image(index) for index in range(size)])
    return images, np.array([drawn.label(index) for index in range(size)])


def masks(name: str, image_size: tuple[int, int], count: int) -> NDArray[np.uint8]:
    random = np.random.default_rng(0)
    outline = shapes.OUTLINES[name]
    drawn = (shapes.draw_mask(random, image_size, outline) for _ in range(count))
    return np.stack([np.asarray(mask) for mask in drawn])


def test_there_are_ten_classes_in_alphabetical_order() -> None:
    assert len(set(CLASSES)) == 10
    assert list(CLASSES) == sorted(CLASSES)


@pytest.mark.parametrize("image_size", [(32, 32), (75, 75), (96, 128), (128, 96), (299, 299)])
def test_a_picture_has_the_size_asked_for(image_size: tuple[int, int]) -> None:
    picture = draw(0, 3, image_size)
    assert picture.shape == (*image_size, 3)
    assert picture.dtype == np.uint8


def test_pictures_are_the_same_in_any_order() -> None:
    forwards = [draw(5, index, SMALL) for index in range(20)]
    backwards = [draw(5, index, SMALL) for index in reversed(range(20))]
    np.testing.assert_array_equal(forwards, backwards[::-1])


def test_another_process_draws_the_same_picture() -> None:
    code = (
        "import hashlib; from inceptcli.data.pixels.shapes import draw;"
        "print(hashlib.sha256(b''.join(draw(5, i, (75, 75)).tobytes() for i in range(20)))"
        ".hexdigest())"
    )
    theirs = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()
    ours = b"".join(draw(5, index, (75, 75)).tobytes() for index in range(20))
    assert hashlib.sha256(ours).hexdigest() == theirs


def test_no_two_pictures_of_two_splits_and_seeds_are_equal() -> None:
    splits: tuple[ShapesSplit, ...] = ("train", "val")
    drawn = {
        draw(seed, index, SMALL, split).tobytes()
        for seed in (0, 1)
        for split in splits
        for index in range(50)
    }
    assert len(drawn) == 200


def test_a_data_set_draws_its_own_seed_split_and_size() -> None:
    drawn = Shapes(seed=3, size=20, image_size=(40, 50), split="val")
    assert len(drawn) == 20
    np.testing.assert_array_equal(drawn.image(13), draw(3, 13, (40, 50), "val"))
    assert drawn.label(13) == label(13) == 3


@pytest.mark.parametrize("index", [-1, 20])
def test_a_picture_beyond_the_data_set_is_refused(index: int) -> None:
    drawn = Shapes(seed=0, size=20, image_size=SMALL, split="train")
    message = f"image must be from 0 to 19, got {index}"
    with pytest.raises(IndexError, match=message):
        drawn.image(index)
    with pytest.raises(IndexError, match=message):
        drawn.label(index)


def test_labels_are_balanced() -> None:
    drawn = Shapes(seed=0, size=500, image_size=SMALL, split="train")
    labels = [drawn.label(index) for index in range(len(drawn))]
    assert np.bincount(labels, minlength=10).tolist() == [50] * 10


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("image_size", [(32, 32), (96, 128)])
def test_every_shape_lies_inside_the_picture(name: str, image_size: tuple[int, int]) -> None:
    inside = masks(name, image_size, 100)
    assert inside.shape == (100, *image_size)
    assert (inside.max(axis=(1, 2)) == 255).all()
    for edge in (inside[:, 0], inside[:, -1], inside[:, :, 0], inside[:, :, -1]):
        assert not edge.any()


@pytest.mark.parametrize("name", CLASSES)
def test_every_class_has_the_same_spread_of_areas(name: str) -> None:
    areas = masks(name, (75, 75), 200).mean(axis=(1, 2), dtype=np.float64) / 255
    sides = np.sqrt(areas)
    least, greatest = shapes.SIDE
    # Rounding to pixels, edges included, moves a side by less than 0.02 of the picture.
    assert sides.min() == pytest.approx(least, abs=0.02)
    assert sides.max() == pytest.approx(greatest, abs=0.02)
    assert sides.mean() == pytest.approx((least + greatest) / 2, abs=0.02)


def test_a_shape_stands_out_from_both_colors_behind_it() -> None:
    random = np.random.default_rng(0)
    lighter = 0
    for _ in range(200):
        front, behind = shapes.draw_colors(random)
        luminances = behind @ shapes.LUMINANCE - front @ shapes.LUMINANCE
        assert np.abs(luminances).min() >= shapes.MINIMUM_CONTRAST
        assert (luminances > 0).all() or (luminances < 0).all()
        lighter += bool(luminances[0] > 0)
    assert 60 < lighter < 140


def test_no_class_has_colors_of_its_own() -> None:
    images, labels = pictures("train", 2000)
    colors = images.mean(axis=(1, 2))
    spread = colors.std(axis=0)
    for shape in range(10):
        of_class = colors[labels == shape]
        # The mean of 200 pictures strays by 0.07 of the spread; four times that is no accident.
        assert (np.abs(of_class.mean(axis=0) - colors.mean(axis=0)) < 0.28 * spread).all()
        assert (np.abs(of_class.std(axis=0) / spread - 1) < 0.25).all()


def test_pixels_alone_do_not_tell_the_class() -> None:
    images, labels = pictures("train", 2000)
    val_images, val_labels = pictures("val", 500)
    linear = LogisticRegression(C=0.01, max_iter=1000)
    linear.fit(images.reshape(2000, -1) / 127.5 - 1, labels)
    assert linear.score(val_images.reshape(500, -1) / 127.5 - 1, val_labels) < 0.40


def test_torch_is_not_imported() -> None:
    code = "import sys, inceptcli.data.pixels.shapes; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_pair_is_two_shapes_of_different_classes_side_by_side() -> None:
    drawn = Shapes(seed=0, size=90, image_size=(75, 75), split="val", pairs=True)
    labels = [drawn.label(index) for index in range(90)]
    assert len(set(labels)) == 45
    assert all(isinstance(pair, tuple) and pair[0] < pair[1] for pair in labels)
    assert (drawn.image(7) == draw(0, 7, (75, 75), "val", pairs=True)).all()
    assert (drawn.image(7) != draw(0, 7, (75, 75), "train", pairs=True)).any()
    beside = 0
    for seed in range(20):
        random = np.random.default_rng(seed)
        one, other = shapes.draw_two_masks(random, (75, 75), shapes.PAIRS[seed])
        beside += not (np.asarray(one) & np.asarray(other)).any()
    assert beside >= 19
