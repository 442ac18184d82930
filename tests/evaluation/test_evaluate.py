"""Every image is measured once, whatever the batch and however many processes there are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

from inceptcli.data.pixels.decode import UnreadableImage
from inceptcli.data.pixels.preprocessing import Preprocessing
from inceptcli.errors import UserError
from inceptcli.evaluation.comparison import Sides
from inceptcli.evaluation.evaluate import Pass, evaluate
from inceptcli.evaluation.measures import Evaluation, image_result
from inceptcli.evaluation.processes import Item, Processes
from inceptcli.prediction.ensemble import DAMAGED, Ensemble
from inceptcli.weights.metadata import ClassName, OutputKind


class Brightness:
    """An engine of eleven classes that looks at a picture's first pixel."""

    classes = tuple(ClassName(f"n{number}", str(number)) for number in range(11))
    preprocessing = Preprocessing((4, 4))
    calibration = None
    output_kind: OutputKind = "softmax"
    thresholds = None

    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        centers = np.arange(11, dtype=np.float32) * 25
        logits: NDArray[np.float32] = -np.abs(images[:, 0, 0, :1] - centers) / 10
        return logits


class Shifted(Brightness):
    """It takes pictures for darker or brighter than they are, each by another number."""

    def __init__(self, shift: int) -> None:
        self.shift = shift

    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        shifted = images.astype(np.float32) + self.shift * (images > 100)
        centers = np.arange(11, dtype=np.float32) * 25
        return (-np.abs(shifted[:, 0, 0, :1] - centers) / 10).astype(np.float32)


class Broken(Brightness):
    """Its output for white is not finite."""

    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        white = images[:, 0, 0, :1] == 255
        return np.where(white, np.nan, super().logits(images)).astype(np.float32)


ONE = Sides((0,))


@dataclass
class Grays:
    """Pictures of one gray each; some cannot be read. Counts how often each is."""

    size: int
    unreadable: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        self.read = [0] * self.size

    def __len__(self) -> int:
        return self.size

    def image(self, index: int, shorter_side: int | None = None) -> NDArray[np.uint8]:
        self.read[index] += 1
        if index in self.unreadable:
            raise UnreadableImage("empty file")
        return np.full((5, 6, 3), index * 37 % 256, np.uint8)

    def label(self, index: int) -> int:
        return index * 7 % 11

    def name(self, index: int) -> str:
        return f"{index}.png"


def measured(source: Grays, batch_size: int = 7, skip: bool = False) -> Evaluation:
    done: list[int] = []
    ensemble = Ensemble([Brightness()], batch_size=batch_size)
    result = evaluate(Pass(ensemble, source, done.append, ONE, skip), Processes())
    assert sum(done) == len(source)
    return result


def test_each_image_is_read_once_and_no_batch_size_changes_anything() -> None:
    source = Grays(121)
    expected = measured(source, 1)
    assert source.read == [1] * 121
    assert [image.path for image in expected.images] == [f"{n}.png" for n in range(121)]
    assert 0 < expected.top1 < expected.top5 < 1
    for row, image in zip(expected.probabilities, expected.images, strict=True):
        assert image == image_result(image.path, image.label, row)
    for batch_size in (7, 32, 200):
        found = measured(Grays(121), batch_size)
        assert found == expected
        assert (found.probabilities == expected.probabilities).all()


class Ranks(Processes):
    """Processes that run one after the other; the last one gathers the results of all."""

    parts: ClassVar[list[Any]] = []

    def gather(self, work: Callable[[], Item]) -> list[Item]:
        self.parts.append(work())
        return self.parts


@pytest.mark.parametrize(("num_images", "size"), [(121, 2), (121, 7), (3, 4), (8, 8)])
def test_processes_share_every_image_and_none_twice(
    num_images: int, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Ranks, "parts", [])
    source, expected = Grays(num_images, (2,)), measured(Grays(num_images, (2,)), skip=True)
    for rank in range(size):
        ranks = Ranks(rank, size)
        found = evaluate(
            Pass(Ensemble([Brightness()]), source, lambda done: None, ONE, True), ranks
        )
    assert source.read == [1] * num_images
    assert found == expected
    assert (found.probabilities == expected.probabilities).all()


def test_what_cannot_be_read_fails_or_is_listed_in_order() -> None:
    with pytest.raises(UserError, match=r"^4\.png: empty file; --skip-unreadable"):
        measured(Grays(9, (4, 8)))
    found = measured(Grays(9, (8, 4)), skip=True)
    assert found.skipped == (("4.png", "empty file"), ("8.png", "empty file"))
    assert len(found.images) == 7
    assert sum(entry.images for entry in found.per_class) == 7


def test_nothing_readable_fails() -> None:
    with pytest.raises(UserError, match=r"none of the 2 images can be read: 0\.png: empty file"):
        measured(Grays(2, (0, 1)), skip=True)


def test_output_that_is_not_finite_fails_even_where_images_may_be_skipped() -> None:
    source = Grays(121)
    (white,) = (number for number in range(121) if number * 37 % 256 == 255)
    with pytest.raises(UserError, match=rf"^{white}\.png: {DAMAGED}"):
        evaluate(Pass(Ensemble([Broken()]), source, lambda done: None, ONE, True), Processes())


def test_members_and_the_other_side_are_those_of_separate_evaluations() -> None:
    engines = [Shifted(0), Shifted(40), Shifted(-90)]

    def found(*numbers: int, sides: Sides | None = None) -> Evaluation:
        ensemble = Ensemble([engines[number] for number in numbers])
        own = sides or Sides(tuple(range(len(numbers))))
        return evaluate(Pass(ensemble, Grays(121), lambda done: None, own), Processes())

    whole = found(0, 1, 2)
    for number, member in enumerate(whole.members):
        own, rest = found(number), found(*[other for other in range(3) if other != number])
        assert (member.top1, member.loss) == (own.top1, own.loss)
        assert member.gain == whole.top1 - rest.top1
        assert own.members == ()
    assert len({member.gain for member in whole.members}) == 3
    compared = found(0, 1, 2, sides=Sides((1, 2), (2, 0)))
    assert replace(compared, against=None) == found(1, 2)
    assert compared.against is not None
    assert compared.against.images == found(2, 0).images
