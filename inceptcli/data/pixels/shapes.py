"""Ten classes of drawn shapes, one or two an image, of any size: a dataset without files."""

from __future__ import annotations

import cmath
import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw

from inceptcli.data.folders import Label

ShapesSplit = Literal["train", "val"]
Outline = NDArray[np.complex128]
"""Corners of a filled shape in order as x + iy, y downwards; a product rotates and scales."""

SIDE = (0.38, 0.45)
"""Range of the square root of a shape's area, as a fraction of the image's shorter side."""

SIDE_IN_PAIR = (0.28, 0.34)
"""The same of each shape of a pair."""

ATTEMPTS = 40
"""Most attempts to draw the shapes of a pair side by side."""

TURN = math.radians(30)
"""Largest rotation either way; a network takes far longer to learn arbitrary rotations."""

MINIMUM_CONTRAST = 80.0
"""Minimum luminance difference (0 to 255) of a shape to both colors of its background."""

BACKGROUND_SPREAD = 40
"""Largest difference per channel of a background's two colors, far below a shape's contrast."""

LUMINANCE = np.array([0.299, 0.587, 0.114])
SUPERSAMPLING = 2
BACKGROUNDS = ("plain", "gradient", "blotches", "stripes")


def arc(radius: float, start: float, stop: float, num_points: int = 48) -> Outline:
    """Return evenly spaced points (num_points,) on a circle around 0, in degrees, both ends."""
    radians = np.radians(np.linspace(start, stop, num_points))
    return radius * (np.cos(radians) + 1j * np.sin(radians))


def area(outline: Outline) -> float:
    """Return the area of a closed outline; a hole, in the opposite direction, is subtracted."""
    return abs(float(np.sum(outline.conj() * np.roll(outline, -1)).imag)) / 2


def crescent(hole_radius: float = 0.85, hole_center: float = 0.45) -> Outline:
    """Return the disc of radius 1 minus a disc to its right that overlaps its edge."""
    tip_x = (1 - hole_radius**2 + hole_center**2) / (2 * hole_center)
    outer = math.degrees(math.acos(tip_x))
    inner = math.degrees(math.acos((tip_x - hole_center) / hole_radius))
    hole = hole_center + arc(hole_radius, 360 - inner, inner)
    return np.concatenate((arc(1, outer, 360 - outer), hole))


def heart() -> Outline:
    """Return a heart, the usual trigonometric curve."""
    t = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    x = 16 * np.sin(t) ** 3
    y = -13 * np.cos(t) + 5 * np.cos(2 * t) + 2 * np.cos(3 * t) + np.cos(4 * t)
    outline: Outline = x + 1j * y
    return outline


OUTLINES: dict[str, Outline] = {
    "arrow": np.array([-2 - 0.5j, 0.2 - 0.5j, 0.2 - 1.4j, 2, 0.2 + 1.4j, 0.2 + 0.5j, -2 + 0.5j]),
    "bar": np.array([-1.75 - 0.5j, 1.75 - 0.5j, 1.75 + 0.5j, -1.75 + 0.5j]),
    "crescent": crescent(),
    "cross": np.concatenate([1j**turn * np.array([3 - 1j, 3 + 1j, 1 + 1j]) for turn in range(4)]),
    "disc": arc(1, 0, 360),
    "heart": heart(),
    "ring": np.concatenate((arc(1, 0, 360), arc(0.55, 360, 0))),
    "square": arc(1, 45, 315, 4),
    "star": np.stack((arc(1, -90, 198, 5), arc(0.4, -54, 234, 5)), axis=1).ravel(),
    "triangle": arc(1, -90, 150, 3),
}
CLASSES = tuple(sorted(OUTLINES))
PAIRS = tuple(combinations(range(len(CLASSES)), 2))


def label(index: int, pairs: bool = False) -> Label:
    """Return the label of image `index`, as positions in CLASSES; classes alternate evenly.

    With `pairs`, the label has two classes.
    """
    return PAIRS[index % len(PAIRS)] if pairs else index % len(CLASSES)


def draw(
    seed: int,
    index: int,
    image_size: tuple[int, int],
    split: ShapesSplit = "train",
    pairs: bool = False,
) -> NDArray[np.uint8]:
    """Draw image `index` of the dataset given by `seed` and `split`: RGB (H, W, 3), uint8.

    One shape of class `label(index)`, or with `pairs` two smaller ones side by side, lies entirely
    inside a cluttered image. Area, color and rotation have the same distributions for all classes,
    so only its form identifies the class. The image depends only on the arguments.

    Args:
        seed: At least 0.
        index: At least 0.
        image_size: Height and width in pixels, each at least 32.
        split: "train" and "val" use separate random streams.
        pairs: Whether to draw two shapes of different classes.
    """
    stream = np.random.SeedSequence(seed, spawn_key=(("train", "val").index(split), index))
    random = np.random.default_rng(stream)
    front, behind = draw_colors(random)
    image = draw_background(random, image_size, behind)
    draw_clutter(random, image)
    if pairs:
        one, other = draw_two_masks(random, image_size, PAIRS[index % len(PAIRS)])
        image.paste(as_color(contrasting(random, behind)), mask=other)
    else:
        one = draw_mask(random, image_size, OUTLINES[CLASSES[index % len(CLASSES)]])
    image.paste(as_color(front), mask=one)
    return add_noise(random, image)


@dataclass(frozen=True)
class Shapes:
    """`size` images of one split, determined by the fields; `image_size` is (H, W)."""

    seed: int
    size: int
    image_size: tuple[int, int]
    split: ShapesSplit
    pairs: bool = False

    def __len__(self) -> int:
        return self.size

    def image(self, index: int, shorter_side: int | None = None) -> NDArray[np.uint8]:
        """Return image `index` as RGB (H, W, 3); raise IndexError outside 0 to size - 1.

        `shorter_side` has no effect, since no file is decoded.
        """
        return draw(self.seed, self.checked(index), self.image_size, self.split, self.pairs)

    def label(self, index: int) -> Label:
        """Return the label of image `index`; raise IndexError outside 0 to size - 1."""
        return label(self.checked(index), self.pairs)

    def name(self, index: int) -> str:
        """Return the name of image `index` for messages."""
        return f"shapes/{self.split}/{index}"

    def names(self) -> Iterator[str]:
        """Yield nothing, since there are no files."""
        return iter(())

    def files(self) -> Iterator[tuple[str, int]]:
        """Yield nothing, since there are no files."""
        return iter(())

    def start(self, index: int, maximum: int) -> bytes:
        """Return no bytes, since there is no file."""
        return b""

    def checked(self, index: int) -> int:
        """Return the index; raise IndexError outside 0 to size - 1."""
        if not 0 <= index < self.size:
            raise IndexError(f"image must be from 0 to {self.size - 1}, got {index}")
        return index


def draw_colors(random: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return a shape's color (3,) and two background colors (2, 3), 0 to 255, with enough contrast.

    Both are drawn uniformly until the contrast suffices, so either may be lighter.
    """
    while True:
        shape, first = random.integers(256, size=(2, 3))
        step = random.integers(-BACKGROUND_SPREAD, BACKGROUND_SPREAD, size=3, endpoint=True)
        behind = np.stack((first, (first + step).clip(0, 255)))
        if np.abs(behind @ LUMINANCE - shape @ LUMINANCE).min() >= MINIMUM_CONTRAST:
            return shape, behind


def contrasting(random: np.random.Generator, behind: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return a color (3,), 0 to 255, with enough contrast to the background colors (2, 3)."""
    while True:
        color: NDArray[np.int64] = random.integers(256, size=3)
        if np.abs(behind @ LUMINANCE - color @ LUMINANCE).min() >= MINIMUM_CONTRAST:
            return color


def draw_background(
    random: np.random.Generator, image_size: tuple[int, int], colors: NDArray[np.int64]
) -> Image.Image:
    """Draw one of BACKGROUNDS in two colors (2, 3), of size `image_size` (H, W)."""
    height, width = image_size
    kind = BACKGROUNDS[random.integers(len(BACKGROUNDS))]
    if kind == "plain":
        return Image.new("RGB", (width, height), as_color(colors[0]))
    if kind == "stripes":
        y, x = np.ogrid[:height, :width]
        turn = random.uniform(0, math.pi)
        period = min(image_size) * random.uniform(0.08, 0.25)
        across = (x * math.cos(turn) + y * math.sin(turn)) % period < period / 2
        return Image.fromarray(colors.astype(np.uint8)[across.astype(np.intp)])
    # Enlarging 2 x 2 mixed pixels gives a gradient, more of them blotches.
    cells = 2 if kind == "gradient" else random.integers(4, 8)
    mix = random.random((cells, cells, 1))
    small = (colors[0] * mix + colors[1] * (1 - mix)).astype(np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BILINEAR)


def draw_clutter(random: np.random.Generator, image: Image.Image) -> None:
    """Draw dots and thin bent strokes of random colors onto `image`, far smaller than a shape."""
    canvas = ImageDraw.Draw(image)
    short = min(image.size)
    for _ in range(random.integers(6)):
        color, center = as_color(random.integers(256, size=3)), random.random(2) * image.size
        canvas.circle(center.round().tolist(), round(short * random.uniform(0.01, 0.03)), color)
    for _ in range(random.integers(4)):
        color, start = as_color(random.integers(256, size=3)), random.random(2) * image.size
        steps = random.uniform(-0.2, 0.2, size=(random.integers(1, 4), 2)) * short
        corners = np.vstack((start, start + steps.cumsum(axis=0))).round().ravel().tolist()
        canvas.line(corners, color, width=max(1, round(short * random.uniform(0.01, 0.025))))


def draw_two_masks(
    random: np.random.Generator, image_size: tuple[int, int], classes: tuple[int, int]
) -> tuple[Image.Image, Image.Image]:
    """Return the masks of two shapes side by side; the first may hide a part of the second.

    They overlap only if ATTEMPTS places do not suffice.
    """
    first, second = (OUTLINES[CLASSES[place]] for place in classes)
    for _ in range(ATTEMPTS):
        one = draw_mask(random, image_size, first, SIDE_IN_PAIR)
        other = draw_mask(random, image_size, second, SIDE_IN_PAIR)
        if ImageChops.multiply(one, other).getbbox() is None:
            break
    return one, other


def draw_mask(
    random: np.random.Generator,
    image_size: tuple[int, int],
    outline: Outline,
    range_of_side: tuple[float, float] = SIDE,
) -> Image.Image:
    """Return the mask of a randomly rotated, scaled and placed shape, 0 to 255, antialiased."""
    height, width = image_size
    side = random.uniform(*range_of_side) * min(image_size) / math.sqrt(area(outline))
    corners = outline * cmath.rect(side, random.uniform(-TURN, TURN))
    x, y = corners.real, corners.imag
    x = x + random.uniform(1 - x.min(), width - 2 - x.max())
    y = y + random.uniform(1 - y.min(), height - 2 - y.max())
    mask = Image.new("L", (width * SUPERSAMPLING, height * SUPERSAMPLING))
    points = (np.stack((x, y), axis=1) * SUPERSAMPLING).round().ravel().tolist()
    ImageDraw.Draw(mask).polygon(points, fill=255)
    return mask.reduce(SUPERSAMPLING)


def add_noise(random: np.random.Generator, image: Image.Image) -> NDArray[np.uint8]:
    """Return the image (H, W, 3) with uniform noise of a random strength of up to 12 levels."""
    pixels = np.asarray(image, dtype=np.int16)
    strength = random.integers(13)
    noise = random.integers(-strength, strength, size=pixels.shape, dtype=np.int8, endpoint=True)
    noisy: NDArray[np.int16] = pixels + noise
    return noisy.clip(0, 255).astype(np.uint8)


def as_color(color: NDArray[np.int64]) -> tuple[int, ...]:
    """Return the three levels as a tuple for Pillow."""
    return tuple(color.tolist())
