"""Train a network into a run directory: `inceptcli.train`."""

from __future__ import annotations

import gc
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypedDict, Unpack

from inceptcli.errors import UsageError
from inceptcli.jobs.arguments import check_given, plain_values
from inceptcli.jobs.python_errors import python_errors
from inceptcli.processes.launchers import NEW_FOLDER, check_launcher, is_first_process
from inceptcli.processes.signals import EXIT_STOPPED
from inceptcli.progress.display import doing, notices, silence
from inceptcli.recipe.file import find_recipe, override, read_with_bases
from inceptcli.recipe.schema import Recipe, check
from inceptcli.recipe.sections import TrainerSection
from inceptcli.text import seconds_in
from inceptcli.training.resuming import check_same_run, earlier_run, has_begun
from inceptcli.training.run_directory import NoRunDirectory, RunDirectory
from inceptcli.training.stopping import Stopping

if TYPE_CHECKING:
    from inceptcli.training.plan import Plan

logger = logging.getLogger(__name__)

KEYS = {
    "arch": "network.name",
    "data": "data.path",
    "val_data": "data.val_path",
    "epochs": "trainer.epochs",
    "batch_size": "data.batch_size",
    "image_size": "data.image_size",
    "lr": "optimizer.learning_rate",
    "precision": "trainer.precision",
    "accelerator": "trainer.accelerator",
    "devices": "trainer.devices",
    "num_nodes": "trainer.num_nodes",
    "strategy": "trainer.strategy",
    "checkpoint_activations": "trainer.checkpoint_activations",
    "compile": "trainer.compile",
    "workers": "data.workers",
    "seed": "trainer.seed",
    "stop_after": "trainer.stop_after",
    "init": "network.init",
    "freeze": "network.freeze",
    "val_fraction": "data.val_fraction",
    "exclude": "data.exclude",
}
"""Recipe keys by option of `train`."""


class TrainOptions(TypedDict, total=False):
    """Options of `train`; each sets a recipe key (see KEYS)."""

    arch: str
    data: str | os.PathLike[str]
    val_data: str | os.PathLike[str]
    epochs: int
    batch_size: int | Literal["auto"]
    image_size: int | list[int] | tuple[int, int]
    lr: float
    precision: str
    accelerator: str
    devices: int | Literal["auto"]
    num_nodes: int
    strategy: str
    checkpoint_activations: bool
    compile: bool
    workers: int
    seed: int
    stop_after: str
    init: str | os.PathLike[str]
    freeze: Literal["none", "stem", "all-but-head"]
    val_fraction: float
    exclude: str | os.PathLike[str]


class TrainedRun(NamedTuple):
    """The result of `train`.

    Attributes:
        path: the run directory.
        weights: its weights file, for `load`; exists after the first validation.
        finished: whether the run is done, also by trainer.patience; the same call continues a
            stopped run.
        metrics: numbers of metrics.csv by column, one dictionary per validation; None if empty.
    """

    path: Path
    weights: Path
    finished: bool
    metrics: list[dict[str, float | None]]


def train(
    output: str | os.PathLike[str] | None = None,
    *,
    recipe: str | os.PathLike[str] | None = None,
    changes: Mapping[str, Any] | None = None,
    resume: Literal["auto", "never"] = "auto",
    fast_dev_run: bool = False,
    progress: bool = False,
    **options: Unpack[TrainOptions],
) -> TrainedRun:
    """Train a network as a recipe describes, or continue the run in `output`.

    Args:
        output: run directory; by default runs/NETWORK-DATE.
        recipe: name of a bundled recipe, or a file; by default demo, scratch-small with data,
            finetune with init.
        changes: values by recipe key, such as {"trainer.precision": "bf16-mixed"}.
        resume: "auto" continues an existing run in `output`, "never" raises if there is one.
        fast_dev_run: train and validate one batch each without saving.
        progress: show progress and notices on standard error.
        **options: options of `inceptcli train`, such as arch, data, epochs, batch_size, image_size
            and lr; see TrainOptions.

    Raises:
        ValueError: the recipe, an option or the data is wrong.
        RuntimeError: training failed: the loss is not finite, or memory or disk space is exhausted.
        KeyboardInterrupt: a signal stopped the run after saving, or stop_after one without
            `output`; the same call with its folder as `output` continues it.
    """
    if unknown := [name for name in options if name not in KEYS]:
        raise TypeError(f"train has no option {unknown[0]!r}; options: {', '.join(KEYS)}")
    if resume not in ("auto", "never"):
        raise ValueError(f'resume must be "auto" or "never", got {resume!r}')
    check_given(output=output, recipe=recipe)
    with python_errors():
        values = values_by_key(options, changes or {})
    request = TrainRequest(
        None if recipe is None else os.fspath(recipe),
        plain_values(values),
        None if output is None else Path(output),
        resume,
        fast_dev_run,
    )
    stopping, finished = Stopping(), True
    shown = notices() if progress and is_first_process() else nullcontext()
    with python_errors(), shown:
        try:
            with stopping.listening():
                directory = train_as(request, stopping)
        except SystemExit as stop:
            if stop.code != EXIT_STOPPED:
                raise
            if stopping.reason != "trainer.stop_after" or output is None:
                raise KeyboardInterrupt(f"stopped by {stopping.reason}") from stop
            directory, finished = RunDirectory(Path(output)), False
    rows = directory.read_metrics() if directory.keeps else []
    metrics = [{name: _number(text) for name, text in row.items()} for row in rows]
    return TrainedRun(directory.path, directory.weights, finished, metrics)


def values_by_key(options: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of options that are not None, and changes, by recipe key.

    Raises UsageError if both set a key.
    """
    given = {KEYS[name]: value for name, value in options.items() if value is not None}
    if twice := given.keys() & changes.keys():
        raise UsageError(f"{min(twice)} is set by its option and by its key; give one of them")
    return {**given, **changes}


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:  # an empty cell
        return None


@dataclass(frozen=True)
class TrainRequest:
    """Arguments of a training run.

    Attributes:
        recipe: bundled name or file; None selects a default from the `changes`.
        changes: values by recipe key.
        output: run directory; None creates a new one.
        resume: whether an existing run in `output` may be continued.
        fast_dev_run: train and validate one batch each without saving.
    """

    recipe: str | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)
    output: Path | None = None
    resume: Literal["auto", "never"] = "auto"
    fast_dev_run: bool = False

    def settings(self) -> Recipe:
        """Return the recipe with the changes applied; raise UsageError for a wrong key or value."""
        name = self.recipe or _default_recipe(self.changes)
        values = override(read_with_bases(find_recipe(name))[0], {})
        changes = _with_head_rate(values, dict(self.changes))
        settings = check(override(values, changes), f"recipe {name} with flags")
        return _trial(settings) if self.fast_dev_run else settings


def train_as(request: TrainRequest, stopping: Stopping) -> RunDirectory:
    """Run a request; `stopping` must already listen for signals.

    Raises UsageError, UserError and SystemExit as `fit` does.
    """
    from inceptcli.training.initial_weights import completed
    from inceptcli.training.plan import plan

    settings = request.settings()
    stopping.requeue = settings.checkpoint.requeue
    after = settings.trainer.stop_after
    stopping.limit(None if after is None else seconds_in(after))
    _check_launcher(settings.trainer)
    silence(not is_first_process())  # without the variables that another program left
    output = None if request.fast_dev_run else request.output
    directory = None if output is None else RunDirectory(output)
    _check_recipe_stays(request.recipe, output)
    settings = completed(settings, earlier_run(directory))
    if request.fast_dev_run:
        directory = NoRunDirectory()
    directory = directory or RunDirectory(_new_folder(settings.network.name))
    with doing("looking through the images"):
        planned = plan(settings, earlier_run(directory))
    check_same_run(directory, planned, request.resume)
    _fit(planned, directory, stopping)
    return directory


def _fit(planned: Plan, directory: RunDirectory, stopping: Stopping) -> None:
    from inceptcli.plots.canvas import quiet_matplotlib

    if planned.recipe.data.path is None:
        logger.info("no --data given: training on `shapes`, generated images")
    # torch reads it on import; each process would otherwise warn about intended settings.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    quiet_matplotlib()  # torchmetrics imports it

    with doing("importing torch and Lightning"), _garbage_kept():
        from inceptcli.training.run import fit

    fit(planned, directory, stopping)


@contextmanager
def _garbage_kept() -> Iterator[None]:
    """Pause garbage collection, which takes a fifth of a long import and finds nothing."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _check_recipe_stays(recipe: str | None, output: Path | None) -> None:
    """Raise UsageError if the run's recipe.yaml would replace an input recipe."""
    if recipe is None or output is None or has_begun(output):  # a run keeps its own
        return
    written = output / "recipe.yaml"
    for file in read_with_bases(find_recipe(recipe))[1]:
        if written.exists() and written.samefile(file):
            raise UsageError(f"--output {written}: is also the input {file}; give another folder")


def _trial(settings: Recipe) -> Recipe:
    """Limit training and validation to one batch each, as Lightning's fast_dev_run does."""
    if settings.trainer.profiler != "none":
        raise UsageError(
            "--fast-dev-run: saves nothing, so it cannot be combined with trainer.profiler "
            f"{settings.trainer.profiler}; omit one of them, or use --epochs 1 "
            "--set trainer.limit_batches=1 instead"
        )
    changes = {"trainer.epochs": 1, "trainer.limit_batches": 1, "trainer.logger": "none"}
    # Unset values stay unset, since weights of --init may define them.
    return check(override(settings.model_dump(exclude_unset=True), changes), "--fast-dev-run")


def _with_head_rate(values: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    """Scale the classifier's learning rate with a changed learning rate, as in the recipe."""
    keys = ("optimizer.learning_rate", "optimizer.head_learning_rate")
    rate = wanted.get(keys[0])
    if keys[1] in wanted or not isinstance(rate, int | float):
        return wanted
    others = {key: value for key, value in wanted.items() if key != keys[0]}
    try:
        unscaled = check(override(values, others)).optimizer
    except UsageError:  # reported with all changes
        return wanted
    head = unscaled.head_learning_rate
    return wanted if head is None else {**wanted, keys[1]: rate * head / unscaled.learning_rate}


def _default_recipe(wanted: Mapping[str, Any]) -> str:
    if wanted.get("network.init") is not None:
        return "finetune"
    return "demo" if wanted.get("data.path") is None else "scratch-small"


def _check_launcher(trainer: TrainerSection) -> None:
    devices = trainer.devices
    check_launcher(devices if isinstance(devices, int) and devices > 0 else None, trainer.num_nodes)


def _new_folder(network: str) -> Path:
    """Return runs/NETWORK-DATE, or the folder of the rank that started this one."""
    if given := os.environ.pop(NEW_FOLDER, None):  # of this run alone
        return Path(given)
    return Path("runs") / f"{network}-{datetime.now():%Y%m%d-%H%M%S}"
