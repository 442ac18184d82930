"""Weights in a training checkpoint, described by its run directory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from inceptcli.data.identity import KeptIdentity
from inceptcli.errors import UsageError, UserError
from inceptcli.recipe.file import read_recipe
from inceptcli.recipe.schema import Recipe, check
from inceptcli.weights.file import WEIGHTS_NAME, read_metadata
from inceptcli.weights.metadata import ClassName, WeightsMetadata
from inceptcli.weights.trained_network import network_of, preprocessing_of

if TYPE_CHECKING:
    from torch import Tensor

FAMILY = "checkpoint of an inceptcli run"

STATE, CURRENT = "state_dict", "current_model_state"
"""Lightning's WeightAveraging stores the average in the first and raw weights in the second."""

PREFIX = "network."
CALLBACKS = {"ResumeCheckpoint", "Recorder"}
UNKNOWN_THRESHOLD = 0.5
RECIPE, DATA = "recipe.yaml", "data.jsonl.gz"


class Taken(NamedTuple):
    """Averaged or raw weights in a checkpoint: name of the dictionary, tensors by our keys."""

    place: str
    tensors: dict[str, Tensor]
    averaged: bool
    remarks: list[str]


def step_of(loaded: Any) -> int | None:
    """Return the optimizer step if `loaded` is a checkpoint of a run, else None."""
    callbacks = loaded.get("callbacks") if isinstance(loaded, dict) else None
    if not isinstance(callbacks, dict) or not callbacks.keys() >= CALLBACKS:
        return None
    step = loaded.get("global_step")
    return step if isinstance(step, int) else None


def taken(source: Path, groups: dict[str, dict[str, Tensor]], raw: bool) -> Taken:
    """Return the moving average, or the raw weights with `raw` or without averaging.

    Raises UserError if the checkpoint contains no network.
    """
    averages = CURRENT in groups
    place = CURRENT if raw and averages else STATE
    group = groups.get(place, {})
    tensors = {k.removeprefix(PREFIX): v for k, v in group.items() if k.startswith(PREFIX)}
    if not tensors:
        raise UserError(f"{source}: a {FAMILY} without a network in its {place}")
    averaged = averages and place == STATE
    kind = "the moving average of the weights" if averaged else "the raw weights"
    remarks = [f"using {place}: {kind}"]
    if averages:
        other = f"{CURRENT}: the raw weights (--raw uses them)"
        remarks.append(f"skipped {other if averaged else f'{STATE}: their moving average'}")
    if others := len(group) - len(tensors):
        remarks.append(f"skipped {others} tensors used only for training")
    return Taken(place, tensors, averaged, remarks)


def files_beside(source: Path) -> list[Path]:
    """Return the files that would describe `source` if it is a checkpoint in a run directory."""
    run = source.resolve().parent.parent
    return [run / name for name in (RECIPE, DATA, WEIGHTS_NAME)] * (source.suffix == ".ckpt")


def described(source: Path) -> tuple[WeightsMetadata, str]:
    """Return the metadata from the run directory of `source`, and a remark on its origin.

    Raises UserError if the run directory has neither recipe and classes nor weights.
    """
    run = source.resolve().parent.parent
    try:
        return _from_recipe(run), f"from {run}: {RECIPE}, and the classes in {DATA}"
    except (OSError, ValueError, UsageError, UserError):
        pass  # a file is missing or damaged; the best weights contain the same metadata
    weights = run / WEIGHTS_NAME
    try:
        metadata = read_metadata(weights)
    except UserError as error:
        raise UserError(
            f"{source}: a {FAMILY} does not store its network and classes; they are read from "
            f"{RECIPE} and {DATA}, or from {WEIGHTS_NAME}, but {run} has no readable ones"
        ) from error
    return metadata, f"from {weights}: network, classes and preprocessing"


def _from_recipe(run: Path) -> WeightsMetadata:
    recipe = check(read_recipe(run / RECIPE), str(run / RECIPE))
    kept = KeptIdentity(run / DATA)
    names = kept.classes
    network = network_of(recipe, len(names))
    metadata = WeightsMetadata(
        network,
        tuple(ClassName(name, name) for name in names),
        preprocessing_of(recipe, network.in_channels),
        recipe=recipe.as_dict(),
        outputs="sigmoid" if recipe.loss.name == "binary" else "softmax",
        thresholds=_thresholds(run, recipe, kept),
    )
    return WeightsMetadata.from_header(metadata.to_header())  # ValueError for invalid class names


def _thresholds(run: Path, recipe: Recipe, kept: KeptIdentity) -> list[float] | None:
    """Return the thresholds of the best weights, else UNKNOWN_THRESHOLD; None for one label."""
    pairs = recipe.data.path is None and recipe.data.shapes == "pairs"
    several = any(isinstance(image.label, tuple) for image in kept.images)
    if not pairs and not several:
        return None
    try:
        return read_metadata(run / WEIGHTS_NAME).thresholds
    except UserError:
        return [UNKNOWN_THRESHOLD] * len(kept.classes)
