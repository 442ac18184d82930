from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from inceptcli.plots.canvas import heat_colors
from inceptcli.plots.overlay import hottest_half, overlay

GRAY = np.full((75, 100, 3), 128, np.uint8)

# Machado, Oliveira and Fernandes (2009), severity 1, on linear RGB.
BLINDNESS = {
    "protanopia": [
        [0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}  # fmt: skip


def luminance(colors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of linear RGB."""
    weights: NDArray[np.float64] = colors @ np.array([0.2126, 0.7152, 0.0722])
    return weights


def linear(colors: NDArray[np.float32]) -> NDArray[np.float64]:
    scaled = colors.astype(np.float64) / 255
    return np.where(scaled <= 0.04045, scaled / 12.92, ((scaled + 0.055) / 1.055) ** 2.4)


@pytest.mark.parametrize("kind", BLINDNESS)
def test_more_heat_is_brighter_with_every_color_vision(kind: str) -> None:
    seen = linear(heat_colors()[::8]) @ np.array(BLINDNESS[kind]).T
    for brightness in (luminance(seen), luminance(linear(heat_colors()[::8]))):
        assert (np.diff(brightness) > 0).all()
        assert brightness[-1] / brightness[0] > 10


def test_a_small_picture_is_enlarged_and_a_large_one_is_not() -> None:
    heat = np.ones((75, 100), np.float32)
    assert overlay(GRAY, heat).size == (400, 300)
    large = np.zeros((299, 310, 3), np.uint8)
    assert overlay(large, np.ones((299, 310), np.float32)).size == (310, 299)


def test_hot_is_yellow_cold_is_blue_and_a_line_goes_round_the_hottest_half() -> None:
    heat = np.zeros((75, 100), np.float32)
    heat[20:50, 30:70] = 1
    drawn = np.asarray(overlay(GRAY, heat)).astype(int)
    red, _, blue = drawn[140, 200]
    assert red - blue > 60
    red, _, blue = drawn[20, 20]
    assert blue - red > 20
    row = drawn[140]
    black, white = (row.max(axis=1) == 0).nonzero()[0], (row.min(axis=1) == 255).nonzero()[0]
    assert black == pytest.approx([120, 279], abs=3)
    assert white.tolist() == [black[0] + 1, black[1] - 1]


def test_without_heat_the_picture_is_left_in_gray() -> None:
    picture = np.zeros((75, 100, 3), np.uint8)
    picture[..., 0] = 200
    drawn = np.asarray(overlay(picture, np.zeros((75, 100), np.float32)))
    assert np.unique(drawn).tolist() == [60]  # the luma of 200, 0, 0


def test_the_hottest_half_is_the_fewest_pixels_that_hold_half_of_the_mass() -> None:
    heat = np.array([[4, 1, 1], [0, 3, 1]], np.float32)  # 10 in all
    assert hottest_half(heat).tolist() == [[True, False, False], [False, True, False]]
    assert not hottest_half(np.zeros((2, 2), np.float32)).any()
