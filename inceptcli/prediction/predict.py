"""The one path from a picture's file to named probabilities; imports no torch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from inceptcli.data.decode import UnreadableImage, decode
from inceptcli.data.preprocessing import Preprocessing
from inceptcli.prediction.engine import Engine
from inceptcli.prediction.inputs import Source
from inceptcli.prediction.read_ahead import default_threads, read_batches


@dataclass(frozen=True, slots=True)
class Prediction:
    """One class of one picture: its name, its place in the network's classes, 0 to 1."""

    class_name: str
    index: int
    probability: float


class Answer(NamedTuple):
    """What is known of one picture: the most probable classes first, or why there are none."""

    path: str
    predictions: tuple[Prediction, ...] = ()
    error: str | None = None


class Crop(NamedTuple):
    """A picture's pixels (H, W, 3) as the network takes them, or why there are none."""

    path: str
    image: NDArray[np.uint8] | None
    problem: str | None = None


def predict(
    sources: Iterable[Source],
    engine: Engine,
    *,
    top_k: int,
    batch_size: int,
    threads: int | None = None,
) -> Iterator[Answer]:
    """One answer for every source, in order, as soon as it is known.

    Pictures are decoded while the network computes; memory does not grow with their number.

    Args:
        sources: which pictures.
        engine: the network.
        top_k: how many classes to name, at least 1; more than there are means all.
        batch_size: the most pictures that the network is given at once.
        threads: how many decode pictures; by default one for each processor, at most four.
    """

    def read(source: Source) -> Crop:
        return read_crop(source, engine.preprocessing)

    for crops in read_batches(sources, read, batch_size, threads or default_threads()):
        images = [crop.image for crop in crops if crop.image is not None]
        ranked = iter(engine.logits(np.stack(images)) if images else ())
        for crop in crops:
            if crop.image is None:
                yield Answer(crop.path, error=crop.problem)
            else:
                yield name_classes(crop.path, next(ranked), engine, top_k)


def read_crop(source: Source, preprocessing: Preprocessing) -> Crop:
    """The picture decoded and cut; a problem instead of an exception when it cannot be read."""
    if source.problem is not None:
        return Crop(source.path, None, source.problem)
    try:
        return Crop(source.path, preprocessing.crop(decode(Path(source.path))))
    except UnreadableImage as error:
        return Crop(source.path, None, str(error))


def name_classes(path: str, logits: NDArray[np.float32], engine: Engine, top_k: int) -> Answer:
    """The `top_k` most probable classes of logits (num_classes,); of equals the first one first."""
    if not np.isfinite(logits).all():
        return Answer(path, error="the network's output is not finite; its weights are damaged")
    probabilities = softmax(logits)
    best = np.argsort(-probabilities, kind="stable")[:top_k]
    return Answer(
        path,
        tuple(
            Prediction(engine.classes[index].name, index, float(probabilities[index]))
            for index in best.tolist()
        ),
    )


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Logits (..., num_classes) to probabilities that sum to 1, computed in float64."""
    powers = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    probabilities: NDArray[np.float64] = powers / powers.sum(axis=-1, keepdims=True)
    return probabilities
