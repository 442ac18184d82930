"""`inceptcli eval`: measure weights on labeled images."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from typer import Argument, Option, echo

from inceptcli.cli.completion import complete_weights
from inceptcli.cli.options import (
    AllowOutside,
    BatchSize,
    Compile,
    Coverage,
    CropsFlag,
    Device,
    Devices,
    Exclude,
    FastDecode,
    OtherAntialias,
    OtherCropFraction,
    OtherImageSize,
    OtherInterpolation,
    OtherResize,
    PrecisionFlag,
    Quiet,
    SkipUnreadable,
    SplitFlag,
    antialias_of,
    checked_devices,
    image_size_of,
)
from inceptcli.cli.outputs import (
    OutputFiles,
    check_suffix,
    input_files,
    print_fitted,
    results_stream,
    say_written,
)
from inceptcli.errors import UsageError
from inceptcli.progress.display import Display, silence
from inceptcli.text import number_of

if TYPE_CHECKING:
    from inceptcli.evaluation.evaluate import Prepared
    from inceptcli.evaluation.measures import Evaluation, Origin
    from inceptcli.evaluation.multi_label import MultiLabelEvaluation
    from inceptcli.evaluation.submission import Ranking

    Result = Evaluation | MultiLabelEvaluation | Ranking

logger = logging.getLogger(__name__)

EPILOG = """Examples:

\b
  inceptcli eval runs/flowers
  inceptcli eval runs/flowers --data flowers --split test
  inceptcli eval model.safetensors --data flowers/val --format json
  inceptcli eval runs/flowers --report flowers.html
  inceptcli eval runs/flowers --bootstrap 1000 --top-k 3
  inceptcli eval runs/retina --data test.csv --bootstrap 1000 --group patient --sensitivity 0.95
  inceptcli eval runs/b --against runs/a --data flowers --split test --predictions flips.csv
  inceptcli eval runs/flowers --data flowers/test --coverage 0.9
  inceptcli eval iv4-tf:imagenet --data imagenet/val --exclude blacklist.txt --crops 12
  inceptcli eval imagenet --data imagenet/val --image-size 331 --crop-fraction 0.95
  inceptcli eval imagenet --data imagenet-a --classes imagenet-a.txt
  inceptcli eval imagenet --data imagenet/val --labels real.json
  inceptcli eval iv4-tf:imagenet imagenet --data val.csv --crops 144 --predictions images.csv
  inceptcli eval iv4-tf:imagenet imagenet --data imagenet/test --crops 144 --submission test.txt
  torchrun --nproc-per-node=4 -m inceptcli eval imagenet --data imagenet/val
"""


def evaluate(
    weights: Annotated[
        list[str],
        Argument(
            metavar="NAME|FILE|RUN...",
            autocompletion=complete_weights,
            help="Weights: a weights file, a run directory, published weights (imagenet or ens-adv "
            "for irv2-tf, iv4-tf:imagenet) or hf-hub:owner/name[@revision]. Several form an "
            "ensemble, which averages the probabilities.",
        ),
    ],
    data: Annotated[
        str | None,
        Option(
            metavar="DIR|CSV|SHARDS",
            help="Labeled images: a folder of class folders, or one with train/, val/ and test/; "
            "the flat ILSVRC folder with labels.csv or val.txt; a CSV file of path,label; or tar "
            "shards such as 'shards/val-*.tar'. CSV files and shards may also be https://, s3://, "
            "gs:// or hf:// addresses. Default: the dataset of the run.",
        ),
    ] = None,
    split: SplitFlag = None,
    against: Annotated[
        list[str] | None,
        Option(
            metavar="NAME|FILE|RUN",
            autocompletion=complete_weights,
            help="Compare with other weights on the same images; repeated, they form an ensemble. "
            "Default: none.",
        ),
    ] = None,
    crops: CropsFlag = 1,
    labels: Annotated[
        Path | None,
        Option(
            metavar="FILE",
            help="JSON file of the accepted labels of each image, in place of those of --data: "
            "ReaL's real.json, or {path: [class, ...]}. A prediction is correct if it is one of "
            "them; images without any are left out. Default: none.",
        ),
    ] = None,
    exclude: Exclude = None,
    classes: Annotated[
        Path | None,
        Option(
            metavar="FILE",
            help="List of the classes that compete, one id (or name, or index) per line, as for "
            "ImageNet-A and -R; results record it. Images of other classes are left out. Default: "
            "all classes of the weights.",
        ),
    ] = None,
    allow_outside: AllowOutside = False,
    coverage: Coverage = None,
    batch_size: BatchSize = None,
    device: Device = "auto",
    devices: Devices = "1",
    precision: PrecisionFlag = "32-true",
    fast_decode: FastDecode = False,
    image_size: OtherImageSize = None,
    crop_fraction: OtherCropFraction = None,
    interpolation: OtherInterpolation = None,
    resize: OtherResize = None,
    antialias: OtherAntialias = None,
    compile_networks: Compile = False,
    top_k: Annotated[
        int | None,
        Option(metavar="K", help="Report top-K accuracy beside top-1 and top-5. Default: none."),
    ] = None,
    positive: Annotated[
        str | None,
        Option(
            metavar="CLASS",
            help="Positive one of two classes, for sensitivity and specificity: its id, name or "
            "number. Default: the second class.",
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        Option(
            metavar="P",
            help="Probability of the positive class, 0 to 1, from which an image is positive, or "
            "of each class of multi-label data. Default: 0.5, or those of the weights.",
        ),
    ] = None,
    sensitivity: Annotated[
        float | None,
        Option(
            metavar="S",
            help="Use the highest threshold with at least this sensitivity on these images, above "
            "0 and at most 1. Default: --threshold.",
        ),
    ] = None,
    specificity: Annotated[
        float | None,
        Option(
            metavar="S",
            help="Use the lowest threshold with at least this specificity on these images, above 0 "
            "and at most 1. Default: --threshold.",
        ),
    ] = None,
    bootstrap: Annotated[
        int | None,
        Option(
            metavar="N",
            help="Add 95 % intervals of all measures from N resamples of the images, 100 to 10000; "
            "seed 0. 1000 take 85 s of one core for "
            "50,000 images of 1,000 classes, and seconds for few classes. Default: none.",
        ),
    ] = None,
    group: Annotated[
        str | None,
        Option(
            metavar="COLUMN",
            help="With --bootstrap, draw whole groups: a column of the CSV file of labels, such as "
            "patient or site. Default: draw images.",
        ),
    ] = None,
    format: Annotated[Literal["table", "json"], Option(help="Output format.")] = "table",
    predictions: Annotated[
        Path | None, Option(metavar="FILE", help="Write a CSV file with one row per image.")
    ] = None,
    confusion: Annotated[
        Path | None,
        Option(
            metavar="FILE",
            help="Write the confusion matrix as CSV, one row per pair of label and prediction.",
        ),
    ] = None,
    report: Annotated[
        Path | None,
        Option(
            metavar="FILE",
            help="Write an HTML report: figures, calibration, confusion matrix, classes, mistakes; "
            "of multi-label data figures, classes and the images with the most wrong labels.",
        ),
    ] = None,
    submission: Annotated[
        Path | None,
        Option(
            metavar="FILE",
            help="Write the five best labels of each of ILSVRC's validation or test images in the "
            "form of its server: a line per image in the order of their numbers, labels 1 to 1000 "
            "in the order of the development kit. The images may lack labels.",
        ),
    ] = None,
    skip_unreadable: SkipUnreadable = False,
    quiet: Quiet = False,
) -> None:
    """Measure accuracy and loss on labeled images.

    A label in a CSV file is a class id (synset, folder), else a class name, else a class index from
    0. Paths are relative to the folder of the CSV file.

    Without --data, the validation images of the run are measured, as recorded in the weights. A
    warning is shown if the run was trained on images that are measured.

    JSON has images, split (train, val, test or all), top1, top5 and loss, each with its 95 %
    interval (top1_interval, ...), macro_precision, macro_recall, macro_f1, weighted_precision,
    weighted_f1, balanced_accuracy, kappa, matthews, auroc, average_precision (null where
    undefined), calibration_error, calibration (15 bins: low, high, images, probability, top1),
    crops, weights, excluded, per_class (class, name, images, top1, top1_interval, predicted,
    recall, precision, f1, auroc, average_precision), confusion (label, predicted, images) and
    skipped (path, reason). Prediction sets give coverage, coverage_interval, mean_set_size and
    coverage_level (0.95 without --coverage), and per_class the first three; they are null if the
    weights are not calibrated. Two classes add positive, threshold, sensitivity and specificity,
    --top-k adds top_k and topk. --bootstrap adds the interval of each measure (macro_f1_interval,
    ...) and bootstrap (resamples, seed, group, groups, and intervals of top1, top5, topk, loss).
    Accuracies are fractions of 1; the loss is the mean negative log-likelihood of the label.
    Skipped images count in no other figure, and the exit code stays 0. JSON and the CSV files have
    fast_decode: true only with --fast-decode, precision only if it is not 32-true, image_size,
    crop_fraction, interpolation, resize and antialias only if they are not the weights' own, and
    classes and labels only with these options. JSON also has the images that they leave out:
    of_other_classes (--classes) and unlabeled (--labels). If images accept several labels, the loss
    is that of the sum of their probabilities, measures that need one label are null, and
    --predictions has all labels, separated by semicolons.
    An ensemble adds members (weights, top1, loss, gain: the ensemble's top1 minus that without the
    member). --against adds against (weights, top1, difference, difference_interval, mcnemar_p,
    gained, lost, loss, loss_difference, loss_difference_interval, per_class): differences are
    WEIGHTS minus the others (that of the loss is null between softmax and sigmoid outputs), gained
    counts images that only WEIGHTS predict correctly, and --predictions has the others' predictions
    and a column flip (gained or lost).
    The report is a single self-contained page; its data is also in the JSON and in the CSV files of
    --predictions and --confusion.

    Multi-label images (a CSV file of path,labels or with a column of 0 and 1 per class) are
    measured by average_precision (mAP), auroc, micro_f1, macro_f1 and loss (binary cross-entropy);
    per_class has class, name, images, predicted, threshold, recall, precision, f1, auroc and
    average_precision; top1, top5, calibration and confusion are null. F1 is that at the thresholds
    of the weights, or at --threshold, which JSON and --predictions then have as threshold.
    --bootstrap adds the interval of each, and bootstrap. The report lists the images with the most
    wrong labels.

    --submission needs all images of ILSVRC's names up to the last number, and weights whose class
    ids are synsets. An unreadable image, with --skip-unreadable, has the labels 1 2 3 4 5, which a
    warning lists. Images in one folder without a label file, such as the test images, are not
    measured: JSON has images, split, crops, weights and skipped; top1, top5 and loss are null.

    Under torchrun or srun, the processes share the images, and only the first one prints.
    """
    from inceptcli.evaluation.processes import Processes

    _check_suffixes(predictions, confusion, report)
    check_suffix("--submission", submission, ".txt", ".txt.gz")
    processes = Processes.found()
    is_first = processes.rank == 0
    with processes.errors_reported_once(), ExitStack() as stack:
        from inceptcli.evaluation.evaluate import EvaluationRequest, share
        from inceptcli.evaluation.images import Wanted
        from inceptcli.evaluation.measure_options import MeasureOptions
        from inceptcli.prediction.ensemble import EnsembleRequest

        networks = EnsembleRequest(
            tuple(weights),
            crops,
            device,
            _devices(devices, processes.size),
            batch_size,
            precision,
            fast_decode,
            compile_networks,
            None if image_size is None else image_size_of(image_size),
            crop_fraction,
            interpolation,
            resize,
            antialias_of(antialias),
            classes=classes,
        )
        images = Wanted(data, split, exclude, allow_outside, labels, submission is not None)
        options = MeasureOptions(
            top_k, positive, threshold, sensitivity, specificity, bootstrap, group, coverage
        )
        silence(not is_first)
        others = tuple(against) if against else None
        job = EvaluationRequest(networks, images, skip_unreadable, others, options).prepare()
        source, origin = job.images.source, job.origin
        written = {"--predictions": predictions, "--confusion": confusion, "--report": report}
        _check_outputs(job, written)
        written["--submission"] = submission
        read = [*job.networks.files, *job.images.read]
        OutputFiles(written).check(input_files(read, data, source))
        outputs = _outputs(stack, written, job) if is_first else []
        for note in job.notes:
            logger.warning(note)
        stack.enter_context(processes.joined())
        ensemble = job.networks.load()
        with Display().task("eval", len(share(len(source), processes))) as task:
            measure = job.measure_labels if job.is_multi_label else job.measure
            work = measure if job.images.has_labels else job.rank
            result = work(processes, ensemble, task.advance)
        for write in outputs:
            write(result)
    if is_first:
        _say_written(written, result, len(source))
        _tell(result, origin, format)
        if job.submission and (loss := job.submission.loss(name for name, _ in result.skipped)):
            logger.warning(loss)


def _say_written(written: Mapping[str, Path | None], result: Result, images: int) -> None:
    from inceptcli.evaluation.measures import Evaluation

    pairs = len(result.confusion) if isinstance(result, Evaluation) else 0
    say_written(written["--predictions"], number_of(images, "image"))
    say_written(written["--confusion"], number_of(pairs, "pair"))
    say_written(written["--report"], number_of(len(result.images), "image"))
    say_written(written["--submission"], number_of(images, "line"))


def _devices(devices: str, processes: int) -> int | Literal["auto"]:
    found = checked_devices(devices)
    if processes > 1 and found != 1:
        raise UsageError(
            f"--devices {devices}: torchrun or srun gives each process one device; omit --devices"
        )
    return found


def _tell(result: Result, origin: Origin, form: str) -> None:
    """Log the skipped images, then print the figures on standard output."""
    from inceptcli.evaluation.measures import Evaluation
    from inceptcli.evaluation.multi_label import labels_as_json, labels_as_table
    from inceptcli.evaluation.submission import Ranking
    from inceptcli.evaluation.writers import as_table, evaluation_as_json

    for name, reason in result.skipped:
        logger.warning(f"skipped {name}: {reason}")
    if result.skipped:
        total = len(result.images) + len(result.skipped)
        logger.warning(f"{len(result.skipped)} of {total} images skipped")
    if isinstance(result, Evaluation):
        shown = evaluation_as_json if form == "json" else as_table
        text = shown(result, origin)
    elif isinstance(result, Ranking):
        text = result.as_json(origin) if form == "json" else result.as_table(origin)
    else:
        text = (labels_as_json if form == "json" else labels_as_table)(result, origin)
    if form == "json":
        echo(text)
    else:
        print_fitted(text)


def _check_outputs(job: Prepared, written: Mapping[str, Path | None]) -> None:
    """Raise UsageError for an output that needs labels, or one label for each image."""
    from inceptcli.data.selected_images import has_several_labels
    from inceptcli.evaluation.evaluate import WITHOUT_LABELS

    flag = next((flag for flag, file in written.items() if file is not None), None)
    if flag and not job.images.has_labels:
        raise UsageError(f"{flag} {written[flag]}: {WITHOUT_LABELS}")
    confusion = written["--confusion"]
    if job.is_multi_label and confusion is not None:
        raise UsageError("--confusion: is for images with one label each, not multi-label data")
    if confusion is not None and has_several_labels(job.images.source):
        raise UsageError(
            f"--confusion {confusion}: needs one label for each image; --labels accepts several"
        )


def _check_suffixes(predictions: Path | None, confusion: Path | None, report: Path | None) -> None:
    check_suffix("--predictions", predictions, ".csv", ".csv.gz")
    check_suffix("--confusion", confusion, ".csv", ".csv.gz")
    check_suffix("--report", report, ".html", ".htm")


def _outputs(
    stack: ExitStack, written: Mapping[str, Path | None], job: Prepared
) -> list[Callable[[Any], None]]:
    """Return one writer per output file; files are replaced when `stack` closes."""
    from inceptcli.evaluation.label_report import write_label_report
    from inceptcli.evaluation.multi_label import write_labels
    from inceptcli.evaluation.report import write_report
    from inceptcli.evaluation.writers import write_confusion, write_predictions

    origin = job.origin
    write_rows = write_labels if job.is_multi_label else write_predictions
    write_page = write_label_report if job.is_multi_label else write_report
    writers: dict[str, Callable[..., None]] = {
        "--predictions": partial(write_rows, recorded=origin.recorded),
        "--confusion": partial(write_confusion, recorded=origin.recorded),
        "--report": partial(write_page, source=job.images.source, origin=origin),
    }
    if job.submission is not None:
        writers["--submission"] = job.submission.write
    return [
        partial(writers[flag], stream=stack.enter_context(results_stream(file, flag)))
        for flag, file in written.items()
        if file is not None
    ]
