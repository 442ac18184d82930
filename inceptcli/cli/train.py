"""`inceptcli train`: a recipe and flags to a run directory."""

from __future__ import annotations

import logging
import re
from datetime import datetime
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
from inceptcli.cli.outputs import OutputFiles
from inceptcli.errors import UsageError
from inceptcli.progress.display import Display, hush, silence
from inceptcli.text import accuracies, duration

if TYPE_CHECKING:
    from collections.abc import Mapping

    from inceptcli.recipe.schema import Recipe
    from inceptcli.recipe.sections import TrainerSection
    from inceptcli.training.plan import Plan
    from inceptcli.training.run_directory import RunDirectory
    from inceptcli.training.stopping import Stopping

logger = logging.getLogger(__name__)

TRIED = "--fast-dev-run: one batch trained, one validated; nothing was saved"

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
            autocompletion=complete_network, help="Network to train; default: the recipe's (irv2)."
        ),
    ] = None,
    data: Annotated[
        str | None,
        Option(
            metavar="DIR|SHARDS",
            help="Folder with train/ and val/ class folders, or class folders with --val-fraction; "
            "or tar shards: their folder, a pattern such as 'shards/*.tar', or a range such as "
            "'train-{000..006}.tar', also at https addresses; default: drawn shapes.",
        ),
    ] = None,
    val_data: Annotated[
        str | None,
        Option(
            metavar="DIR|SHARDS",
            help="What to validate on, where --data does not say; default: none.",
        ),
    ] = None,
    recipe: Annotated[
        str | None,
        Option(
            autocompletion=complete_recipe,
            help="Recipe by name or path; default: demo, with --data scratch-small, with --init "
            "finetune.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        Option(help="Run directory; one that exists is continued. Default: runs/NETWORK-DATE."),
    ] = None,
    epochs: Annotated[
        int | None, Option(help="Passes over the training images; default: the recipe's.")
    ] = None,
    batch_size: Annotated[
        str | None,
        Option(
            help="Images per device and step, or auto: the most that fit into a CUDA device's "
            "memory; default: the recipe's."
        ),
    ] = None,
    image_size: Annotated[
        str | None,
        Option(
            help="Network input in pixels, N or HEIGHTxWIDTH, at least 75; default: the recipe's."
        ),
    ] = None,
    lr: Annotated[
        float | None,
        Option(
            help="Highest learning rate; the classifier's own, if any, follows. Default: the "
            "recipe's."
        ),
    ] = None,
    precision: Annotated[
        str | None,
        Option(help="Lightning's precision, such as bf16-mixed; default: the recipe's (32-true)."),
    ] = None,
    accelerator: Annotated[
        str | None, Option(help="auto, cpu, gpu, ...; default: the recipe's (auto).")
    ] = None,
    devices: Annotated[
        str | None, Option(help="Devices per node, a number or auto; default: the recipe's (1).")
    ] = None,
    num_nodes: Annotated[int | None, Option(help="Nodes; default: the recipe's (1).")] = None,
    strategy: Annotated[
        str | None, Option(help="Lightning's strategy, such as ddp; default: the recipe's (auto).")
    ] = None,
    checkpoint_activations: Annotated[
        bool | None,
        Option(
            "--checkpoint-activations",
            help="Compute activations again instead of keeping them: half the memory, a third "
            "more time, the same weights; default: the recipe's (off).",
        ),
    ] = None,
    compile_network: Annotated[
        bool | None,
        Option(
            "--compile",
            help="Compile the network with torch.compile, for GPUs: minutes before the first step, "
            "twice as many with --checkpoint-activations; steps on a CPU gain nothing. Default: "
            "the recipe's (off).",
        ),
    ] = None,
    workers: Annotated[
        int | None,
        Option(help="Processes that load images, per device; default: the recipe's (2)."),
    ] = None,
    seed: Annotated[
        int | None, Option(help="Seed of everything random; default: the recipe's (0).")
    ] = None,
    init: Annotated[
        str | None,
        Option(
            autocompletion=complete_weights,
            help="What to start from: a weights file or run directory, or "
            "hf-hub:owner/name[@revision], or published weights (imagenet, for iv4-tf and irv2-tf; "
            "ens-adv, for irv2-tf); default: none.",
        ),
    ] = None,
    freeze: Annotated[
        Literal["none", "stem", "all-but-head"] | None,
        Option(help="What stays as it is, batch norm included; default: the recipe's (none)."),
    ] = None,
    val_fraction: Annotated[
        float | None,
        Option(help="Share of a folder of class folders to validate on, 0 to 1; default: none."),
    ] = None,
    changes: Annotated[
        list[str] | None,
        Option(
            "--set",
            autocompletion=complete_key,
            help="Any recipe key (`inceptcli list keys`): section.key=value, repeatable. "
            "Default: none.",
        ),
    ] = None,
    stop_after: Annotated[
        str | None,
        Option(help="Save and exit with 75 after, say, 45s, 30m, 3h50m or 1d2h; default: never."),
    ] = None,
    resume: Annotated[
        Literal["auto", "never"],
        Option(help="auto continues the run in --output, never refuses to touch it."),
    ] = "auto",
    fast_dev_run: Annotated[
        bool,
        Option(
            "--fast-dev-run",
            help="Train and validate one batch each and save nothing, to see whether a run would "
            "work; default: off.",
        ),
    ] = False,
    quiet: Annotated[
        bool, Option("--quiet", callback=hush, help="No progress, no notices; default: off.")
    ] = False,
) -> None:
    """Train a network by a recipe into a run directory.

    Without --data it trains on `shapes`, ten classes of shapes that the program draws.
    """
    flags: dict[str, Any] = {
        "network.name": arch,
        "data.path": data,
        "data.val_path": val_data,
        "trainer.epochs": epochs,
        "data.batch_size": batch_size and _number(batch_size),
        "data.image_size": _sides(image_size),
        "optimizer.learning_rate": lr,
        "trainer.precision": precision,
        "trainer.accelerator": accelerator,
        "trainer.devices": devices and _number(devices),
        "trainer.num_nodes": num_nodes,
        "trainer.strategy": strategy,
        "trainer.checkpoint_activations": checkpoint_activations,
        "trainer.compile": compile_network,
        "data.workers": workers,
        "trainer.seed": seed,
        "trainer.stop_after": stop_after,
        "network.init": init,
        "network.freeze": freeze,
        "data.val_fraction": val_fraction,
    }
    from inceptcli.processes.launchers import is_first_process
    from inceptcli.training.stopping import Stopping

    if not is_first_process():
        silence()
    stopping = Stopping()
    with stopping.listening():
        settings = _settings(recipe, flags, changes or [])
        if fast_dev_run:
            settings = _trial(settings)
        stopping.requeue = settings.checkpoint.requeue

        from inceptcli.training.initial_weights import completed
        from inceptcli.training.plan import plan
        from inceptcli.training.run_directory import NoRunDirectory, RunDirectory

        _check_launcher(settings.trainer)
        directory = None if output is None or fast_dev_run else RunDirectory(output)
        _check_recipe_stays(recipe, None if fast_dev_run else output)
        settings = completed(settings, directory)
        if fast_dev_run:
            directory = NoRunDirectory()
        directory = directory or RunDirectory(_new_folder(settings.network.name))
        _run(plan(settings, directory), directory, resume, stopping)


def _settings(recipe: str | None, flags: dict[str, Any], changes: list[str]) -> Recipe:
    """The recipe of that name with what was given instead."""
    from inceptcli.recipe.file import find_recipe, override, parse_yaml, read_with_bases
    from inceptcli.recipe.schema import check

    wanted = {key: value for key, value in flags.items() if value is not None}
    for change in changes:
        key, equals, value = change.partition("=")
        if not equals:
            raise UsageError(f"--set {change}: give section.key=value, such as trainer.epochs=3")
        wanted[key] = parse_yaml(f"value: {value}", f"--set {change}").get("value")
    name = recipe or _default_recipe(wanted)
    values = override(read_with_bases(find_recipe(name))[0], {})
    return check(override(values, _with_head_rate(values, wanted)), f"recipe {name} with flags")


def _trial(settings: Recipe) -> Recipe:
    """One batch of training and one of validation, by Lightning's meaning of the flag."""
    from inceptcli.recipe.file import override
    from inceptcli.recipe.schema import check

    if settings.trainer.profiler != "none":
        raise UsageError(
            f"--fast-dev-run: saves nothing, so trainer.profiler {settings.trainer.profiler} has "
            "no place for its report; leave one of them out, or give --epochs 1 "
            "--set trainer.limit_batches=1 instead"
        )
    changes = {"trainer.epochs": 1, "trainer.limit_batches": 1, "trainer.logger": "none"}
    # What is unset stays so: weights of --init say it.
    return check(override(settings.model_dump(exclude_unset=True), changes), "--fast-dev-run")


def _with_head_rate(values: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    """What is wanted, and the classifier's own rate in the recipe's ratio to another one."""
    rates: Any = values.get("optimizer")
    keys = ("optimizer.learning_rate", "optimizer.head_learning_rate")
    try:
        before, head = rates["learning_rate"], rates["head_learning_rate"]
        scaled = wanted[keys[0]] * head / before
    except (KeyError, TypeError, ZeroDivisionError):
        return wanted
    return {keys[1]: scaled, **wanted}


def _default_recipe(wanted: Mapping[str, Any]) -> str:
    if wanted.get("network.init") is not None:
        return "finetune"
    return "demo" if wanted.get("data.path") is None else "scratch-small"


def _check_recipe_stays(recipe: str | None, output: Path | None) -> None:
    """UsageError where the run's complete recipe.yaml would replace one that is read."""
    from inceptcli.recipe.file import find_recipe, read_with_bases

    if recipe is None or output is None or (output / "lock").exists():  # that of a run goes on
        return
    OutputFiles({"--output": output / "recipe.yaml"}).check(read_with_bases(find_recipe(recipe))[1])


def _check_launcher(trainer: TrainerSection) -> None:
    from inceptcli.processes.launchers import check_launcher

    devices = trainer.devices
    check_launcher(devices if isinstance(devices, int) and devices > 0 else None, trainer.num_nodes)


def _run(planned: Plan, directory: RunDirectory, resume: str, stopping: Stopping) -> None:
    import os

    from inceptcli.plots.canvas import quiet_matplotlib
    from inceptcli.training.run_directory import differing_keys
    from inceptcli.training.trained_data import check_data

    folder = directory.path
    settings = planned.recipe
    there = directory.read_recipe()
    if there is not None:
        if resume == "never" and directory.writes:  # the others may see what the first wrote
            raise UsageError(f"--output {folder}: holds a run already, and --resume is never")
        if different := differing_keys(there, settings):
            raise UsageError(_another_run(folder, there, settings, different))
    check_data(directory, planned.identity, settings.data.path)
    if settings.data.path is None:
        logger.info("no --data given: training on `shapes`, drawn by the program")

    # torch reads it when imported: C++ would warn of what is on purpose, once per process.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    quiet_matplotlib()  # torchmetrics imports it

    from inceptcli.training.run import fit

    fit(planned, directory, Display(), stopping)
    for line in ending(directory) if directory.keeps else [TRIED]:
        logger.info(line)


def _another_run(folder: Path, there: Recipe, settings: Recipe, different: list[str]) -> str:
    own = there.data.path
    if own is not None and settings.data.path is None:
        return f"--output {folder}: the run there trains on {own}; give --data {quote(own)}"
    command = (
        f"inceptcli train --recipe {quote(f'{folder}/recipe.yaml')} --output {quote(str(folder))}"
    )
    return (
        f"--output {folder}: the run there has another {', '.join(different)}; "
        f"`{command}` goes on with it, or give another --output"
    )


def _sides(text: str | None) -> int | str | list[int | str] | None:
    if text is None or text.count("x") > 1:
        return text
    sides = [_number(part) for part in text.split("x")]
    return sides[0] if len(sides) == 1 else sides


def _number(text: str) -> int | str:
    """A number when it is one; what a recipe refuses otherwise."""
    return int(text) if re.fullmatch("[0-9]{1,9}", text) else text


def _new_folder(network: str) -> Path:
    return Path("runs") / f"{network}-{datetime.now():%Y%m%d-%H%M%S}"


def ending(directory: RunDirectory) -> list[str]:
    """What came out, where it is, and a command to go on with, ready to copy."""
    from inceptcli.weights.file import read_metadata

    rows = directory.read_metrics()
    lines = []
    if rows:
        best = read_metadata(directory.weights)
        figures = best.metrics
        lines.append(
            f"best of {rows[-1]['epoch']} epochs: {best.epoch}, "
            f"{accuracies(figures['val_top1'], figures['val_top5'], best.network.num_classes)}, "
            f"val loss {figures['val_loss']:.3f}; {duration(float(rows[-1]['seconds']))}"
        )
    run = quote(str(directory.path))
    skipping = " --skip-unreadable" * bool(directory.skipped())
    return [*lines, f"weights: {directory.weights}", f"next: inceptcli eval {run}{skipping}"]
