"""Labeled images to accuracy and loss, through the same path as `predict`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np

from inceptcli.data.pixels.decode import UnreadableImage
from inceptcli.data.sources import ImageSource
from inceptcli.errors import UserError
from inceptcli.evaluation.images import MeasuredImages, Wanted, images_to_measure
from inceptcli.evaluation.processes import Processes
from inceptcli.evaluation.results import (
    Evaluation,
    ImageResult,
    Origin,
    evaluation_of,
    image_result,
)
from inceptcli.prediction.ensemble import DAMAGED, Ensemble, EnsembleFiles, EnsembleRequest
from inceptcli.prediction.predict import classify


class ProcessResults(NamedTuple):
    """What one process found, by the images' numbers."""

    results: dict[int, ImageResult]
    skipped: dict[int, tuple[str, str]]


@dataclass(frozen=True)
class EvaluationRequest:
    """One evaluation: networks, images, and whether unreadable images may be left out."""

    networks: EnsembleRequest
    images: Wanted
    skip_unreadable: bool = False

    def prepare(self) -> Prepared:
        """Find weights and images; no torch.

        Raises UsageError or UserError where they cannot be found or do not fit each other.
        """
        networks = self.networks.find()
        found = images_to_measure(
            self.images, list(zip(networks.files, networks.metadata, strict=True))
        )
        asked = self.networks
        origin = Origin(
            asked.weights, found.data, asked.crops, found.excluded, asked.shortcuts, found.split
        )
        return Prepared(self, networks, found, origin)


class Prepared(NamedTuple):
    """An evaluation whose weights and images are found; `origin` describes it in results."""

    request: EvaluationRequest
    networks: EnsembleFiles
    images: MeasuredImages
    origin: Origin

    def measure(
        self, processes: Processes, ensemble: Ensemble, progress: Callable[[int], None]
    ) -> Evaluation:
        """Measure the images; see `evaluate`."""
        return evaluate(
            ensemble,
            self.images.source,
            ensemble.batch_size,
            progress,
            self.request.skip_unreadable,
            processes,
            self.request.networks.fast_decode,
        )


def evaluate(
    ensemble: Ensemble,
    source: ImageSource,
    batch_size: int,
    progress: Callable[[int], None],
    skip_unreadable: bool = False,
    processes: Processes | None = None,
    fast_decode: bool = False,
) -> Evaluation:
    """Every image of `source` once, by one of the `processes` (joined); all get the same answer.

    `batch_size` counts crops that a network is given at once; `progress` is told that one image
    more is done; with `fast_decode` JPEGs are decoded no larger than the networks need.

    Raises UserError that names an image that cannot be read, for its answer would be missing; with
    `skip_unreadable` only when none can be read. It is also raised when a network's output is not
    finite.
    """
    processes = processes or Processes()
    numbers = share(len(source), processes)

    def work() -> ProcessResults:
        return _measure(
            ensemble, source, numbers, batch_size, progress, skip_unreadable, fast_decode
        )

    results: dict[int, ImageResult] = {}
    skipped: dict[int, tuple[str, str]] = {}
    for part in processes.gather(work):
        results |= part.results
        skipped |= part.skipped
    left_out = [skipped[number] for number in sorted(skipped)]
    if not results:
        raise UserError(f"none of the {len(source)} images can be read: {': '.join(left_out[0])}")
    return evaluation_of(
        [results[number] for number in sorted(results)], ensemble.classes, left_out
    )


def share(num_images: int, processes: Processes) -> range:
    """The numbers of the images that this process measures; no two processes share one."""
    return range(processes.rank, num_images, processes.size)


def _measure(
    ensemble: Ensemble,
    source: ImageSource,
    numbers: Sequence[int],
    batch_size: int,
    progress: Callable[[int], None],
    skip_unreadable: bool,
    fast_decode: bool,
) -> ProcessResults:
    found = ProcessResults({}, {})
    read = partial(source.image, shorter_side=ensemble.needed_side if fast_decode else None)
    for number, answer in classify(numbers, read, ensemble, batch_size=batch_size):
        name = source.name(number)
        if isinstance(answer, UnreadableImage):
            if not skip_unreadable:
                raise UserError(f"{name}: {answer}; --skip-unreadable leaves such images out")
            found.skipped[number] = (name, str(answer))
        elif np.isfinite(answer).all():
            found.results[number] = image_result(name, source.label(number), answer)
        else:
            raise UserError(f"{name}: {DAMAGED}")
        progress(1)
    return found
