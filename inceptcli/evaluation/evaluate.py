"""Measure accuracy and loss on labeled images, with the same code as `predict`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from inceptcli.data.pixels.decode import UnreadableImage
from inceptcli.data.sources import ImageSource
from inceptcli.errors import UserError
from inceptcli.evaluation.images import MeasuredImages, Wanted, images_to_measure
from inceptcli.evaluation.measures import (
    Evaluation,
    ImageResult,
    Origin,
    evaluation_of,
    image_result,
)
from inceptcli.evaluation.processes import Processes
from inceptcli.prediction.ensemble import DAMAGED, Ensemble, EnsembleFiles, EnsembleRequest
from inceptcli.prediction.predict import classify
from inceptcli.progress.display import doing


class ProcessResults(NamedTuple):
    """Results of one process, by image number; `probabilities` has a row for each of `results`."""

    results: dict[int, ImageResult]
    probabilities: NDArray[np.float64]
    skipped: dict[int, tuple[str, str]]


@dataclass(frozen=True)
class EvaluationRequest:
    """One evaluation: networks, images, and whether unreadable images may be skipped."""

    networks: EnsembleRequest
    images: Wanted
    skip_unreadable: bool = False

    def prepare(self) -> Prepared:
        """Find weights and images; no torch.

        Raises UsageError or UserError if they are missing or do not match.
        """
        networks = self.networks.find()
        with doing("looking through the images"):
            found = images_to_measure(
                self.images, list(zip(networks.files, networks.metadata, strict=True))
            )
        asked = self.networks
        origin = Origin(
            asked.weights, found.data, asked.crops, found.excluded, asked.recorded, found.split
        )
        return Prepared(self, networks, found, origin)


class Prepared(NamedTuple):
    """An evaluation with its weights and images found; `origin` describes it in results."""

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
    """Measure every image of `source` once, divided among joined `processes`; all get the result.

    Args:
        ensemble: Networks.
        source: Labeled images.
        batch_size: Number of crops that a network gets at once.
        progress: Called with the number of images just done.
        skip_unreadable: Skip images that cannot be read.
        processes: By default this process alone.
        fast_decode: Decode JPEGs at reduced size, no smaller than the networks need.

    Raises UserError that names an image that cannot be read; with `skip_unreadable` only if no
    image can be read. Also raises it if a network's output is not finite.
    """
    processes = processes or Processes()
    numbers = share(len(source), processes)

    def work() -> ProcessResults:
        return _measure(
            ensemble, source, numbers, batch_size, progress, skip_unreadable, fast_decode
        )

    found = _joined(processes.gather(work))
    left_out = [found.skipped[number] for number in sorted(found.skipped)]
    if not found.results:
        raise UserError(f"none of the {len(source)} images can be read: {': '.join(left_out[0])}")
    return evaluation_of([*found.results.values()], found.probabilities, ensemble.classes, left_out)


def _joined(parts: Sequence[ProcessResults]) -> ProcessResults:
    """Join the results of all processes, by ascending image number."""
    if len(parts) == 1:
        return parts[0]
    results: dict[int, ImageResult] = {}
    skipped: dict[int, tuple[str, str]] = {}
    for part in parts:
        results |= part.results
        skipped |= part.skipped
    numbers = sorted(results)
    probabilities = np.empty((len(numbers), parts[0].probabilities.shape[1]))
    for part in parts:
        probabilities[np.searchsorted(numbers, [*part.results])] = part.probabilities
    return ProcessResults({n: results[n] for n in numbers}, probabilities, skipped)


def share(num_images: int, processes: Processes) -> range:
    """Return the numbers of the images that this process measures; shares do not overlap."""
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
    results: dict[int, ImageResult] = {}
    skipped: dict[int, tuple[str, str]] = {}
    probabilities = np.empty((len(numbers), len(ensemble.classes)))
    read = partial(source.image, shorter_side=ensemble.needed_side if fast_decode else None)
    for number, answer in classify(numbers, read, ensemble, batch_size=batch_size):
        name = source.name(number)
        if isinstance(answer, UnreadableImage):
            if not skip_unreadable:
                raise UserError(f"{name}: {answer}; --skip-unreadable skips such images")
            skipped[number] = (name, str(answer))
        elif np.isfinite(answer).all():
            probabilities[len(results)] = answer
            results[number] = image_result(name, source.label(number), answer)
        else:
            raise UserError(f"{name}: {DAMAGED}")
        progress(1)
    return ProcessResults(results, probabilities[: len(results)], skipped)
