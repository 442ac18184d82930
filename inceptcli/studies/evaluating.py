"""Evaluate the trained networks of a study as `eval` does: with crops and as ensembles."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from inceptcli.data.pixels.decode import UnreadableImage
from inceptcli.data.pixels.shapes import Shapes
from inceptcli.data.selected_images import SelectedImages
from inceptcli.data.sources import ImageSource, only_label
from inceptcli.errors import UserError
from inceptcli.evaluation.bootstrap import RESAMPLES, Interval, mean_intervals
from inceptcli.evaluation.evaluate import EvaluationRequest
from inceptcli.evaluation.images import Wanted
from inceptcli.files.atomic_file import replacing
from inceptcli.files.regular_file import read_regular, sha256_of
from inceptcli.prediction.ensemble import DAMAGED, Ensemble, EnsembleRequest, averaged
from inceptcli.prediction.predict import examine
from inceptcli.progress.display import Display
from inceptcli.recipe.study import EVALUATED, Comparison, Study
from inceptcli.studies.runs import StudyResult
from inceptcli.text import number_of, printable

logger = logging.getLogger(__name__)

FOLDER = "evaluations"
"""Folder beside the runs; a file for each evaluation and seed."""

MAXIMUM_BYTES = 64 * 2**20


class Evaluated(NamedTuple):
    """Evaluation of the networks of one seed: its images, and whether each was predicted right.

    None stands for an image that could not be read.
    """

    arm: str
    seed: int
    of: Sequence[str]
    crops: int
    weights: Sequence[str]
    images: Sequence[str]
    right: Sequence[bool | None] = ()

    @property
    def error(self) -> float:
        """Top-1 error of the images that could be read, 0 to 1."""
        return 1 - sum(map(bool, self.right)) / self.measured

    @property
    def measured(self) -> int:
        """Number of images that could be read."""
        return len(self.right) - self.right.count(None)

    def as_dict(self) -> dict[str, Any]:
        """Return what the JSON of a study has of it."""
        kept = {"arm": self.arm, "seed": self.seed, "of": self.of, "crops": self.crops}
        return {**kept, "images": self.measured, "error": self.error}


def evaluate_all(study: Study, results: Sequence[StudyResult], output: Path) -> list[Evaluated]:
    """Evaluate every evaluation of the study for each seed; those that were done are read.

    Images that cannot be read are left out. Raises UserError if a run has no weights, or if more
    images than its data.max_skipped allows, or all, cannot be read.
    """
    found = []
    for seed in study.seeds:
        runs = {result.run.arm: result for result in results if result.run.seed == seed}
        done: dict[str, Evaluated] = {}
        for crops in dict.fromkeys(each.crops for each in study.evaluations.values()):
            alike = {name: e.of for name, e in study.evaluations.items() if e.crops == crops}
            members = {arm: runs[arm] for of in alike.values() for arm in of}
            for each in _evaluate(alike, members, crops, output / FOLDER, study.evaluated_images):
                done[each.arm] = each
                logger.info(f"{each.arm}, seed {seed}: {EVALUATED} {each.error:.1%}")
        found += [done[name] for name in study.evaluations]
    return found


def _evaluate(
    evaluations: Mapping[str, Sequence[str]],
    members: Mapping[str, StudyResult],
    crops: Any,
    output: Path,
    number: int | None,
) -> list[Evaluated]:
    """Return evaluations by name, each of some `members`; those that no file keeps in one pass."""
    for member in members.values():
        if member.failure is not None:
            raise UserError(
                f"{member.run.name}: has no weights to evaluate, since {member.failure}"
            )
    folders = tuple(str(member.run.folder) for member in members.values())
    job = EvaluationRequest(EnsembleRequest(folders, crops), Wanted(None)).prepare()
    source = spaced(job.images.source, number)
    seed = next(iter(members.values())).run.seed
    # Each seed draws other shapes, under the same names.
    place = f"seed {seed}: " if isinstance(job.images.source, Shapes) else ""
    images = tuple(f"{place}{source.name(index)}" for index in range(len(source)))
    digests = dict(zip(members, map(sha256_of, job.networks.files), strict=True))
    asked = [
        Evaluated(name, seed, of, crops, tuple(digests[arm] for arm in of), images)
        for name, of in evaluations.items()
    ]
    files = [output / f"{each.arm}-seed-{seed}.json" for each in asked]
    kept = [_kept(file, each) for file, each in zip(files, asked, strict=True)]
    found = [each for each in kept if each is not None]
    if len(found) == len(asked):
        return found
    places = [[list(members).index(arm) for arm in each.of] for each in asked]
    recipe = next(iter(members.values())).run.recipe
    allowed = min(len(source) - 1, max(1, int(recipe.data.max_skipped * len(source))))
    name = f"{crops} crops, seed {seed}"
    right = _measured(job.networks.load(), source, places, allowed, name)
    found = [each._replace(right=of_set) for each, of_set in zip(asked, right, strict=True)]
    output.mkdir(exist_ok=True)
    for file, each in zip(files, found, strict=True):
        with replacing(file) as temporary:
            temporary.write_text(json.dumps(each._asdict()))
    return found


def _measured(
    ensemble: Ensemble,
    source: ImageSource,
    sets: Sequence[Sequence[int]],
    allowed: int,
    name: str,
) -> list[tuple[bool | None, ...]]:
    """Return for each set of networks whether it predicts each image right, None if unreadable.

    Raises UserError if more than `allowed` images are unreadable.
    """
    right: list[list[bool | None]] = [[] for _ in sets]
    numbers = range(len(source))
    unreadable = []
    with Display().task(name, len(source)) as task:
        for number, seen in examine(numbers, source.image, ensemble):
            if isinstance(seen, UnreadableImage):
                unreadable.append(f"{source.name(number)}: {seen}")
                for found in right:
                    found.append(None)
                task.advance(1)
                continue
            answer = seen.of_networks
            assert answer is not None
            if not np.isfinite(answer).all():
                raise UserError(f"{source.name(number)}: {DAMAGED}")
            label = only_label(source, number)
            for found, places in zip(right, sets, strict=True):
                found.append(int(averaged(answer, places).argmax()) == label)
            task.advance(1)
    if unreadable:
        left_out = f"{len(unreadable)} of {number_of(len(source), 'image')} could not be read"
        if len(unreadable) > allowed:
            raise UserError(f"{name}: {left_out}, of at most {allowed}: {unreadable[0]}")
        logger.info(f"{name}: left out, since {left_out}: {printable(unreadable[0])}")
    return [tuple(found) for found in right]


def _kept(file: Path, asked: Evaluated) -> Evaluated | None:
    """Return what a file keeps of this evaluation.

    None if it is missing, damaged, of another, or lacks images, which may be readable now.
    """
    try:
        kept = Evaluated(**json.loads(read_regular(file, MAXIMUM_BYTES)))
        right = tuple(value is True for value in kept.right if value is not None)
        found = kept._replace(weights=tuple(kept.weights), images=tuple(kept.images), right=right)
    except (OSError, LookupError, TypeError, ValueError):
        return None
    return found if found._replace(right=()) == asked and len(right) == len(asked.images) else None


def spaced(source: ImageSource, number: int | None) -> ImageSource:
    """Return about `number` images, evenly spaced, so that all classes have their share."""
    if number is None or number >= len(source):
        return source
    chosen = tuple(int(at) for at in np.linspace(0, len(source) - 1, number).round())
    return SelectedImages(source, chosen, tuple((only_label(source, at),) for at in chosen))


def interval_over_images(comparison: Comparison, evaluated: Sequence[Evaluated]) -> Interval | None:
    """Return the 95 % interval of a difference from a paired bootstrap of the images.

    An image counts with its mean over the seeds: the interval is that of the difference of these
    networks on other images. None if the seeds do not share their images.
    """
    if len({tuple(each.images) for each in evaluated}) > 1:
        return None
    read = [None not in seen for seen in zip(*(each.right for each in evaluated), strict=True)]
    signs = dict[str, int]()
    for arm, sign in comparison.weights:
        signs[arm] = signs.get(arm, 0) + sign
    wrong = [
        signs[each.arm] * (1.0 - np.array(each.right)[read].astype(float))
        for each in evaluated
        if each.arm in signs
    ]
    seeds = len({each.seed for each in evaluated})
    differences = np.sum(wrong, axis=0) / seeds
    (interval,) = mean_intervals(differences[:, None], range(len(differences)), RESAMPLES)
    return interval
