"""Calibration of weights: a temperature and thresholds of prediction sets. No torch, no NumPy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

COLDEST, HOTTEST = 0.05, 20.0
"""Limits of a temperature."""


def kept_ranks(images: int) -> list[int]:
    """Return the ranks, from 1, of the scores that a calibration on `images` images keeps.

    Up to 999 images, these are all of them. Above, a rank is kept for each coverage that is a
    multiple of 0.001, and above 0.999 of 0.000001: at most 1998. They depend only on the number of
    images, so that the sets stay valid.
    """
    steps = (1000, 1_000_000)
    found = {(images + 1) * part // whole for whole in steps for part in range(1, 1000)}
    return sorted(found - {0})


def rank_for(coverage: float, images: int) -> int:
    """Return the rank of the score that gives `coverage`; 0 if there are too few images.

    With the score of rank r as threshold, a new image's label has a lower score with probability at
    most r / (images + 1).
    """
    return int((images + 1) * (1 - _exact(coverage)))


def images_for(coverage: float) -> int:
    """Return the smallest number of images that can give `coverage`."""
    return -int(-_exact(coverage) // (1 - _exact(coverage)))


def _exact(coverage: float) -> Fraction:
    """Return the decimal number: in floating point, 1 - 0.95 is more than 0.05."""
    return Fraction(repr(float(coverage)))


@dataclass(frozen=True)
class Calibration:
    """What `calibrate` found on labeled images.

    Attributes:
        temperature: Probabilities are raised to the power of 1 / temperature and divided by their
            sum.
        images: Number of images.
        scores: Probabilities of the labels, ascending, at `kept_ranks(images)`.
        data: Name of the images.
        split: Split of the data.
        crops: Crops per image.
        options: Other options of the measurement that change probabilities, by their names in
            results, if they differ from the default.
        images_sha256: Hash of the image files; None for drawn or remote images.
    """

    temperature: float
    images: int
    scores: tuple[float, ...]
    data: str
    split: str = "all"
    crops: int = 1
    options: Mapping[str, Any] = field(default_factory=dict)
    images_sha256: str | None = None

    def threshold(self, coverage: float) -> float | None:
        """Return the least probability of a class in a set; None if there are too few images.

        Sets of all classes with at least this probability contain the label of a new image with
        probability `coverage` or more, if it comes from the same distribution.
        """
        rank = rank_for(coverage, self.images)
        below = [score for kept, score in zip(kept_ranks(self.images), self.scores, strict=True)
                 if kept <= rank]  # fmt: skip
        return below[-1] if below else None


def kept_scores(ascending: Sequence[float]) -> tuple[float, ...]:
    """Return the scores at `kept_ranks` of all scores in ascending order."""
    return tuple(ascending[rank - 1] for rank in kept_ranks(len(ascending)))
