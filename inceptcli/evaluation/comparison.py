"""Compare two networks on the same images, and the networks of an ensemble with the whole."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from inceptcli.evaluation.bootstrap import RESAMPLES, Interval, mean_intervals
from inceptcli.evaluation.measures import ImageResult


class Sides(NamedTuple):
    """Numbers of the loaded networks that are measured, and of those they are compared with.

    `names` has the weights of each loaded network, for messages.
    """

    measured: tuple[int, ...]
    against: tuple[int, ...] = ()
    names: tuple[str, ...] = ()

    @property
    def without_one(self) -> list[tuple[int, ...]]:
        """The measured networks without the first, without the second and so on."""
        places = range(len(self.measured))
        return [self.measured[:place] + self.measured[place + 1 :] for place in places]

    @property
    def means(self) -> list[tuple[int, ...]]:
        """All sets of networks whose mean is needed, each once; the measured ones come first."""
        found = [self.measured]
        if len(self.measured) > 1:
            found += [*((number,) for number in self.measured), *self.without_one]
        return [*dict.fromkeys([*found, *([self.against] if self.against else [])])]


@dataclass(frozen=True)
class EnsembleMember:
    """One network of an ensemble on its own.

    `gain` is the top-1 of the ensemble minus the top-1 of the ensemble without this network.
    """

    top1: float
    loss: float
    gain: float


class ClassChange(NamedTuple):
    """Images of class `label` gained and lost; at least one of the numbers is not 0."""

    label: int
    gained: int
    lost: int


@dataclass(frozen=True)
class PairedComparison:
    """The measured network, A, against another one, B, on the same images.

    `top1` and `loss` are those of B, and `images` has its results, in the order of A's. Differences
    are A minus B, so that a better A has a positive `difference` of top-1 and a negative
    `loss_difference`; their 95 % intervals come from a paired bootstrap, and are None for one image
    or group. The difference of losses is None if one side's outputs are softmax and the other's
    sigmoid. `gained` counts images that only A predicts correctly, `lost` those that only B does;
    `mcnemar_p` is the p-value of McNemar's exact test of these two. `per_class` has the classes
    with such images, of those with one label.
    """

    top1: float
    difference: float
    difference_interval: Interval | None
    loss: float
    loss_difference: float | None
    loss_difference_interval: Interval | None
    mcnemar_p: float
    gained: int
    lost: int
    per_class: tuple[ClassChange, ...]
    images: tuple[ImageResult, ...]


def mcnemar(gained: int, lost: int) -> float:
    """Return the two-sided p-value of McNemar's exact (binomial) test; 1 without flips."""
    flips = gained + lost
    ways, tail = 1, 0
    for successes in range(min(gained, lost) + 1):
        tail += ways
        ways = ways * (flips - successes) // (successes + 1)
    return min(1.0, 2 * tail / (1 << flips))  # of whole numbers: exact however many there are


def flip(image: ImageResult, other: ImageResult) -> str:
    """Return gained, lost or an empty string for one image's results of A and of B."""
    right, was_right = image.rank == 1, other.rank == 1
    return "" if right == was_right else "gained" if right else "lost"


def compare(
    images: Sequence[ImageResult],
    others: Sequence[ImageResult],
    groups: Sequence[int] | NDArray[np.intp] | None = None,
    resamples: int = RESAMPLES,
    *,
    of_losses: bool = True,
) -> PairedComparison:
    """Compare results of A and of B for the same images, at least one.

    The bootstrap draws images or, with the group of each image, whole groups. `of_losses` is
    whether the losses of A and of B can be compared.
    """
    flips = [flip(*pair) for pair in zip(images, others, strict=True)]
    counts = Counter(
        (image.label, change)
        for image, change in zip(images, flips, strict=True)
        if change and not image.accepted
    )
    gained, lost = flips.count("gained"), flips.count("lost")
    losses = [image.loss - other.loss for image, other in zip(images, others, strict=True)]
    total = len(images)
    columns = np.array([[(change == "gained") - (change == "lost") for change in flips], losses])
    drawn = range(total) if groups is None else groups
    of_top1, of_loss = mean_intervals(columns.T, drawn, resamples) if max(drawn) else (None, None)
    return PairedComparison(
        top1=top1(others),
        difference=(gained - lost) / total,
        difference_interval=of_top1,
        loss=mean_loss(others),
        loss_difference=math.fsum(losses) / total if of_losses else None,
        loss_difference_interval=of_loss if of_losses else None,
        mcnemar_p=mcnemar(gained, lost),
        gained=gained,
        lost=lost,
        per_class=tuple(
            ClassChange(label, counts[label, "gained"], counts[label, "lost"])
            for label in sorted({label for label, _ in counts})
        ),
        images=tuple(others),
    )


def most_changed(found: PairedComparison) -> list[ClassChange]:
    """Return the classes, the largest difference of gained and lost images first."""
    return sorted(found.per_class, key=lambda c: (-abs(c.gained - c.lost), -c.gained - c.lost))


def members_of(
    whole: Sequence[ImageResult],
    alone: Sequence[Sequence[ImageResult]],
    without: Sequence[Sequence[ImageResult]],
) -> tuple[EnsembleMember, ...]:
    """Measure the networks of an ensemble from their results alone and those without each."""
    return tuple(
        EnsembleMember(top1(each), mean_loss(each), top1(whole) - top1(rest))
        for each, rest in zip(alone, without, strict=True)
    )


def top1(images: Sequence[ImageResult]) -> float:
    """Return the share of images predicted correctly."""
    return sum(image.rank == 1 for image in images) / len(images)


def mean_loss(images: Sequence[ImageResult]) -> float:
    """Return the mean loss, independent of the order of the images in every bit."""
    return math.fsum(image.loss for image in images) / len(images)
