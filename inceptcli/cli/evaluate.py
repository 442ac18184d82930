"""`inceptcli eval`: how good weights are on labelled images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from typer import Argument, Option, echo

from inceptcli.cli.names import complete_weights
from inceptcli.errors import UsageError
from inceptcli.progress.display import Display
from inceptcli.text import printable

if TYPE_CHECKING:
    from inceptcli.data.sources import ImageSource
    from inceptcli.evaluation.evaluate import Evaluation
    from inceptcli.weights.metadata import WeightsMetadata

EPILOG = """Examples:

\b
  inceptcli eval runs/flowers --data flowers
  inceptcli eval model.safetensors --data flowers/val --format json
  inceptcli eval iv4-tf:imagenet --data imagenet/val
"""


def evaluate(
    weights: Annotated[
        str,
        Argument(
            metavar="NAME|FILE|RUN",
            autocompletion=complete_weights,
            help="Weights file or run directory, or published weights: imagenet or ens-adv of "
            "irv2-tf, iv4-tf:imagenet.",
        ),
    ],
    data: Annotated[
        Path | None,
        Option(
            help="Folder of class folders, or one with val/; default: the validation pictures of "
            "`shapes`, for weights trained on them."
        ),
    ] = None,
    batch_size: Annotated[int, Option(min=1, help="Images at a time.")] = 32,
    device: Annotated[str, Option(help="auto, cpu, cuda, cuda:1, ...")] = "auto",
    format: Annotated[
        Literal["table", "json"], Option(help="What to print: for people, or for programs.")
    ] = "table",
    skip_unreadable: Annotated[
        bool,
        Option(
            "--skip-unreadable",
            help="Leave out images that cannot be read and say which; default: fail.",
        ),
    ] = False,
    quiet: Annotated[bool, Option("--quiet", help="No progress; default: off.")] = False,
) -> None:
    """Measure accuracy and loss on labelled images.

    JSON has images, top1, top5, loss, per_class (class, name, images, top1) and skipped (path,
    reason); accuracies are fractions of 1, the loss is the mean cross entropy. What was skipped
    counts nowhere else and leaves the exit code 0.
    """
    from inceptcli.weights.file import read_metadata
    from inceptcli.weights.published import find

    path = find(weights, None if quiet else lambda line: echo(printable(line), err=True))
    source = _source(read_metadata(path), data, path)

    from inceptcli.evaluation.evaluate import evaluate as measure
    from inceptcli.prediction.engine import load_engine

    engine = load_engine(path, device)
    with Display(quiet).task("eval", len(source)) as task:
        result = measure(engine, source, batch_size, task.advance, skip_unreadable)
    for name, reason in result.skipped:
        echo(f"skipped {printable(name)}: {reason}", err=True)
    if result.skipped:
        echo(f"{len(result.skipped)} of {len(source)} images skipped", err=True)
    echo(_as_json(result) if format == "json" else _as_table(result))


def _source(metadata: WeightsMetadata, data: Path | None, weights: Path) -> ImageSource:
    from inceptcli.data.folders import labelled_for
    from inceptcli.data.shapes import CLASSES, Shapes
    from inceptcli.data.sources import FolderSource
    from inceptcli.recipe.schema import check

    if data is not None:
        return FolderSource(labelled_for(data, [name.id for name in metadata.classes]))
    if tuple(name.id for name in metadata.classes) != CLASSES or metadata.recipe is None:
        raise UsageError(f"{weights}: not trained on `shapes`; give --data FOLDER")
    trained = check(metadata.recipe, str(weights))
    size = metadata.preprocessing.image_size
    return Shapes(trained.trainer.seed, trained.data.val_size, size, "val")


def _as_json(result: Evaluation) -> str:
    per_class = [
        {
            "class": entry.name.id,
            "name": entry.name.name,
            "images": entry.images,
            "top1": entry.top1,
        }
        for entry in result.per_class
    ]
    values = {
        "images": result.images,
        "top1": result.top1,
        "top5": result.top5,
        "loss": result.loss,
        "per_class": per_class,
        "skipped": [{"path": name, "reason": reason} for name, reason in result.skipped],
    }
    return json.dumps(values, indent=2)


def _as_table(result: Evaluation) -> str:
    lines = [
        f"{result.images} images: top-1 {result.top1:.2%}, top-5 {result.top5:.2%}, "
        f"loss {result.loss:.4f}",
        "",
        f"{'top-1':>8}  {'images':>7}  class",
    ]
    for entry in result.per_class:
        share = "-" if entry.top1 is None else f"{entry.top1:.2%}"
        lines.append(f"{share:>8}  {entry.images:>7}  {printable(entry.name.name)}")
    return "\n".join(lines)
