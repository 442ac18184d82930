"""Weights in a training checkpoint of a run, described by the run directory that it lies in."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from inceptcli.data.identity import KeptIdentity
from inceptcli.errors import UsageError, UserError
from inceptcli.recipe.file import read_recipe
from inceptcli.recipe.schema import check
from inceptcli.weights.file import WEIGHTS_NAME, read_metadata
from inceptcli.weights.metadata import ClassName, WeightsMetadata
from inceptcli.weights.trained_network import network_of, preprocessing_of

if TYPE_CHECKING:
    from torch import Tensor

FAMILY = "checkpoint of an inceptcli run"

STATE, CURRENT = "state_dict", "current_model_state"
"""Lightning's WeightAveraging keeps the raw weights in the second, and the average in the first."""

PREFIX = "network."
CALLBACKS = {"ResumeCheckpoint", "Recorder"}
RECIPE, DATA = "recipe.yaml", "data.jsonl.gz"


class Taken(NamedTuple):
    """One of the two networks in a checkpoint: its dictionary, its tensors by our keys."""

    place: str
    tensors: dict[str, Tensor]
    averaged: bool
    remarks: list[str]


def step_of(loaded: Any) -> int | None:
    """The optimizer step of a checkpoint of a run; None of anything else."""
    callbacks = loaded.get("callbacks") if isinstance(loaded, dict) else None
    if not isinstance(callbacks, dict) or not callbacks.keys() >= CALLBACKS:
        return None
    step = loaded.get("global_step")
    return step if isinstance(step, int) else None


def taken(source: Path, groups: dict[str, dict[str, Tensor]], raw: bool) -> Taken:
    """The running average, or with `raw` or where nothing is averaged the weights as trained.

    Raises UserError when the checkpoint has no network.
    """
    averages = CURRENT in groups
    place = CURRENT if raw and averages else STATE
    group = groups.get(place, {})
    tensors = {k.removeprefix(PREFIX): v for k, v in group.items() if k.startswith(PREFIX)}
    if not tensors:
        raise UserError(f"{source}: a {FAMILY} without a network in its {place}")
    averaged = averages and place == STATE
    kind = "the running average of the weights" if averaged else "the weights as trained"
    remarks = [f"took {place}: {kind}"]
    if averages:
        other = f"{CURRENT}: the weights as trained (--raw takes them)"
        remarks.append(f"passed over {other if averaged else f'{STATE}: their running average'}")
    if others := len(group) - len(tensors):
        remarks.append(f"passed over {others} tensors that only training uses")
    return Taken(place, tensors, averaged, remarks)


def files_beside(source: Path) -> list[Path]:
    """What describes a checkpoint if it lies in a run's folder of checkpoints."""
    run = source.resolve().parent.parent
    return [run / name for name in (RECIPE, DATA, WEIGHTS_NAME)] * (source.suffix == ".ckpt")


def described(source: Path) -> tuple[WeightsMetadata, str]:
    """What the run that `source` lies in says of its network, and a remark on where.

    Raises UserError when it has neither its recipe and the names of its classes nor its weights.
    """
    run = source.resolve().parent.parent
    try:
        return _from_recipe(run), f"from {run}: its {RECIPE}, and the classes in its {DATA}"
    except (OSError, ValueError, UsageError, UserError):
        pass  # a file is gone or damaged: the best weights say the same
    weights = run / WEIGHTS_NAME
    try:
        metadata = read_metadata(weights)
    except UserError as error:
        raise UserError(
            f"{source}: a {FAMILY} says neither network nor classes; {RECIPE} and {DATA}, or "
            f"{WEIGHTS_NAME}, must be in the folder above its own, {run}, and cannot be read there"
        ) from error
    return metadata, f"from {weights}: network, classes and preprocessing"


def _from_recipe(run: Path) -> WeightsMetadata:
    recipe = check(read_recipe(run / RECIPE), str(run / RECIPE))
    names = KeptIdentity(run / DATA).classes
    network = network_of(recipe, len(names))
    metadata = WeightsMetadata(
        network,
        tuple(ClassName(name, name) for name in names),
        preprocessing_of(recipe, network.in_channels),
        recipe=recipe.as_dict(),
    )
    return WeightsMetadata.from_header(metadata.to_header())  # ValueError for names that are none
