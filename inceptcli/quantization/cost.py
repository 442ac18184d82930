"""Compare an int8 network with the float32 network that it was made from, on the same images."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from inceptcli.evaluation.bootstrap import RESAMPLES, Interval, mean_intervals
from inceptcli.prediction.engines.onnx_engine import OnnxEngine
from inceptcli.prediction.ensemble import Ensemble


class Answers(NamedTuple):
    """Probabilities (N, num_classes) of N images, and the seconds that each took.

    `thresholds` (num_classes,) are those of multi-label networks.
    """

    probabilities: NDArray[np.float64]
    seconds: tuple[float, ...] = ()
    thresholds: NDArray[np.float64] | None = None

    @property
    def predicted(self) -> NDArray[np.int64]:
        """The classes with the highest probability (N,)."""
        predicted: NDArray[np.int64] = self.probabilities.argmax(axis=1)
        return predicted

    @property
    def labels(self) -> NDArray[Any]:
        """The predicted class (N, 1); for multi-label networks, which labels are (N, C)."""
        if self.thresholds is None:
            return self.predicted[:, np.newaxis]
        return self.probabilities >= self.thresholds


@dataclass(frozen=True)
class Int8Cost:
    """Cost of int8 on images that did not set the ranges.

    Attributes:
        agreement: Share of the images whose predicted class is the same, or all of whose predicted
            labels are.
        top1: Top-1 of the int8 network, None for unlabeled images and multi-label networks.
        top1_float: Top-1 of the float32 network.
        difference_interval: 95 % paired bootstrap interval of `top1` minus `top1_float`.
        mean_change: Mean over images of the largest change of a class's probability.
        largest_change: Largest change of a probability.
        classes_differ: Whether float32 predicts more than one class, or set of labels.
        speedup: Median time per image of float32, divided by that of int8.
    """

    agreement: float
    top1: float | None
    top1_float: float | None
    difference_interval: Interval | None
    mean_change: float
    largest_change: float
    speedup: float
    classes_differ: bool = True


def answers(file: Path, crops: NDArray[np.uint8], done: Callable[[int], None]) -> Answers:
    """Predict `crops` (N, H, W, 3) one by one with a weights file or ONNX file."""
    (found,) = interleaved([file], crops, done)
    return found


def interleaved(
    files: list[Path], crops: NDArray[np.uint8], done: Callable[[int], None]
) -> list[Answers]:
    """Predict each crop with each file in turn, so that all are timed on the same machine load."""
    networks = [Ensemble([OnnxEngine(file, "cpu")]) for file in files]
    found: list[list[NDArray[np.float64]]] = [[] for _ in files]
    seconds: list[list[float]] = [[] for _ in files]
    for network in networks:  # the first image takes longer
        network.probabilities([(crops[:1],)])
    for number in range(len(crops)):
        for network, probabilities, times in zip(networks, found, seconds, strict=True):
            start = time.perf_counter()
            probabilities.append(network.probabilities([(crops[number : number + 1],)]))
            times.append(time.perf_counter() - start)
        done(1)
    return [
        Answers(np.concatenate(probabilities), tuple(times), network.thresholds)
        for network, probabilities, times in zip(networks, found, seconds, strict=True)
    ]


def agreement(first: Answers, second: Answers) -> float:
    """Return the share of images for which both predict the same class, or the same labels."""
    return float((first.labels == second.labels).all(axis=1).mean())


def int8_cost(float32: Answers, int8: Answers, labels: NDArray[np.int64] | None) -> Int8Cost:
    """Compare the answers of both networks on the same images; `labels` (N,) may be None."""
    change = np.abs(float32.probabilities - int8.probabilities).max(axis=1)
    top1 = top1_float = interval = None
    if labels is not None:
        right, right_float = int8.predicted == labels, float32.predicted == labels
        top1, top1_float = float(right.mean()), float(right_float.mean())
        differences = np.subtract(right, right_float, dtype=np.float64)[:, np.newaxis]
        (interval,) = mean_intervals(differences, range(len(labels)), RESAMPLES)
    return Int8Cost(
        agreement=agreement(float32, int8),
        top1=top1,
        top1_float=top1_float,
        difference_interval=interval,
        mean_change=float(change.mean()),
        largest_change=float(change.max()),
        speedup=median(float32.seconds) / median(int8.seconds),
        classes_differ=len(np.unique(float32.labels, axis=0)) > 1,
    )
