"""Measure weights on labeled images: `inceptcli.evaluate`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Unpack

from inceptcli.data.open_data import Measured
from inceptcli.evaluation.evaluate import EvaluationRequest
from inceptcli.evaluation.images import Wanted
from inceptcli.evaluation.measure_options import MeasureOptions
from inceptcli.evaluation.measures import Evaluation
from inceptcli.evaluation.multi_label import MultiLabelEvaluation
from inceptcli.evaluation.processes import Processes
from inceptcli.jobs.arguments import check_given
from inceptcli.jobs.load import PathOrName, check_options, weights_names
from inceptcli.jobs.python_errors import python_errors
from inceptcli.prediction.ensemble import EnsembleOptions, EnsembleRequest
from inceptcli.progress.display import Display, notices


def evaluate(
    weights: PathOrName | Sequence[PathOrName],
    data: PathOrName | None = None,
    *,
    split: Measured | None = None,
    exclude: PathOrName | None = None,
    classes: PathOrName | None = None,
    coverage: float | None = None,
    labels: PathOrName | None = None,
    allow_outside: bool = False,
    skip_unreadable: bool = False,
    against: PathOrName | Sequence[PathOrName] | None = None,
    top_k: int | None = None,
    positive: str | int | None = None,
    threshold: float | None = None,
    sensitivity: float | None = None,
    specificity: float | None = None,
    bootstrap: int | None = None,
    group: str | None = None,
    progress: bool = False,
    **options: Unpack[EnsembleOptions],
) -> Evaluation | MultiLabelEvaluation:
    """Measure accuracy, loss and calibration on labeled images.

    Args:
        weights: as for `load`; several form an ensemble.
        data: folder of class folders, CSV file or tar shards; by default the images on which the
            run validated.
        split: "train", "val", "test" or "all"; by default "val" where the data has it.
        exclude: file that lists images to exclude.
        classes: file of the classes that compete, one per line; by default all.
        coverage: coverage of the prediction sets of calibrated weights; by default 0.95.
        labels: JSON file of the accepted labels of each image; by default those of `data`.
        allow_outside: allow paths outside the folder of a CSV file.
        skip_unreadable: skip images that cannot be read, and list them in `skipped`.
        against: other weights to compare with on the same images; several form an ensemble.
        top_k: report `topk`, the top-k accuracy, too.
        positive: id, name or number of the positive one of two classes; by default the second.
        threshold: probability from which an image is positive; by default 0.5. For multi-label
            images that of all classes; by default those of the weights.
        sensitivity: choose the threshold that reaches this sensitivity.
        specificity: choose the threshold that reaches this specificity.
        bootstrap: number of resamples for 95 % intervals of all measures, 100 to 10,000.
        group: column of the CSV file; whole groups are drawn.
        progress: show progress and notices on standard error.
        **options: crops, device and others, as for `load`.

    Returns:
        `top1`, `top5` (fractions, not percent) and `loss`, each with its 95 % interval,
        calibration, `per_class`, `confusion` and `images`. Averages over classes:
        `macro_precision`, `macro_recall`, `macro_f1`, `weighted_precision`, `weighted_f1`,
        `balanced_accuracy`, `kappa`, `matthews`, `auroc` and `average_precision`; None where
        undefined. `two_classes` has sensitivity and specificity, `bootstrap` the intervals.
        `coverage` and `mean_set_size` are None if the weights are not calibrated. For an
        ensemble `members` has `top1`, `loss` and `gain` of each network, in order. With `against`,
        `against` has the other weights' `top1` and `loss`, the differences with intervals,
        `mcnemar_p`, and the numbers of images `gained` and `lost`. Multi-label images instead
        give `average_precision` (mAP), `auroc`, `micro_f1`, `macro_f1`, `loss`, `per_class`,
        `images` and `bootstrap`.

    Raises:
        FileNotFoundError, ValueError, RuntimeError: as in `load`. Images that cannot be read raise
            RuntimeError.
    """
    check_options(options)
    check_given(data=data, exclude=exclude, classes=classes, labels=labels)
    with python_errors(), notices() if progress else nullcontext():
        subset = None if classes is None else Path(classes)
        networks = EnsembleRequest(weights_names(weights), classes=subset, **options)
        wanted = Wanted(
            None if data is None else os.fspath(data),
            split,
            None if exclude is None else Path(exclude),
            allow_outside,
            None if labels is None else Path(labels),
        )
        others = None if against is None else weights_names(against)
        measures = MeasureOptions(
            top_k,
            None if positive is None else str(positive),
            threshold,
            sensitivity,
            specificity,
            bootstrap,
            group,
            coverage,
        )
        job = EvaluationRequest(networks, wanted, skip_unreadable, others, measures).prepare()
        with Display().task("evaluate", len(job.images.source)) as task:
            measure = job.measure_labels if job.is_multi_label else job.measure
            return measure(Processes(), job.networks.load(), task.advance)
