"""Calibrate weights on labeled images: `inceptcli.calibrate`."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Unpack

from inceptcli.data.open_data import Measured
from inceptcli.errors import UsageError, UserError
from inceptcli.evaluation.calibrating import Calibrated, calibrate_on
from inceptcli.evaluation.evaluate import EvaluationRequest, Prepared
from inceptcli.evaluation.images import Wanted, has_selected
from inceptcli.evaluation.processes import Processes
from inceptcli.files.atomic_file import replacing
from inceptcli.files.file_lock import lock
from inceptcli.files.no_follow import open_no_follow
from inceptcli.jobs.arguments import check_given
from inceptcli.jobs.load import PathOrName, check_options
from inceptcli.jobs.python_errors import python_errors
from inceptcli.prediction.engines.onnx_session import MappedFile
from inceptcli.prediction.ensemble import EnsembleOptions, EnsembleRequest
from inceptcli.progress.display import Display, notices
from inceptcli.text import number_of
from inceptcli.weights.calibration import COLDEST, HOTTEST
from inceptcli.weights.fetched.hub import hub_name
from inceptcli.weights.fetched.published import find_weights, published_name
from inceptcli.weights.file import copy_with_metadata, read_metadata
from inceptcli.weights.onnx_file import is_onnx

logger = logging.getLogger(__name__)


def calibrate(
    weights: PathOrName,
    data: PathOrName | None = None,
    *,
    output: PathOrName | None = None,
    split: Measured | None = None,
    exclude: PathOrName | None = None,
    allow_outside: bool = False,
    skip_unreadable: bool = False,
    progress: bool = False,
    **options: Unpack[EnsembleOptions],
) -> Calibrated:
    """Fit a temperature and thresholds of prediction sets, and write them into the weights.

    Args:
        weights: a run directory, weights file, published name or Hugging Face repository.
        data: labeled images that the network was not trained on, as for `evaluate`; by default the
            images on which the run validated.
        output: weights file to write; by default the weights themselves, if they are a run or a
            file.
        split: "train", "val", "test" or "all"; by default "val" where the data has it.
        exclude: file that lists images to exclude.
        allow_outside: allow paths outside the folder of a CSV file.
        skip_unreadable: skip images that cannot be read, and list them in `after.skipped`.
        progress: show progress and notices on standard error.
        **options: crops, device and others, as for `load`. Sets hold only with the same crops,
            precision and fast_decode.

    Returns:
        `calibration` (with `temperature`), and the evaluations of the images `before` and `after`.

    Raises:
        FileNotFoundError, ValueError, RuntimeError: as in `evaluate`.
    """
    check_options(options)
    check_given(weights=weights, data=data, output=output, exclude=exclude)
    with python_errors(), notices() if progress else nullcontext():
        networks = EnsembleRequest((os.fspath(weights),), **options)
        wanted = Wanted(
            None if data is None else os.fspath(data),
            split,
            None if exclude is None else Path(exclude),
            allow_outside,
        )
        request = EvaluationRequest(networks, wanted, skip_unreadable)
        job = prepare_calibration(request, None if output is None else Path(output))
        with Display().task("calibrate", len(job.evaluation.images.source)) as task:
            return job.run(task.advance)


@dataclass(frozen=True)
class CalibrationJob:
    """A calibration with its weights and images found; `output` is the file to write."""

    evaluation: Prepared
    weights: MappedFile
    output: Path

    def run(self, progress: Callable[[int], None]) -> Calibrated:
        """Measure the images, fit and write the calibration.

        Raises UserError if the weights are replaced meanwhile, or if the output cannot be written.
        """
        evaluation, source = self.evaluation, self.weights.path
        with ExitStack() as stack:
            try:
                temporary = stack.enter_context(replacing(self.output))
            except OSError as error:
                raise UsageError(f"{self.output}: cannot be written: {error.strerror}") from error
            ensemble = evaluation.networks.load()
            ensemble.calibrations = [None]
            found = calibrate_on(
                evaluation.measure(Processes(), ensemble, progress),
                evaluation.origin,
                evaluation.images.sha256,
            )
            if not found.is_fitted:
                logger.warning(unfitted(found))
            stack.enter_context(no_training(source if source == self.output else None))
            if not self.weights.is_unchanged():
                raise UserError(f"{source}: was replaced while it was measured; calibrate it again")
            try:
                calibrated = replace(read_metadata(source), calibration=found.calibration)
                copy_with_metadata(source, temporary, calibrated)
            except OSError as error:
                raise UserError(f"{self.output}: {error.strerror or error}") from error
        return found


def prepare_calibration(request: EvaluationRequest, output: Path | None) -> CalibrationJob:
    """Find weights and images; no torch.

    Raises UsageError or UserError if they are missing, do not match or cannot be calibrated.
    """
    (name,) = request.networks.weights
    if output is None and (hub_name(name) is not None or published_name(name) is not None):
        raise UsageError(f"{name}: shared weights are not changed; give --output FILE")
    file = MappedFile(find_weights(name))
    if read_metadata(file.path).outputs == "sigmoid":
        raise UsageError(
            f"{file.path}: has sigmoid outputs, as multi-label weights have; temperatures and "
            "prediction sets are for softmax outputs"
        )
    suffix = ".onnx" if is_onnx(file.path) else ".safetensors"
    if output is not None and output.suffix.lower() != suffix:
        raise UsageError(f"--output {output}: must end in {suffix}, as a copy of {file.path}")
    if output is None and file.path.is_symlink():
        target = file.path.resolve()
        raise UsageError(f"{file.path}: a link to {target}; calibrate that file, or give --output")
    with no_training(file.path if output is None else None):
        evaluation = request.prepare()
    images = evaluation.images
    if images.trained_on:
        raise UsageError(
            f"{images.trained_on[0]}; a calibration needs images that the network has not seen: "
            "give others as --data"
        )
    if has_selected(evaluation.networks.metadata[0], images):
        logger.warning(
            f"{file.path}: the run's best epoch was chosen on these images, so that new images may "
            "be covered slightly less often; other labeled images are better"
        )
    return CalibrationJob(evaluation, file, output or file.path)


@contextmanager
def no_training(weights: Path | None) -> Iterator[None]:
    """Keep a run from training while its weights are in use, if they belong to a run.

    Raises UsageError if it is training.
    """
    run_lock = None if weights is None else weights.parent / "lock"
    if run_lock is None or not run_lock.exists():
        yield
        return
    with open_no_follow(run_lock, "a") as file:
        try:
            lock(file)
        except BlockingIOError as error:
            raise UsageError(
                f"{run_lock.parent}: is being trained, and its next weights will have no "
                "calibration; calibrate it when it has ended, or give --output"
            ) from error
        yield


def unfitted(found: Calibrated) -> str:
    """Return why the temperature is not the one with the greatest likelihood."""
    count = number_of(len(found.before.images), "image")
    if found.calibration.temperature == HOTTEST:
        return (
            f"the network is hardly better than chance on {count}: the most likely temperature is "
            f"above the limit of {HOTTEST:g}"
        )
    if found.calibration.temperature == COLDEST:
        return (
            f"the probabilities are far too even on {count}: the most likely temperature is below "
            f"the limit of {COLDEST:g}"
        )
    return (
        f"no class is more probable than the label of any of {count}, so no temperature fits: the "
        "probabilities stay as they are (temperature 1); give more images"
    )
