"""`inceptcli eval`: how good weights are on labeled images."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from typer import Argument, Option, echo

from inceptcli.cli.completion import complete_weights
from inceptcli.cli.options import (
    BatchSize,
    Compile,
    Devices,
    FastDecode,
    PrecisionFlag,
    checked_devices,
)
from inceptcli.cli.outputs import (
    OutputFiles,
    check_suffix,
    number_of,
    print_fitted,
    results_stream,
    say_written,
)
from inceptcli.errors import UsageError
from inceptcli.progress.display import Display, hush, silence

if TYPE_CHECKING:
    from inceptcli.data.sources import ImageSource
    from inceptcli.evaluation.results import Evaluation, Origin

logger = logging.getLogger(__name__)

EPILOG = """Examples:

\b
  inceptcli eval runs/flowers
  inceptcli eval runs/flowers --data flowers --split test
  inceptcli eval model.safetensors --data flowers/val --format json
  inceptcli eval runs/flowers --report flowers.html
  inceptcli eval iv4-tf:imagenet --data imagenet/val --exclude blacklist.txt --crops 12
  inceptcli eval iv4-tf:imagenet imagenet --data val.csv --crops 144 --predictions images.csv
  torchrun --nproc-per-node=4 -m inceptcli eval imagenet --data imagenet/val
"""


def evaluate(
    weights: Annotated[
        list[str],
        Argument(
            metavar="NAME|FILE|RUN...",
            autocompletion=complete_weights,
            help="Weights file or run directory, or published weights: imagenet or ens-adv of "
            "irv2-tf, iv4-tf:imagenet; or hf-hub:owner/name[@revision]. Several are an ensemble: "
            "their probabilities are averaged.",
        ),
    ],
    data: Annotated[
        str | None,
        Option(
            metavar="DIR|CSV|SHARDS",
            help="Folder of class folders, or one with train/, val/, test/; ILSVRC's flat folder "
            "with labels.csv or val.txt; a CSV file of path,label; or tar shards such as "
            "'shards/val-*.tar'. CSV file and shards may be at https://, s3://, gs:// or hf:// "
            "addresses. Default: what the run was trained on.",
        ),
    ] = None,
    split: Annotated[
        Literal["train", "val", "test", "all"] | None,
        Option(
            help="Which images of the data: those of a split, or all of a folder without splits. "
            "Default: val, by folder, shards' names or the run's own --val-data or --val-fraction; "
            "else all.",
        ),
    ] = None,
    crops: Annotated[
        Literal[1, 10, 12, 144],
        Option(
            help="Crops of each image, whose probabilities are averaged: the weights' own; corners "
            "and center, mirrored; of one scale the center square's six, mirrored (the paper "
            "defines its 12 nowhere); GoogLeNet's 144."
        ),
    ] = 1,
    exclude: Annotated[
        Path | None,
        Option(
            metavar="FILE",
            help="Images to leave out, one a line: the number of an ILSVRC validation image, or a "
            "path; default: none.",
        ),
    ] = None,
    allow_outside: Annotated[
        bool, Option("--allow-outside", help="A CSV's paths may leave its folder; default: error.")
    ] = False,
    batch_size: BatchSize = None,
    device: Annotated[str, Option(help="auto, cpu, cuda, cuda:1, ...")] = "auto",
    devices: Devices = "1",
    precision: PrecisionFlag = "32-true",
    fast_decode: FastDecode = False,
    compile_networks: Compile = False,
    format: Annotated[
        Literal["table", "json"], Option(help="What to print: for people, or for programs.")
    ] = "table",
    predictions: Annotated[
        Path | None, Option(metavar="FILE", help="CSV to write, a line for each image.")
    ] = None,
    confusion: Annotated[
        Path | None,
        Option(metavar="FILE", help="CSV to write, a line for each pair of label and prediction."),
    ] = None,
    report: Annotated[
        Path | None,
        Option(
            metavar="FILE",
            help="HTML page to write: figures, calibration, confusion, classes, mistakes.",
        ),
    ] = None,
    skip_unreadable: Annotated[
        bool,
        Option(
            "--skip-unreadable",
            help="Leave out images that cannot be read and say which; default: fail.",
        ),
    ] = False,
    quiet: Annotated[
        bool, Option("--quiet", callback=hush, help="No progress; default: off.")
    ] = False,
) -> None:
    """Measure accuracy and loss on labeled images.

    The label of a CSV's row is a class's id (synset, folder), else its name, else its place from 0;
    paths are relative to the CSV's folder.

    Without --data it measures the validation images of the run, by the recipe in the weights; where
    a run was trained on images that are measured, a line says so.

    JSON has images, split (train, val, test or all), top1, top5 and loss, each with its interval of
    95 % (top1_interval, ...), calibration_error, calibration (15 bins: low, high, images,
    probability, top1), crops, weights, excluded, per_class (class, name, images, top1,
    top1_interval, predicted, precision), confusion (label, predicted, images) and skipped (path,
    reason); accuracies are fractions of 1, the loss is the mean of -log of the label's probability.
    What was skipped counts nowhere else and leaves the exit code 0. With --fast-decode, and only
    then, JSON and the CSV files have fast_decode, which is true, and with another --precision than
    32-true precision. The page of --report loads nothing from elsewhere; what it shows is in the
    JSON and in the CSV files of --predictions and --confusion too.

    Under torchrun or srun each image is measured by one process, and the first one speaks.
    """
    from inceptcli.evaluation.processes import Processes

    _check_suffixes(predictions, confusion, report)
    processes = Processes.found()
    is_first = processes.rank == 0
    with processes.errors_reported_once(), ExitStack() as stack:
        from inceptcli.evaluation.evaluate import EvaluationRequest, share
        from inceptcli.evaluation.images import Wanted
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
        )
        images = Wanted(data, split, exclude, allow_outside)
        if not is_first:
            silence()
        job = EvaluationRequest(networks, images, skip_unreadable).prepare()
        source, origin = job.images.source, job.origin
        written = {"--predictions": predictions, "--confusion": confusion, "--report": report}
        read = [*job.networks.files, *job.images.read]
        OutputFiles(written).check(_read(read, data, exclude, source))
        outputs: list[Callable[[Evaluation], None]] = []
        if is_first:
            outputs = _outputs(stack, predictions, confusion, report, source, origin)
        for note in job.images.notes:
            logger.warning(note)
        stack.enter_context(processes.joined())
        ensemble = job.networks.load()
        with Display().task("eval", len(share(len(source), processes))) as task:
            result = job.measure(processes, ensemble, task.advance)
        for write in outputs:
            write(result)
    if is_first:
        say_written(predictions, number_of(len(result.images) + len(result.skipped), "image"))
        say_written(confusion, number_of(len(result.confusion), "pair"))
        say_written(report, number_of(len(result.images), "image"))
        _tell(result, origin, format)


def _devices(devices: str, processes: int) -> int | Literal["auto"]:
    found = checked_devices(devices)
    if processes > 1 and found != 1:
        raise UsageError(f"--devices {devices}: under torchrun or srun each process has one")
    return found


def _tell(result: Evaluation, origin: Origin, form: str) -> None:
    """What was skipped, then the figures on standard output."""
    from inceptcli.evaluation.writers import as_table, evaluation_as_json

    for name, reason in result.skipped:
        logger.warning(f"skipped {name}: {reason}")
    if result.skipped:
        total = len(result.images) + len(result.skipped)
        logger.warning(f"{len(result.skipped)} of {total} images skipped")
    if form == "json":
        echo(evaluation_as_json(result, origin))
    else:
        print_fitted(as_table(result, origin))


def _read(
    files: Iterable[Path], data: str | None, exclude: Path | None, source: ImageSource
) -> Iterator[Path]:
    """All files that are read: `files` (weights, labels), lists, and images or shards."""
    from inceptcli.data.shards.files import CLASS_FILES
    from inceptcli.data.shards.index import index_path
    from inceptcli.data.shards.source import ShardSource
    from inceptcli.data.sources import FolderSource

    yield from files
    if exclude is not None:
        yield exclude
    folders = set() if data is None else {Path(data), Path(data).parent}
    if data is not None:
        yield Path(data)
    if isinstance(source, FolderSource):
        yield from source.images.paths
    if isinstance(source, ShardSource):
        yield from source.shards
        yield from map(index_path, source.shards)
        folders |= {folder for shard in source.shards for folder in shard.absolute().parents[:2]}
    for folder in folders:
        for name in CLASS_FILES:
            yield folder / name


def _check_suffixes(predictions: Path | None, confusion: Path | None, report: Path | None) -> None:
    check_suffix("--predictions", predictions, ".csv", ".csv.gz")
    check_suffix("--confusion", confusion, ".csv", ".csv.gz")
    check_suffix("--report", report, ".html", ".htm")


def _outputs(
    stack: ExitStack,
    predictions: Path | None,
    confusion: Path | None,
    report: Path | None,
    source: ImageSource,
    origin: Origin,
) -> list[Callable[[Evaluation], None]]:
    """What writes each file; the files take their places when `stack` ends."""
    from inceptcli.evaluation.report import write_report
    from inceptcli.evaluation.writers import write_confusion, write_predictions

    shortcuts = origin.shortcuts
    writes: list[Callable[[Evaluation], None]] = []
    for file, flag, write in (
        (predictions, "--predictions", partial(write_predictions, shortcuts=shortcuts)),
        (confusion, "--confusion", partial(write_confusion, shortcuts=shortcuts)),
        (report, "--report", partial(write_report, source=source, origin=origin)),
    ):
        if file is not None:
            stream = stack.enter_context(results_stream(file, flag))
            writes.append(partial(write, stream=stream))
    return writes
