"""Measure accuracy and loss on labeled images, with the same code as `predict`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from inceptcli.data.folders import positions
from inceptcli.data.pixels.decode import UnreadableImage
from inceptcli.data.selected_images import has_several_labels, several_labels
from inceptcli.data.sources import ImageSource, is_multi_label, only_label
from inceptcli.errors import UsageError, UserError
from inceptcli.evaluation.bootstrap import WeightedMean, bootstrap_intervals, group_numbers
from inceptcli.evaluation.class_measures import LabeledPredictions, class_measures
from inceptcli.evaluation.comparison import Sides, compare, members_of
from inceptcli.evaluation.coverage import measure_sets
from inceptcli.evaluation.images import (
    MeasuredImages,
    Wanted,
    has_selected,
    images_to_measure,
    with_notes_of_training,
)
from inceptcli.evaluation.measure_options import DEFAULT_MEASURES, MeasureOptions
from inceptcli.evaluation.measures import (
    Evaluation,
    ImageResult,
    Origin,
    evaluation_of,
    image_result,
    labeled_predictions,
)
from inceptcli.evaluation.multi_label import (
    MultiLabelEvaluation,
    evaluation_of_labels,
    with_intervals,
)
from inceptcli.evaluation.processes import Processes
from inceptcli.evaluation.submission import Ranking, Submission, submission_of
from inceptcli.evaluation.two_classes import positive_class, two_classes
from inceptcli.prediction.ensemble import (
    DAMAGED,
    Ensemble,
    EnsembleFiles,
    EnsembleRequest,
    averaged,
    check_same_classes,
)
from inceptcli.prediction.predict import examine
from inceptcli.prediction.sets import SetRule, set_rule
from inceptcli.prediction.thresholds import UNKNOWN
from inceptcli.progress.display import doing
from inceptcli.text import printable
from inceptcli.weights.calibration import Calibration
from inceptcli.weights.header import LONGEST_TEXT

USUAL_COVERAGE = 0.95
WITHOUT_LABELS = "the images have no labels, so only --submission is written"

logger = logging.getLogger(__name__)


class ProcessResults(NamedTuple):
    """Results of one process, by image number; `probabilities` has a row for each of `results`.

    An image has a result for each of Sides.means; the probabilities are those of the first.
    """

    results: dict[int, tuple[ImageResult, ...]]
    probabilities: NDArray[np.float64]
    skipped: dict[int, tuple[str, str]]


@dataclass(frozen=True)
class EvaluationRequest:
    """One evaluation: networks, images, and whether unreadable images may be skipped.

    `against` names other weights to compare with; several form an ensemble.
    """

    networks: EnsembleRequest
    images: Wanted
    skip_unreadable: bool = False
    against: tuple[str, ...] | None = None
    options: MeasureOptions = DEFAULT_MEASURES

    def prepare(self) -> Prepared:
        """Find weights and images; no torch.

        Raises UsageError or UserError if they are missing or do not match.
        """
        leaving = {
            "--exclude": self.images.exclude,
            "--labels": self.images.labels,
            "--classes": self.networks.classes,
        }
        flag = next((flag for flag, value in leaving.items() if value is not None), None)
        if flag and self.images.submission:
            raise UsageError(f"{flag}: may leave out images, but a submission has a line for each")
        networks, sides, alone = self._find()
        if self.options.coverage is not None:
            measured = [networks.metadata[place].calibration for place in sides.measured]
            outputs = networks.metadata[0].outputs
            set_rule(self.options.coverage, alone, measured, outputs)
        weights = list(zip(networks.files, networks.metadata, strict=True))
        with doing("looking through the images"):
            found = images_to_measure(self.images, weights, self.options.group)
        labels, about = self.images.labels, networks.metadata[0]
        if labels is not None and about.is_multi_label:
            raise UsageError(
                f"--labels {labels}: is for weights with one label per image; give "
                "the labels of multi-label data as --data FILE.csv"
            )
        if is_multi_label(found.source):
            self._check_multi_label(networks)
            positive = None
        else:
            positive = positive_class(self.options, networks.classes)
        asked = networks.request
        submission = None
        if self.images.submission:
            self._check_submission(found)
            submission = submission_of(found.source, networks.classes)
            found = found._replace(notes=(*found.notes, *submission.notes))
        if asked.classes is not None and networks.subset is not None:
            found = found.of_classes(asked.classes, networks.subset)
        found = with_notes_of_training(found, weights)
        flag = self.options.flag_for_two_classes
        if flag is not None and has_several_labels(found.source):
            raise UsageError(f"{flag}: needs one label for each image; {labels} accepts several")
        recorded = replace(
            asked.recorded,
            labels=None if labels is None else printable(labels),
            # Without multi-label images, it is that of two classes, which has a place in results.
            threshold=self.options.threshold if is_multi_label(found.source) else None,
        )
        origin = Origin(
            self.networks.weights, found.data, asked.crops, found.excluded, recorded, found.split,
            self.against or (), found.unlabeled, found.of_other_classes,
            any(has_selected(networks.metadata[place], found) for place in sides.measured),
        )  # fmt: skip
        return Prepared(self, networks, found, origin, sides, positive, alone, submission)

    def _check_submission(self, found: MeasuredImages) -> None:
        """Raise UsageError for multi-label data, and for options that need missing labels."""
        if is_multi_label(found.source):
            raise UsageError("--submission: is for images with one label, not multi-label data")
        options = {f"--{name.replace('_', '-')}": at for name, at in vars(self.options).items()}
        needing = {} if found.has_labels else {"--against": self.against, **options}
        if flag := next((flag for flag, value in needing.items() if value is not None), None):
            raise UsageError(f"{flag}: {WITHOUT_LABELS}")

    def _check_multi_label(self, networks: EnsembleFiles) -> None:
        """Raise UsageError if the weights or an option do not fit multi-label images."""
        if networks.metadata[0].outputs == "softmax":
            raise UsageError(
                f"{self.networks.weights[0]}: has softmax outputs, for one label per image, but "
                "the images have any number; train with loss.name binary, or give a column label"
            )
        options = replace(self.options, threshold=None, bootstrap=None, group=None)
        given = {"--against": self.against, "--classes": self.networks.classes}
        given |= {f"--{name.replace('_', '-')}": value for name, value in vars(options).items()}
        if flag := next((flag for flag, value in given.items() if value is not None), None):
            raise UsageError(f"{flag}: is for images with one label each, not multi-label data")

    def _find(self) -> tuple[EnsembleFiles, Sides, EnsembleRequest]:
        """Find all weights; those on both sides are loaded once, so that they give the same bits.

        All networks get every image in one pass, and an unreadable image counts for neither side.
        Also return the request of the measured networks alone: options that change nothing in them
        may change others.
        """
        networks = self.networks.find()
        places = {file.resolve(): place for place, file in enumerate(networks.files)}
        files, metadata = [*networks.files], [*networks.metadata]
        measured = tuple(range(len(files)))
        if self.against is None:
            sides = Sides(measured, names=self.networks.weights)
            return networks, sides, networks.request
        others = replace(self.networks, weights=self.against).find()
        names = [*self.networks.weights]
        for name, file, about in zip(self.against, others.files, others.metadata, strict=True):
            if places.setdefault(file.resolve(), len(files)) == len(files):
                check_same_classes([(names[0], metadata[0]), (f"--against {name}", about)])
                names.append(name)
                files.append(file)
                metadata.append(about)
        against = tuple(places[file.resolve()] for file in others.files)
        changes = others.request.recorded.preprocessing
        request = replace(networks.request, weights=tuple(names), **changes)
        sides = Sides(measured, against, request.weights)
        return EnsembleFiles(request, files, metadata), sides, networks.request


class Prepared(NamedTuple):
    """An evaluation with its weights and images found; `origin` describes it in results.

    `positive` is the index of the positive class if there are two classes. `alone` is the request
    without the networks to compare with, `submission` the rule of --submission, if given.
    """

    request: EvaluationRequest
    networks: EnsembleFiles
    images: MeasuredImages
    origin: Origin
    sides: Sides
    positive: int | None
    alone: EnsembleRequest
    submission: Submission | None = None

    @property
    def notes(self) -> tuple[str, ...]:
        """What people should know about the images before they read the measures."""
        calibrations = [self.networks.metadata[place].calibration for place in self.sides.measured]
        own = self.images.sha256 if any(calibrations) else None
        if any(c is not None and self._is_of(c, own) for c in calibrations):
            note = "the weights were calibrated on these images, too; others show the true coverage"
            return *self.images.notes, note
        return self.images.notes

    def _is_of(self, calibration: Calibration, sha256: str | None) -> bool:
        """Return whether a calibration is certain to be of the images, whose hash is `sha256`."""
        if sha256 is not None or calibration.images_sha256 is not None:
            return sha256 == calibration.images_sha256
        images = self.images  # drawn and remote ones have the same name in every folder
        return (images.data[:LONGEST_TEXT], images.split) == (calibration.data, calibration.split)

    @property
    def is_multi_label(self) -> bool:
        """Whether `measure_labels` measures the images, not `measure`."""
        return is_multi_label(self.images.source)

    def rank(
        self, processes: Processes, ensemble: Ensemble, progress: Callable[[int], None]
    ) -> Ranking:
        """Rank the classes of images without labels for `submission`; raises as `evaluate`."""
        assert self.submission is not None
        source, best_of = self.images.source, self.submission.best
        numbers = share(len(source), processes)

        def work() -> tuple[dict[int, tuple[int, ...]], dict[int, tuple[str, str]]]:
            best, skipped = dict[int, tuple[int, ...]](), dict[int, tuple[str, str]]()
            answers = self._pass(ensemble, progress).answers(numbers)
            for number, answer in answers:
                if isinstance(answer, UnreadableImage):
                    skipped[number] = (source.name(number), str(answer))
                else:
                    best[number] = best_of(averaged(answer))
            return best, skipped

        parts = processes.gather(work)
        left_out = dict(item for _, skipped in parts for item in skipped.items())
        images = {source.name(n): labels for best, _ in parts for n, labels in best.items()}
        _check_readable(images, [left_out[number] for number in sorted(left_out)])
        return Ranking(images, [left_out[number] for number in sorted(left_out)])

    def measure_labels(
        self, processes: Processes, ensemble: Ensemble, progress: Callable[[int], None]
    ) -> MultiLabelEvaluation:
        """Measure multi-label images; see `evaluate_labels` and `measure`."""
        options = self.request.options
        work = self._pass(ensemble, progress)
        found = evaluate_labels(work, processes, options.threshold)
        if options.bootstrap is None or processes.rank > 0:
            return found
        with doing("drawing bootstrap resamples"):
            return with_intervals(found, options.bootstrap, options.group, self.images.group_of)

    def measure(
        self, processes: Processes, ensemble: Ensemble, progress: Callable[[int], None]
    ) -> Evaluation:
        """Measure the images; see `evaluate`. Only the first process draws bootstrap resamples."""
        options, group_of = self.request.options, self.images.group_of
        if processes.rank > 0:
            options = replace(options, bootstrap=None, group=None)
        found = evaluate(self._pass(ensemble, progress), processes)
        if (rule := self._set_rule(ensemble)) is not None:
            sets = measure_sets(found.images, found.probabilities, rule)
            found = replace(found, sets=sets)
        with doing("drawing bootstrap resamples"):
            return with_options(found, options, self.positive, group_of)

    def _pass(self, ensemble: Ensemble, progress: Callable[[int], None]) -> Pass:
        skip, fast = self.request.skip_unreadable, self.request.networks.fast_decode
        return Pass(ensemble, self.images.source, progress, self.sides, skip, fast)

    def _set_rule(self, ensemble: Ensemble) -> SetRule | None:
        """Return the rule of the prediction sets; None if no calibration holds for them."""
        asked, networks = self.request.options.coverage, self.alone
        calibrations = [ensemble.calibrations[place] for place in self.sides.measured]
        if asked is not None or not any(calibrations):
            return set_rule(asked, networks, calibrations)
        try:
            return set_rule(USUAL_COVERAGE, networks, calibrations)
        except UsageError as error:
            logger.info(f"no coverage is measured: {error}")
            return None


class Pass(NamedTuple):
    """One pass of networks over labeled images.

    Attributes:
        ensemble: Networks.
        source: Labeled images.
        progress: Called with the number of images just done.
        sides: The networks to measure, and those to compare them with.
        skip_unreadable: Skip images that cannot be read.
        fast_decode: Decode JPEGs at reduced size, no smaller than the networks need.
    """

    ensemble: Ensemble
    source: ImageSource
    progress: Callable[[int], None]
    sides: Sides
    skip_unreadable: bool = False
    fast_decode: bool = False

    def gathered(self, processes: Processes) -> tuple[ProcessResults, list[tuple[str, str]]]:
        """Return the results of all processes in the order of the images, and skipped images."""
        numbers = share(len(self.source), processes)
        found = _joined(processes.gather(partial(self._results, numbers)))
        left_out = [found.skipped[number] for number in sorted(found.skipped)]
        _check_readable(found.results, left_out)
        return found, left_out

    def answers(
        self, numbers: Sequence[int]
    ) -> Iterator[tuple[int, NDArray[np.float64] | UnreadableImage]]:
        """Yield each image's number and its probabilities (networks, num_classes), or its error.

        Raises UserError for an unreadable image unless `skip_unreadable`, and for damaged weights.
        """
        ensemble, source = self.ensemble, self.source
        needed_side = ensemble.needed_side if self.fast_decode else None
        read = partial(source.image, shorter_side=needed_side)
        for number, seen in examine(numbers, read, ensemble):
            name = source.name(number)
            if isinstance(seen, UnreadableImage):
                if not self.skip_unreadable:
                    raise UserError(f"{name}: {seen}; --skip-unreadable skips such images")
                yield number, seen
            else:
                answer = seen.of_networks
                assert answer is not None
                if not np.isfinite(answer).all():
                    raise UserError(f"{name}: {_damage(answer, self.sides)}")
                yield number, answer
            self.progress(1)

    def _results(self, numbers: Sequence[int]) -> ProcessResults:
        source = self.source
        results: dict[int, tuple[ImageResult, ...]] = {}
        skipped: dict[int, tuple[str, str]] = {}
        probabilities = np.empty((len(numbers), len(self.ensemble.classes)))
        for number, answer in self.answers(numbers):
            name = source.name(number)
            if isinstance(answer, UnreadableImage):
                skipped[number] = (name, str(answer))
                continue
            means = [averaged(answer, networks) for networks in self.sides.means]
            probabilities[len(results)] = means[0]
            label = source.label(number)
            several = several_labels(source, number)
            # Multi-label data has no results of single images: probabilities and labels suffice.
            results[number] = (
                tuple(image_result(name, label, mean, several) for mean in means)
                if isinstance(label, int)
                else ()
            )
        return ProcessResults(results, probabilities[: len(results)], skipped)


def evaluate(work: Pass, processes: Processes) -> Evaluation:
    """Measure every image once, divided among joined `processes`; all get the result.

    Raises UserError that names an image that cannot be read; with `skip_unreadable` only if no
    image can be read. Also raises it if a network's output is not finite. Raises UsageError for
    multi-label data; see `evaluate_labels`.
    """
    only_label(work.source, 0)
    sides = work.sides
    found, left_out = work.gathered(processes)
    results = dict(zip(sides.means, zip(*found.results.values(), strict=True), strict=True))
    whole = results[sides.measured]
    measured = evaluation_of(whole, found.probabilities, work.ensemble.classes, left_out)
    if len(sides.measured) > 1:
        alone = [results[number,] for number in sides.measured]
        without = [results[rest] for rest in sides.without_one]
        measured = replace(measured, members=members_of(whole, alone, without))
    if sides.against:
        places = (*sides.measured, *sides.against)
        kinds = {work.ensemble.engines[place].output_kind for place in places}
        against = compare(whole, results[sides.against], of_losses=len(kinds) == 1)
        measured = replace(measured, against=against)
    return measured


def evaluate_labels(
    work: Pass, processes: Processes, threshold: float | None = None
) -> MultiLabelEvaluation:
    """Measure multi-label images; `threshold` replaces those of the weights. See `evaluate`."""
    source, ensemble = work.source, work.ensemble
    found, left_out = work.gathered(processes)
    thresholds = ensemble.thresholds
    if threshold is not None or thresholds is None:
        thresholds = np.full(len(ensemble.classes), UNKNOWN if threshold is None else threshold)
    images = [(source.name(number), positions(source.label(number))) for number in found.results]
    return evaluation_of_labels(images, found.probabilities, thresholds, ensemble.classes, left_out)


def _check_readable(found: Sized, left_out: Sequence[tuple[str, str]]) -> None:
    """Raise UserError if all images were left out."""
    if not found:
        raise UserError(f"none of the {len(left_out)} images can be read: {': '.join(left_out[0])}")


def with_options(
    found: Evaluation,
    options: MeasureOptions,
    positive: int | None = None,
    group_of: Mapping[str, str] | None = None,
) -> Evaluation:
    """Add the measures that `options` ask for, and those of two classes.

    Args:
        found: Measures so far.
        options: Further ones.
        positive: Index of the positive class if there are two classes.
        group_of: Group of each image by path; by default each image is drawn by itself.
    """
    predictions = labeled_predictions(found.images, found.probabilities)
    one_label = found.has_one_label
    found = replace(found, top_k=options.top_k)
    if positive is not None and one_label:
        found = replace(found, two_classes=two_classes(predictions, positive, options))
    number = options.bootstrap
    if number is None:
        return found
    groups = group_numbers([image.path for image in found.images], group_of)
    measures = partial(class_measures, predictions)
    intervals = bootstrap_intervals(
        measures, _means(found, predictions), groups, number, options.group
    )
    if not one_label:
        intervals = intervals.of_images()
    against = found.against and compare(
        found.images,
        found.against.images,
        groups,
        number,
        of_losses=found.against.loss_difference is not None,
    )
    return replace(found, bootstrap=intervals, against=against)


def _means(found: Evaluation, predictions: LabeledPredictions) -> dict[str, WeightedMean]:
    """Return the measures that are shares of images or means."""
    every = np.ones(len(found.images))
    ranks = np.array([image.rank for image in found.images])
    means = {
        "top1": WeightedMean(ranks <= 1, every),
        "top5": WeightedMean(ranks <= 5, every),
        "loss": WeightedMean(np.array([image.loss for image in found.images]), every),
    }
    if found.top_k is not None:
        means["topk"] = WeightedMean(ranks <= found.top_k, every)
    if two := found.two_classes:
        positive = predictions.labels == two.positive
        negative = ~positive
        at_least = predictions.probabilities[:, two.positive] >= (two.threshold or 0)
        if two.threshold is None:  # undefined in all resamples
            positive, negative = np.zeros_like(positive), np.zeros_like(positive)
        means["sensitivity"] = WeightedMean(positive & at_least, positive)
        means["specificity"] = WeightedMean(negative & ~at_least, negative)
    return means


def _joined(parts: Sequence[ProcessResults]) -> ProcessResults:
    """Join the results of all processes, by ascending image number."""
    if len(parts) == 1:
        return parts[0]
    results: dict[int, tuple[ImageResult, ...]] = {}
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


def _damage(answer: NDArray[np.float64], sides: Sides) -> str:
    """Return a message that names the first of several networks whose output is not finite."""
    first = int(np.isfinite(answer).all(axis=-1).argmin())
    return f"{DAMAGED} ({sides.names[first]})" if len(sides.names) > 1 else DAMAGED
