"""Probabilities are averaged over crops and networks, whose classes are matched."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from inceptcli.data.pixels.crops import Crops, cut
from inceptcli.data.pixels.decode import decode
from inceptcli.data.pixels.preprocessing import Preprocessing
from inceptcli.errors import UsageError
from inceptcli.prediction.engines.torch_engine import TorchEngine
from inceptcli.prediction.ensemble import Ensemble, match_classes, softmax
from inceptcli.prediction.inputs import Source
from inceptcli.prediction.predict import predict
from inceptcli.weights.calibration import Calibration
from inceptcli.weights.metadata import ClassName, OutputKind
from tests.prediction.conftest import draw

COLORS = (ClassName("r", "red"), ClassName("g", "green"), ClassName("b", "blue"))


class Corner:
    """An engine whose three logits are a picture's color in its upper left corner."""

    calibration: Calibration | None = None
    output_kind: OutputKind = "softmax"
    thresholds: list[float] | None = None

    def __init__(
        self,
        preprocessing: Preprocessing,
        classes: tuple[ClassName, ...] = COLORS,
        order: tuple[int, ...] = (0, 1, 2),
        scale: float = 0.03,
    ) -> None:
        self.preprocessing, self.classes = preprocessing, classes
        self.order, self.scale = list(order), scale
        self.given: list[int] = []

    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.given.append(len(images))
        assert images.shape[1:3] == self.preprocessing.image_size
        logits: NDArray[np.float32] = images[:, 0, 0, self.order].astype(np.float32) * self.scale
        return logits


SMALL, WIDE = Preprocessing((8, 8)), Preprocessing((12, 12), "squash")


def pictures(count: int) -> list[NDArray[np.uint8]]:
    random = np.random.default_rng(0)
    return [random.integers(0, 256, (20, 30, 3)).astype(np.uint8) for _ in range(count)]


def probabilities(ensemble: Ensemble, batch_size: int = 16, count: int = 3) -> NDArray[np.float64]:
    views = [ensemble.cut(picture) for picture in pictures(count)]
    ensemble.batch_size = batch_size
    return ensemble.probabilities(views)


@pytest.mark.parametrize(("crops", "side"), [(1, 13), (10, 13), (12, 14), (144, 19)])
def test_a_picture_must_be_large_enough_for_every_network(crops: Crops, side: int) -> None:
    for engines in ([Corner(SMALL), Corner(WIDE)], [Corner(WIDE), Corner(SMALL)]):
        assert Ensemble(engines, crops).needed_side == side


@pytest.mark.parametrize("crops", [1, 10, 12, 144])
def test_probabilities_and_not_logits_are_averaged_over_crops(crops: Crops) -> None:
    engine = Corner(SMALL)
    expected = [
        np.mean([softmax(logits) for logits in engine.logits(cut(picture, SMALL, crops))], axis=0)
        for picture in pictures(3)
    ]
    found = probabilities(Ensemble([engine], crops))
    assert found == pytest.approx(np.stack(expected), abs=1e-12)
    assert found.sum(axis=1) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("crops", [1, 10])
def test_the_same_network_twice_gives_the_very_same(crops: Crops) -> None:
    alone = probabilities(Ensemble([Corner(SMALL)], crops))
    twice = probabilities(Ensemble([Corner(SMALL), Corner(SMALL)], crops))
    assert (twice == alone).all()


def test_two_networks_give_their_mean_each_with_its_own_preprocessing() -> None:
    first, second = Corner(SMALL), Corner(WIDE, scale=0.1)
    found = probabilities(Ensemble([first, second], 10))
    alone = [probabilities(Ensemble([engine], 10)) for engine in (first, second)]
    assert found == pytest.approx((alone[0] + alone[1]) / 2, abs=1e-15)
    assert np.abs(alone[0] - alone[1]).max() > 0.01


def test_classes_in_another_order_are_put_into_the_first_ones() -> None:
    plain = Corner(SMALL)
    for classes in (
        (COLORS[2], COLORS[0], COLORS[1]),
        (ClassName("x", "blue"), ClassName("y", "red"), ClassName("z", "green")),
    ):
        mixed = Corner(SMALL, classes, order=(2, 0, 1))
        found = probabilities(Ensemble([plain, mixed]))
        assert found == pytest.approx(probabilities(Ensemble([plain])), abs=1e-12)
        assert Ensemble([plain, mixed]).classes == COLORS


def test_other_classes_are_refused_and_named() -> None:
    others = (*COLORS[:2], ClassName("y", "yel\x1blow"), ClassName("t", "teal"))
    said = r"only a \(3 classes\) has blue; only b \(4 classes\) has yel\\x1blow, teal$"
    with pytest.raises(UsageError, match=said):
        match_classes([("a", COLORS), ("b", others)])
    alike = (ClassName("n1", "red"), ClassName("n2", "red"), ClassName("n3", "blue"))
    with pytest.raises(UsageError, match=r"only a \(3 classes\) has green; only b .* has none$"):
        match_classes([("a", COLORS), ("b", alike)])
    longer = [ClassName(f"n{n}", name) for n, name in enumerate(("red", "green", "blue", "blue"))]
    with pytest.raises(UsageError, match=r"only a \(3 classes\) has none; only b \(4 classes\)"):
        match_classes([("a", COLORS), ("b", longer)])
    with pytest.raises(UsageError, match="and 997 more"):
        match_classes([("a", COLORS), ("b", [ClassName(str(n), str(n)) for n in range(1000)])])


@pytest.mark.parametrize(("batch_size", "given"), [(1, [1] * 30), (7, [7] * 4 + [2]), (99, [30])])
def test_batch_size_counts_crops(batch_size: int, given: list[int]) -> None:
    engine = Corner(SMALL)
    expected = probabilities(Ensemble([engine], 10))
    engine.given.clear()
    assert (probabilities(Ensemble([engine], 10), batch_size) == expected).all()
    assert engine.given == given


def test_predict_gives_no_network_more_crops_than_asked_for_and_fills_batches(
    tmp_path: Path,
) -> None:
    engine = Corner(SMALL)
    sources = [Source(str(draw(tmp_path / f"{n}.png", n))) for n in range(6)]
    answers = list(
        predict(
            sources,
            Ensemble([engine], 10, batch_size=25),
            top_k=1,
        )
    )
    assert [answer.path for answer in answers] == [source.path for source in sources]
    assert sum(engine.given) == 60
    assert max(engine.given) in (10, 20)  # as many pictures as were decoded already
    engine.given.clear()
    list(
        predict(
            sources[:2],
            Ensemble([engine], 144, batch_size=100),
            top_k=1,
        )
    )
    assert engine.given == [100, 44, 100, 44]


def test_networks_that_see_the_same_crops_share_them() -> None:
    aliased = Corner(replace(SMALL, antialias=False))
    ensemble = Ensemble([Corner(SMALL), Corner(WIDE), Corner(SMALL), aliased], 10)
    first, second, third, fourth = ensemble.cut(pictures(1)[0])
    assert first is third
    assert first is not second
    assert (first != fourth).any()


def test_output_that_is_not_finite_makes_only_that_picture_unknown() -> None:
    class Broken(Corner):
        def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
            logits = super().logits(images)
            logits[3, 1] = -np.inf
            return logits

    found = probabilities(Ensemble([Corner(SMALL), Broken(SMALL)]), count=5)
    assert np.isnan(found).all(axis=1).tolist() == [False, False, False, True, False]
    assert np.isfinite(found[[0, 1, 2, 4]]).all()


def test_crops_that_a_network_cannot_take_are_refused() -> None:
    engines = [Corner(SMALL), Corner(Preprocessing((8, 12)))]
    with pytest.raises(UsageError, match="--crops 144 is defined for a square input only"):
        Ensemble(engines, 144)
    assert len(Ensemble(engines, 10).engines) == 2


@pytest.mark.parametrize("crops", [1, 10])
def test_batch_size_changes_no_bit_on_a_cpu(
    crops: Crops, engine: TorchEngine, pictures: list[Path]
) -> None:
    ensemble = Ensemble([engine], crops)
    views = [ensemble.cut(decode(path)) for path in pictures[:3]]
    expected = np.concatenate([ensemble.probabilities([view]) for view in views])
    for batch_size in (2, 5, 64):
        ensemble.batch_size = batch_size
        assert (ensemble.probabilities(views) == expected).all()
