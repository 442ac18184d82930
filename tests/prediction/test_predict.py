from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from threading import Event

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from inceptcli.data.pixels.preprocessing import Preprocessing
from inceptcli.prediction.engines.torch_engine import TorchEngine
from inceptcli.prediction.ensemble import Ensemble, softmax
from inceptcli.prediction.inputs import Source
from inceptcli.prediction.predict import Answer, predict
from inceptcli.weights.metadata import ClassName, OutputKind


class MeanColor:
    """An engine whose three logits are a picture's mean red, green and blue."""

    classes = (ClassName("r", "red"), ClassName("g", "green"), ClassName("b", "blue"))
    preprocessing = Preprocessing((8, 8))
    calibration = None
    output_kind: OutputKind = "softmax"
    thresholds = None

    def __init__(self) -> None:
        self.batch_sizes: list[int] = []

    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.batch_sizes.append(len(images))
        logits: NDArray[np.float32] = images.mean(axis=(1, 2), dtype=np.float32) / 64
        return logits


def paint(path: Path, color: str) -> Source:
    Image.new("RGB", (20, 10), color).save(path)
    return Source(str(path))


def test_the_most_probable_classes_come_first_with_their_probabilities(tmp_path: Path) -> None:
    (answer,) = predict(
        [paint(tmp_path / "a.png", "#0040c0")],
        Ensemble([MeanColor()], batch_size=1),
        top_k=2,
    )
    assert [p.name for p in answer.top] == ["blue", "green"]
    assert [p.index for p in answer.top] == [2, 1]
    powers = np.exp([0, 1, 3])
    assert answer.top[0].probability == pytest.approx(powers[2] / powers.sum(), abs=1e-12)
    assert answer.top[1].probability == pytest.approx(powers[1] / powers.sum(), abs=1e-12)


def test_more_classes_than_there_are_means_all_and_they_sum_to_one(tmp_path: Path) -> None:
    (answer,) = predict(
        [paint(tmp_path / "a.png", "teal")],
        Ensemble([MeanColor()], batch_size=1),
        top_k=9,
    )
    assert len(answer.top) == 3
    assert sum(p.probability for p in answer.top) == pytest.approx(1, abs=1e-12)


def test_of_equally_probable_classes_the_first_one_comes_first(tmp_path: Path) -> None:
    (answer,) = predict(
        [paint(tmp_path / "a.png", "gray")],
        Ensemble([MeanColor()], batch_size=1),
        top_k=3,
    )
    assert [p.index for p in answer.top] == [0, 1, 2]


def test_what_cannot_be_read_keeps_its_place_and_its_reason(tmp_path: Path) -> None:
    (tmp_path / "b.png").write_text("no image")
    red = paint(tmp_path / "a.png", "red")
    missing, broken, named, answer = predict(
        [
            Source("none.png"),
            Source(str(tmp_path / "b.png")),
            Source("x*", "no match"),
            red,
        ],
        Ensemble([MeanColor()]),
        top_k=1,
    )
    assert missing == Answer("none.png", error="No such file or directory")
    assert broken.error is not None
    assert "not an image" in broken.error
    assert named == Answer("x*", error="no match")
    assert answer.path == red.path
    assert answer.top[0].name == "red"


def test_a_batch_without_a_readable_picture_is_not_computed() -> None:
    engine = MeanColor()
    list(
        predict(
            [Source("none.png")] * 3,
            Ensemble([engine], batch_size=2),
            top_k=1,
        )
    )
    assert engine.batch_sizes == []


def test_no_batch_is_larger_than_asked_for(tmp_path: Path) -> None:
    engine = MeanColor()
    source = paint(tmp_path / "a.png", "red")
    answers = list(
        predict(
            [source] * 7,
            Ensemble([engine], batch_size=3),
            top_k=1,
        )
    )
    assert len(answers) == 7
    assert sum(engine.batch_sizes) == 7
    assert max(engine.batch_sizes) <= 3


def test_an_answer_is_given_before_the_next_path_is_known(tmp_path: Path) -> None:
    source = paint(tmp_path / "a.png", "red")
    given, answers = Event(), 0

    def one_by_one() -> Iterator[Source]:
        yield source
        assert given.wait(timeout=600), "the first answer waits for the second path"
        yield source

    for _ in predict(
        one_by_one(),
        Ensemble([MeanColor()], batch_size=16),
        top_k=1,
    ):
        given.set()
        answers += 1
    assert answers == 2


def test_output_that_is_not_finite_is_an_error_and_not_a_probability(tmp_path: Path) -> None:
    class Broken(MeanColor):
        def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
            return np.full((len(images), 3), np.nan, np.float32)

    (answer,) = predict(
        [paint(tmp_path / "a.png", "red")],
        Ensemble([Broken()], batch_size=1),
        top_k=1,
    )
    assert answer.error == "the network's output is not finite; its weights are damaged"


def test_batch_size_and_order_change_no_probability(
    pictures: list[Path], engine: TorchEngine
) -> None:
    def probabilities(order: list[Path], batch_size: int) -> dict[str, dict[int, float]]:
        sources = [Source(str(path)) for path in order]
        answers = predict(
            sources,
            Ensemble([engine], batch_size=batch_size),
            top_k=6,
        )
        return {a.path: {p.index: p.probability for p in a.top} for a in answers}

    expected = probabilities(pictures, 7)
    rounded = {round(max(values.values()), 2) for values in expected.values()}
    assert len(rounded) > 4, "the pictures are alike"
    for order in (pictures, pictures[::-1], pictures[3:] + pictures[:3]):
        for batch_size in (1, 2, 16):
            found = probabilities(order, batch_size)
            for path, values in expected.items():
                assert found[path] == pytest.approx(values, abs=1e-5)


def test_large_logits_do_not_overflow() -> None:
    logits = np.array([1000, 999, -1000], np.float32)
    assert softmax(logits) == pytest.approx([0.7310585786, 0.2689414214, 0], abs=1e-9)
