"""Decide whether a run resumes in its folder, and from which checkpoint. Imports torch late."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from shlex import quote
from typing import TYPE_CHECKING, Any, NamedTuple
from zipfile import ZIP_STORED, ZipFile

from inceptcli.data.identity import DataIdentity, KeptIdentity, difference_of_data
from inceptcli.errors import UsageError, UserError
from inceptcli.files.atomic_file import replacing
from inceptcli.recipe.file import override
from inceptcli.recipe.schema import Recipe, check
from inceptcli.text import number_of, printable
from inceptcli.training.run_directory import RunDirectory
from inceptcli.weights.file import read_metadata

if TYPE_CHECKING:
    from inceptcli.training.plan import Plan

logger = logging.getLogger(__name__)

STATE_KEY, RECORDER_KEY = "ResumeCheckpoint", "Recorder"
"""Keys of the callbacks whose states record whether the step has been validated by how many ranks,
and the number of validations in a row without a better one."""

NEEDED = {
    "callbacks", "epoch", "loops", "lr_schedulers", "optimizer_states",
    "pytorch-lightning_version", "state_dict",
}  # fmt: skip
"""Keys of a checkpoint that Lightning reads."""

MOST_STEPS = 2**40


MAY_DIFFER = {
    "trainer.epochs",
    "trainer.patience",
    "trainer.logger",
    "trainer.profiler",
    "trainer.checkpoint_activations",
    "data.path",
    "data.val_path",
    "data.workers",
    "data.max_skipped",
    "trainer.stop_after",
    "checkpoint.every_steps",
    "checkpoint.every_minutes",
    "checkpoint.requeue",
}
"""Recipe keys that a resumed run may change."""


MAY_MOVE = {"data.exclude"}
"""Recipe keys that a resumed run may change from one path to another, but not set or omit."""


BY_EPOCHS = ("cosine", "one-cycle")
"""Schedules whose shape depends on the number of epochs."""


class EarlierRun(NamedTuple):
    """Run that a folder already contains, or an empty record.

    `recipe` is the recipe of the run, `data` its images. `has_weights` is true if there is a
    checkpoint, so that the weights of `network.init` are no longer needed.
    """

    recipe: Recipe | None = None
    data: KeptIdentity | None = None
    has_weights: bool = False


@dataclass(frozen=True)
class Start:
    """Start of a run: new without a `checkpoint`, else resumed after `step` unless `finished`.

    `recipe` is written to recipe.yaml. `validated` is false if the validation after `step` is
    still to be done. A finished run is `trained` for all its epochs, or its `trainer.patience` is
    exhausted (`early`), or both.
    """

    recipe: Recipe
    checkpoint: Path | None = None
    step: int = 0
    validated: bool = True
    finished: bool = False
    trained: bool = False
    early: bool = False

    @property
    def known_step(self) -> int:
        """Return the last step whose row in metrics.csv stays valid."""
        return self.step if self.validated else self.step - 1


def has_begun(folder: Path) -> bool:
    """Return whether a run has started in `folder`, so that recipe.yaml belongs to it."""
    return (folder / "lock").exists()


def earlier_run(directory: RunDirectory | None) -> EarlierRun:
    """Read the run in a folder. Raises UsageError when its recipe or record of data is missing."""
    if directory is None:
        return EarlierRun()
    recipe, has_weights = directory.read_recipe(), bool(directory.checkpoints())
    if not has_weights and not directory.has_trained:
        return EarlierRun(recipe)
    records = {directory.path / "recipe.yaml": "recipe", directory.data_identity: "data"}
    for file, what in records.items():
        if not file.is_file():
            raise UsageError(
                f"--output {directory.path}: {file.name}, which records the {what} of the run "
                "there, is missing; put it back, or give another --output"
            )
    return EarlierRun(recipe, KeptIdentity(directory.data_identity), has_weights)


def check_same_run(directory: RunDirectory, plan: Plan, resume: str) -> None:
    """Check that `plan` has the recipe and data of the run in `directory`, if there is one.

    Raises UsageError with the difference, or when there is a run and `resume` is never.
    """
    there, recipe = earlier_run(directory).recipe, plan.recipe
    if there is not None:
        if resume == "never" and directory.writes:  # other ranks may see rank 0's new files
            raise UsageError(
                f"--output {directory.path}: already contains a run, and --resume is never"
            )
        if different := differing_keys(there, recipe):
            raise UsageError(_another_run(directory.path, there, recipe, different))
    check_data(directory, plan.identity, recipe.data.path)


def decide(plan: Plan, directory: RunDirectory, num_ranks: int) -> Start:
    """Decide how the run starts in its locked folder; rename damaged checkpoints.

    Raises:
        UsageError: the run has already trained for more epochs.
        UserError: no checkpoint can be read, or a finished run has lost its best weights.
    """
    found = newest_whole(directory)
    if found is None:
        return Start(plan.recipe)
    if found.ranks != num_ranks:
        raise UsageError(
            f"--output {directory.path}: the run there trains on {number_of(found.ranks, 'device')}"
            f", not on {num_ranks}: its batches and steps would be others; give it as many, or "
            "another --output"
        )
    there, epochs = directory.read_recipe(), plan.recipe.trainer.epochs
    patience = plan.recipe.trainer.patience
    steps = plan.steps_per_epoch(num_ranks)
    if found.step > steps * epochs:
        raise UsageError(
            f"--epochs {epochs}: the run there has already reached epoch "
            f"{-(-found.step // steps)}; give more, or another --output"
        )
    trained = found.step == steps * epochs
    if trained and found.validated and _lacks_validation(directory, there, plan, found.step):
        raise UsageError(
            f"--epochs {epochs}: the run there was not validated after epoch {epochs}, and cannot "
            "end there; give more, or another --output"
        )
    early = patience is not None and found.waited >= patience
    finished = found.validated and (trained or early)
    if finished and (loss := lost_weights(directory)) is not None:
        raise UserError(
            f"{loss}; the run is finished, and its best weights are lost; give "
            f"{what_continues(trained, early)} to save the best of those, or train again with "
            "another --output"
        )
    recipe = plan.recipe
    if there is not None and (trained or finished):  # recipe.yaml keeps why the run ended
        kept = {f"trainer.{key}": getattr(there.trainer, key) for key in ("epochs", "patience")}
        recipe = check(override(recipe.as_dict(), kept))
    if there is not None and not finished and (other := _other_schedule(there, plan.recipe)):
        logger.info(other)
    return Start(recipe, found.path, found.step, found.validated, finished, trained, early)


def what_continues(trained: bool, early: bool) -> str:
    """Return what continues a finished run."""
    more = ["more --epochs"] * trained + ["a larger trainer.patience"] * early
    return " and ".join(more)


def _lacks_validation(directory: RunDirectory, there: Recipe | None, plan: Plan, step: int) -> bool:
    """Return whether a run that shall now end at `step` went on from there without validation."""
    if there is None or there.trainer.epochs == plan.recipe.trainer.epochs:
        return False
    return step not in {int(float(row["step"])) for row in directory.read_metrics()}


def differing_keys(old: Recipe, new: Recipe) -> list[str]:
    """Return the dotted keys that differ between `old` and `new` but must not in a resumed run.

    A batch size of auto matches any number.
    """
    return [
        f"{section}.{key}"
        for section, values in new.as_dict().items()
        for key in sorted(values.keys() | old.as_dict()[section].keys())
        if values.get(key) != old.as_dict()[section].get(key)
        and f"{section}.{key}" not in MAY_DIFFER
        and (section, key, values.get(key)) != ("data", "batch_size", "auto")
        and not (
            f"{section}.{key}" in MAY_MOVE and values.get(key) and old.as_dict()[section].get(key)
        )
    ]


def _another_run(folder: Path, there: Recipe, recipe: Recipe, different: list[str]) -> str:
    own = there.data.path
    if own is not None and recipe.data.path is None:
        return f"--output {folder}: the run there trains on {own}; give --data {quote(own)}"
    command = (
        f"inceptcli train --recipe {quote(f'{folder}/recipe.yaml')} --output {quote(str(folder))}"
    )
    return (
        f"--output {folder}: the run there has a different {', '.join(different)}; "
        f"`{command}` continues it, or give another --output"
    )


def _other_schedule(there: Recipe, now: Recipe) -> str | None:
    before, epochs = there.trainer.epochs, now.trainer.epochs
    if before == epochs or now.schedule.name not in BY_EPOCHS:
        return None
    return (
        f"trainer.epochs changed from {before} to {epochs}: the learning rate now follows the "
        f"schedule of {epochs} epochs, so the result differs from {epochs} epochs in one run"
    )


def check_data(
    directory: RunDirectory, identity: DataIdentity, place: str | None
) -> KeptIdentity | None:
    """Check that the run there was trained on this data; skipped images may have been repaired.

    Returns the recorded data of the run, or None if there is no run. Raises UsageError with the
    difference and `place`, the path of the data.
    """
    kept = earlier_run(directory).data
    if kept is None:
        return None
    other = difference_of_data(kept, identity, directory.skipped().keys())
    if other is not None:
        raise UsageError(
            f"--data {printable(place or 'shapes')}: not the data that the run in {directory.path} "
            f"was trained on: {other}; give that data, or another --output"
        )
    return kept


def keep_data(directory: RunDirectory, identity: DataIdentity, place: str | None) -> None:
    """Check the data as `check_data`; record it if the run is new or images were repaired."""
    kept = check_data(directory, identity, place)
    if directory.writes and kept is None:
        (directory.path / "skipped.csv").unlink(missing_ok=True)  # possibly from other data
    if directory.writes and (kept is None or kept.sha256 != identity.sha256):
        with replacing(directory.data_identity) as temporary:
            identity.write(temporary)


def lost_weights(directory: RunDirectory) -> str | None:
    """Return why a run's best weights cannot be read, or None."""
    try:
        read_metadata(directory.weights)
    except UserError as error:
        return str(error)
    return None


class WholeCheckpoint(NamedTuple):
    """Intact checkpoint; `validated` is false if the validation after its step is to be done.

    `ranks` is the number of devices that trained it, `waited` the number of validations in a row
    without a better one.
    """

    path: Path
    step: int
    validated: bool
    ranks: int
    waited: int


def newest_whole(directory: RunDirectory) -> WholeCheckpoint | None:
    """Return the newest intact checkpoint, or None; rename damaged ones, with a notice.

    Raises UserError when a checkpoint cannot be read for a reason other than damage, or when a run
    that has trained has no intact one.
    """
    found = directory.checkpoints()
    for path in reversed(found):
        try:
            reason = _damage(path)
            if reason is None:
                return _resumable(path)
        except FileNotFoundError:  # renamed by rank 0
            continue
        except OSError as error:
            raise UserError(f"{path}: cannot be read: {error.strerror}") from error
        next_one = "; trying the previous one" * (path != found[0])
        logger.info(f"{path} is damaged ({reason}){next_one}")
        directory.set_aside(path)
    if directory.has_trained:
        raise UserError(
            f"{directory.path}: the run there has no intact checkpoint left (damaged ones end in "
            ".damaged); give another --output, or remove its checkpoints/, metrics.csv and "
            "model.safetensors to start over"
        )
    return None


def _damage(path: Path) -> str | None:
    """Return what is damaged in a checkpoint (a zip file), or None."""
    try:
        with ZipFile(path) as archive:
            if any(info.compress_type != ZIP_STORED for info in archive.infolist()):
                return "it is compressed, which torch never does"
            member = archive.testzip()
    except (OSError, MemoryError):
        raise
    except Exception as error:  # reading a damaged zip file can raise anything
        return (str(error) or type(error).__name__).splitlines()[0]
    return None if member is None else f"wrong checksum of {member}"


def _content(path: Path) -> dict[str, Any]:
    import torch

    try:
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (RuntimeError, UnicodeEncodeError):  # no mmap of this file system, or of such a name
        content = torch.load(path, map_location="cpu", weights_only=True)
    return content


def _resumable(path: Path) -> WholeCheckpoint:
    try:
        content = _content(path)
        state = content["callbacks"][STATE_KEY]
        validated, ranks = bool(state["validated"]), int(state["ranks"])
        step, waited = content["global_step"], int(content["callbacks"][RECORDER_KEY]["waited"])
        if not isinstance(step, int) or not 0 <= step < MOST_STEPS:
            raise ValueError("global_step must be a number of steps")
        if missing := NEEDED - content.keys():
            raise KeyError(min(missing))
    except (RuntimeError, KeyError, TypeError, ValueError, UnpicklingError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(
            f"{path}: is intact, but this version cannot resume from it: {reason}"
        ) from error
    return WholeCheckpoint(path, step, validated, ranks, waited)
