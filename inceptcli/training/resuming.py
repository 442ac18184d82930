"""Whether a run goes on in its folder, and from where: decided here alone. Imports torch late."""

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
from inceptcli.text import printable
from inceptcli.training.run_directory import RunDirectory
from inceptcli.weights.file import read_metadata

if TYPE_CHECKING:
    from inceptcli.training.plan import Plan

logger = logging.getLogger(__name__)

STATE_KEY = "ResumeCheckpoint"
"""Under which a checkpoint says whether its epoch has been validated."""

NEEDED = {
    "callbacks", "epoch", "loops", "lr_schedulers", "optimizer_states",
    "pytorch-lightning_version", "state_dict",
}  # fmt: skip
"""What Lightning reads of a checkpoint."""

MOST_STEPS = 2**40


MAY_DIFFER = {
    "trainer.epochs",
    "trainer.logger",
    "trainer.profiler",
    "trainer.checkpoint_activations",
    "data.path",
    "data.val_path",
    "data.workers",
    "trainer.stop_after",
    "checkpoint.every_steps",
    "checkpoint.every_minutes",
    "checkpoint.requeue",
}
"""Keys of a recipe that a resumed run may have another value of."""


BY_EPOCHS = ("cosine", "one-cycle")
"""Schedules that end with the run, however long that is."""


class EarlierRun(NamedTuple):
    """The run that a folder holds already; empty where it holds none.

    `recipe` is that of the run, `data` the images that it was trained on. With `has_weights` they
    come from a checkpoint, and those that `network.init` names may be gone.
    """

    recipe: Recipe | None = None
    data: KeptIdentity | None = None
    has_weights: bool = False


@dataclass(frozen=True)
class Start:
    """How a run starts: anew without a `checkpoint`, else after its step, or not if `finished`.

    `recipe` is what recipe.yaml says from now on. `validated` tells whether the validation that
    follows that step is done.
    """

    recipe: Recipe
    checkpoint: Path | None = None
    step: int = 0
    validated: bool = True
    finished: bool = False

    @property
    def known_step(self) -> int:
        """The last step whose row of metrics.csv is right."""
        return self.step if self.validated else self.step - 1


def has_begun(folder: Path) -> bool:
    """Whether a run has begun in `folder`, so that the recipe.yaml there is its own."""
    return (folder / "lock").exists()


def earlier_run(directory: RunDirectory | None) -> EarlierRun:
    """Look at the run in a folder. Raises UsageError when its data is not known any more."""
    if directory is None:
        return EarlierRun()
    recipe, has_weights = directory.read_recipe(), bool(directory.checkpoints())
    if not has_weights and not directory.has_trained:
        return EarlierRun(recipe)
    if not directory.data_identity.is_file():
        raise UsageError(
            f"--output {directory.path}: {directory.data_identity.name} is gone, so nobody knows "
            "what the run there was trained on; give another --output"
        )
    return EarlierRun(recipe, KeptIdentity(directory.data_identity), has_weights)


def check_same_run(directory: RunDirectory, plan: Plan, resume: str) -> None:
    """Refuse to go on with another recipe, with other data, or where `resume` is never.

    Raises UsageError that says what differs.
    """
    there, recipe = earlier_run(directory).recipe, plan.recipe
    if there is not None:
        if resume == "never" and directory.writes:  # the others may see what the first wrote
            raise UsageError(
                f"--output {directory.path}: holds a run already, and --resume is never"
            )
        if different := differing_keys(there, recipe):
            raise UsageError(_another_run(directory.path, there, recipe, different))
    check_data(directory, plan.identity, recipe.data.path)


def decide(plan: Plan, directory: RunDirectory, num_ranks: int) -> Start:
    """Decide how the run starts in its folder, which is locked.

    Damaged checkpoints are set aside, with a notice.

    Raises UsageError when the run has trained for more epochs, UserError when no checkpoint can be
    read or a finished run has lost its best weights.
    """
    found = newest_whole(directory)
    if found is None:
        return Start(plan.recipe)
    there, epochs = directory.read_recipe(), plan.recipe.trainer.epochs
    steps = plan.steps_per_epoch(num_ranks)
    if found.step > steps * epochs:
        raise UsageError(
            f"--epochs {epochs}: the run there is in or behind epoch {-(-found.step // steps)} "
            "already; give more, or another --output"
        )
    trained = found.step == steps * epochs
    finished = trained and found.validated
    if finished and (loss := lost_weights(directory)) is not None:
        raise UserError(
            f"{loss}; the run is finished, and its best weights are lost: more --epochs save "
            "the best of those, or train again with another --output"
        )
    recipe = plan.recipe
    if there is not None and trained:  # it keeps the epochs that it was trained for
        recipe = check(override(recipe.as_dict(), {"trainer.epochs": there.trainer.epochs}))
    if there is not None and not finished and (other := _other_schedule(there, plan.recipe)):
        logger.info(other)
    return Start(recipe, found.path, found.step, found.validated, finished)


def differing_keys(old: Recipe, new: Recipe) -> list[str]:
    """Dotted keys in which `new` differs from `old` and a resumed run may not.

    A batch size of auto is the one that the run has found.
    """
    return [
        f"{section}.{key}"
        for section, values in new.as_dict().items()
        for key in sorted(values.keys() | old.as_dict()[section].keys())
        if values.get(key) != old.as_dict()[section].get(key)
        and f"{section}.{key}" not in MAY_DIFFER
        and (section, key, values.get(key)) != ("data", "batch_size", "auto")
    ]


def _another_run(folder: Path, there: Recipe, recipe: Recipe, different: list[str]) -> str:
    own = there.data.path
    if own is not None and recipe.data.path is None:
        return f"--output {folder}: the run there trains on {own}; give --data {quote(own)}"
    command = (
        f"inceptcli train --recipe {quote(f'{folder}/recipe.yaml')} --output {quote(str(folder))}"
    )
    return (
        f"--output {folder}: the run there has another {', '.join(different)}; "
        f"`{command}` goes on with it, or give another --output"
    )


def _other_schedule(there: Recipe, now: Recipe) -> str | None:
    before, epochs = there.trainer.epochs, now.trainer.epochs
    if before == epochs or now.schedule.name not in BY_EPOCHS:
        return None
    return (
        f"trainer.epochs was {before} and is {epochs}: the learning rate follows the schedule of "
        f"{epochs} from here on, so this is not the run of {epochs} epochs from the start"
    )


def check_data(
    directory: RunDirectory, identity: DataIdentity, place: str | None
) -> KeptIdentity | None:
    """That the run there was trained on this data; images that it skipped may have been repaired.

    Gives what the run knows of its data, None where there is no run. Raises UsageError that says
    what differs, and that the data is at `place`.
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
    """As `check_data`; note what the data is at a run's start and when images were repaired."""
    kept = check_data(directory, identity, place)
    if directory.writes and kept is None:
        (directory.path / "skipped.csv").unlink(missing_ok=True)  # perhaps of other data
    if directory.writes and (kept is None or kept.sha256 != identity.sha256):
        with replacing(directory.data_identity) as temporary:
            identity.write(temporary)


def lost_weights(directory: RunDirectory) -> str | None:
    """Why a run's best weights cannot be read; None when they can."""
    try:
        read_metadata(directory.weights)
    except UserError as error:
        return str(error)
    return None


class WholeCheckpoint(NamedTuple):
    """A checkpoint without damage; `validated` tells whether its step's validation is done."""

    path: Path
    step: int
    validated: bool


def newest_whole(directory: RunDirectory) -> WholeCheckpoint | None:
    """The newest checkpoint that is whole; damaged ones are set aside, with a notice.

    Raises UserError when one cannot be read for another reason than damage, or when a run that has
    trained has none that is whole.
    """
    found = directory.checkpoints()
    for path in reversed(found):
        try:
            reason = _damage(path)
            if reason is None:
                return _resumable(path)
        except FileNotFoundError:  # set aside by the first rank
            continue
        except OSError as error:
            raise UserError(f"{path}: cannot be read: {error.strerror}") from error
        next_one = "; trying the one before it" * (path != found[0])
        logger.info(f"{path} is damaged ({reason}){next_one}")
        directory.set_aside(path)
    if directory.has_trained:
        raise UserError(
            f"{directory.path}: the run there has trained, but no checkpoint is left that is whole "
            "(damaged ones end in .damaged); give another --output, or remove its checkpoints/, "
            "metrics.csv and model.safetensors to start over"
        )
    return None


def _damage(path: Path) -> str | None:
    """What is wrong with the bytes of a checkpoint, which is a zip file; None when nothing is."""
    try:
        with ZipFile(path) as archive:
            if any(info.compress_type != ZIP_STORED for info in archive.infolist()):
                return "torch compresses nothing, and this is compressed"
            member = archive.testzip()
    except (OSError, MemoryError):
        raise
    except Exception as error:  # the reader of a damaged zip file can fail anywhere
        return (str(error) or type(error).__name__).splitlines()[0]
    return None if member is None else f"{member} has another checksum"


def _content(path: Path) -> dict[str, Any]:
    import torch

    try:
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except RuntimeError:  # a file system that cannot map files into memory
        content = torch.load(path, map_location="cpu", weights_only=True)
    return content


def _resumable(path: Path) -> WholeCheckpoint:
    try:
        content = _content(path)
        validated = bool(content["callbacks"][STATE_KEY]["validated"])
        step = content["global_step"]
        if not isinstance(step, int) or not 0 <= step < MOST_STEPS:
            raise ValueError("global_step must be a number of steps")
        if missing := NEEDED - content.keys():
            raise KeyError(min(missing))
    except (RuntimeError, KeyError, TypeError, ValueError, UnpicklingError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(
            f"{path}: is whole, but no checkpoint that this version reads: {reason}"
        ) from error
    return WholeCheckpoint(path, step, validated)
