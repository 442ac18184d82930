"""`inceptcli train`: train a network from a recipe and flags into a run directory."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any, Literal

from typer import Option

from inceptcli.cli.completion import (
    complete_key,
    complete_network,
    complete_recipe,
    complete_weights,
)
from inceptcli.cli.options import Quiet
from inceptcli.errors import UsageError
from inceptcli.progress.display import silence
from inceptcli.text import duration, validation_figures

if TYPE_CHECKING:
    from inceptcli.training.run_directory import RunDirectory


logger = logging.getLogger(__name__)

TRIED = "--fast-dev-run: trained and validated one batch; nothing was saved"

EPILOG = """Examples:

\b
  inceptcli train --arch irv2
  inceptcli train --arch irv1 --data flowers --image-size 96 --output runs/flowers
  inceptcli train --arch irv2-tf --init imagenet --data flowers
  inceptcli train --recipe paper/iv4 --data imagenet --devices 8 --strategy ddp
"""


def train(
    arch: Annotated[
        str | None,
        Option(
            autocompletion=complete_network, help="Network to train. Default: the recipe's (irv2)."
        ),
    ] = None,
    data: Annotated[
        str | None,
        Option(
            metavar="DIR|CSV|SHARDS",
            help="Dataset: a folder with train/ and val/ class folders, a folder of class folders "
            "(with --val-fraction), a CSV file of path,label or path,labels (a;b), or tar shards "
            "(a folder, a pattern such as 'shards/*.tar' or a range such as "
            "'train-{000..006}.tar'; also https, s3, gs and hf addresses). Default: generated "
            "shapes.",
        ),
    ] = None,
    val_data: Annotated[
        str | None,
        Option(
            metavar="DIR|CSV|SHARDS",
            help="Validation data, if --data has none. Default: none.",
        ),
    ] = None,
    recipe: Annotated[
        str | None,
        Option(
            autocompletion=complete_recipe,
            help="Recipe: a name or a file. Default: demo; scratch-small with --data; finetune "
            "with --init.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        Option(help="Run directory; an existing run is continued. Default: runs/NETWORK-DATE."),
    ] = None,
    epochs: Annotated[int | None, Option(help="Number of epochs. Default: the recipe's.")] = None,
    batch_size: Annotated[
        str | None,
        Option(
            help="Images per device and step; auto: the largest batch that fits into the memory of "
            "a CUDA device. Default: the recipe's."
        ),
    ] = None,
    image_size: Annotated[
        str | None,
        Option(help="Input size in pixels, N or HEIGHTxWIDTH, at least 75. Default: the recipe's."),
    ] = None,
    lr: Annotated[
        float | None,
        Option(
            help="Peak learning rate; a separate rate of the classifier is scaled with it. "
            "Default: the recipe's."
        ),
    ] = None,
    precision: Annotated[
        str | None,
        Option(help="Lightning precision, such as bf16-mixed. Default: the recipe's (32-true)."),
    ] = None,
    accelerator: Annotated[
        str | None, Option(help="Accelerator: auto, cpu, gpu, ... Default: the recipe's (auto).")
    ] = None,
    devices: Annotated[
        str | None, Option(help="Devices per node: a number or auto. Default: the recipe's (1).")
    ] = None,
    num_nodes: Annotated[
        int | None, Option(help="Number of nodes. Default: the recipe's (1).")
    ] = None,
    strategy: Annotated[
        str | None, Option(help="Lightning strategy, such as ddp. Default: the recipe's (auto).")
    ] = None,
    checkpoint_activations: Annotated[
        bool | None,
        Option(
            "--checkpoint-activations",
            help="Recompute activations in the backward pass instead of storing them: half the "
            "memory, a third more time, identical weights. Default: the recipe's (off).",
        ),
    ] = None,
    compile_network: Annotated[
        bool | None,
        Option(
            "--compile",
            help="Compile the network with torch.compile, for GPUs; no speed-up on a CPU. "
            "Compiling takes minutes before the first step, twice as long with "
            "--checkpoint-activations. Default: the recipe's (off).",
        ),
    ] = None,
    workers: Annotated[
        int | None,
        Option(help="Image-loading processes per device. Default: the recipe's (2)."),
    ] = None,
    seed: Annotated[int | None, Option(help="Random seed. Default: the recipe's (0).")] = None,
    init: Annotated[
        str | None,
        Option(
            autocompletion=complete_weights,
            help="Initial weights for fine-tuning: a weights file, run directory, "
            "hf-hub:owner/name[@revision] or published weights (imagenet for iv4-tf and irv2-tf; "
            "ens-adv for irv2-tf). Default: none.",
        ),
    ] = None,
    freeze: Annotated[
        Literal["none", "stem", "all-but-head"] | None,
        Option(help="Layers to freeze, including batch norm. Default: the recipe's (none)."),
    ] = None,
    val_fraction: Annotated[
        float | None,
        Option(help="Fraction of the class folders' images to validate on, 0 to 1. Default: none."),
    ] = None,
    exclude: Annotated[
        str | None,
        Option(
            metavar="FILE",
            help="List of images to leave out of validation, as for `eval --exclude`; the paper "
            "leaves out ILSVRC's blacklist. Training is unchanged. Default: none.",
        ),
    ] = None,
    changes: Annotated[
        list[str] | None,
        Option(
            "--set",
            autocompletion=complete_key,
            help="Set any recipe key (`inceptcli list keys`) as section.key=value. Repeatable. "
            "Default: none.",
        ),
    ] = None,
    stop_after: Annotated[
        str | None,
        Option(
            help="Save and exit with code 75 after this time: 45s, 30m, 3h50m, 1d2h. Default: "
            "never."
        ),
    ] = None,
    resume: Annotated[
        Literal["auto", "never"],
        Option(help="auto: continue an existing run in --output; never: fail if there is one."),
    ] = "auto",
    fast_dev_run: Annotated[
        bool,
        Option(
            "--fast-dev-run",
            help="Train and validate one batch each without saving, to test a configuration. "
            "Default: off.",
        ),
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Train a network from a recipe and write a run directory.

    Without --data, training uses `shapes`: ten classes of generated shapes.
    """
    options = {
        "arch": arch,
        "data": data,
        "val_data": val_data,
        "epochs": epochs,
        "batch_size": batch_size and _number(batch_size),
        "image_size": _sides(image_size),
        "lr": lr,
        "precision": precision,
        "accelerator": accelerator,
        "devices": devices and _number(devices),
        "num_nodes": num_nodes,
        "strategy": strategy,
        "checkpoint_activations": checkpoint_activations,
        "compile": compile_network,
        "workers": workers,
        "seed": seed,
        "stop_after": stop_after,
        "init": init,
        "freeze": freeze,
        "val_fraction": val_fraction,
        "exclude": exclude,
    }
    from inceptcli.processes.launchers import is_first_process
    from inceptcli.training.stopping import Stopping

    silence(not is_first_process())
    stopping = Stopping()
    with stopping.listening():
        from inceptcli.jobs.train import TrainRequest, train_as, values_by_key

        values = values_by_key(options, _set(changes))
        request = TrainRequest(recipe, values, output, resume, fast_dev_run)
        directory = train_as(request, stopping)
        for line in ending(directory) if directory.keeps else [TRIED]:
            logger.info(line)


def _set(changes: list[str] | None) -> dict[str, Any]:
    """Parse --set into values by key; raise UsageError if one is not section.key=value."""
    from inceptcli.recipe.file import parse_yaml

    values = {}
    for change in changes or []:
        key, equals, value = change.partition("=")
        if not equals:
            raise UsageError(f"--set {change}: give section.key=value, such as trainer.epochs=3")
        if not value.strip():
            raise UsageError(
                f"--set {key}=: the value is empty; is a shell variable unset? For no value, give "
                "null"
            )
        values[key] = parsed = parse_yaml(f"value: {value}", f"--set {change}").get("value")
        if isinstance(parsed, str) and value.lstrip()[0] not in "'\"" and parsed != value.strip():
            raise UsageError(f"--set {change}: YAML reads {parsed!r}; put the value into quotes")
    return values


def _sides(text: str | None) -> int | str | list[int | str] | None:
    if text is None or text.count("x") > 1:
        return text
    sides = [_number(part) for part in text.split("x")]
    return sides[0] if len(sides) == 1 else sides


def _number(text: str) -> int | str:
    """Convert digits to a number; return other text for the recipe check to refuse."""
    return int(text) if re.fullmatch("[0-9]{1,9}", text) else text


def ending(directory: RunDirectory) -> list[str]:
    """Return the closing lines: best epoch, weights file, next command."""
    from inceptcli.weights.file import read_metadata

    rows = directory.read_metrics()
    lines = []
    if rows:
        best = read_metadata(directory.weights)
        figures, recipe = best.metrics, directory.read_recipe()
        epochs = rows[-1]["epoch"]
        when = f"{epochs} epoch{'' if epochs == '1' else 's'}: {best.epoch}"
        if any(float(row["epoch"]) != number for number, row in enumerate(rows, start=1)):
            when = f"{len(rows)} validations: in epoch {best.epoch}"
        by = "val_top1" if recipe is None else recipe.trainer.best_by
        chosen = "" if by in ("val_top1", "val_loss") else f", {by} {figures[by]:.4f}"
        caution = " (slightly optimistic: chosen on these images)" * (len(rows) > 1)
        lines.append(
            f"best of {when}, {validation_figures(figures, best.network.num_classes)}, val loss "
            f"{figures['val_loss']:.3f}{chosen}{caution}; {duration(float(rows[-1]['seconds']))}"
        )
    run = quote(str(directory.path))
    skipping = " --skip-unreadable" * bool(directory.skipped())
    return [*lines, f"weights: {directory.weights}", f"next: inceptcli eval {run}{skipping}"]
