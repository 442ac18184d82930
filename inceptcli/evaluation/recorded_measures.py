"""Read measures for a model card: those that `eval` wrote, or those of the training run."""

from __future__ import annotations

import json
import math
from pathlib import Path, PurePath
from typing import Any, NamedTuple

from inceptcli.errors import UsageError
from inceptcli.evaluation.images import validated_once
from inceptcli.evaluation.measures import wilson_interval
from inceptcli.prediction.recorded_options import in_words
from inceptcli.text import tells_top5
from inceptcli.weights.metadata import WeightsMetadata

MAXIMUM_BYTES = 256 * 1024**2

ROUNDING = 1e-9

NAMES = {
    "top1": "top-1 accuracy",
    "top5": "top-5 accuracy",
    "loss": "loss (nats)",
    "macro_f1": "macro F1",
    "balanced_accuracy": "balanced accuracy",
    "average_precision": "mAP",
    "micro_f1": "micro F1",
    "auroc": "AUROC",
}

ONE_LABEL = ("top1", "top5", "loss", "macro_f1", "balanced_accuracy")
MULTI_LABEL = ("average_precision", "micro_f1", "macro_f1", "auroc", "loss")

FILES = ("classes", "labels")
"""Recorded options that are files."""

USUAL_INTERVALS = "Wilson's for accuracies, the normal approximation for the loss"


class Measure(NamedTuple):
    """A measure, one of NAMES, with its 95 % interval, None if unknown."""

    key: str
    value: float
    interval: tuple[float, float] | None


class Measures(NamedTuple):
    """Measures of one evaluation.

    Attributes:
        what: Which images, and how they were measured.
        split: Name of the split.
        images: Number of images; None if unknown.
        figures: ONE_LABEL or MULTI_LABEL, as far as they are known.
        intervals: What the intervals are.
        weights: Names of the weights that were measured, as they were given.
    """

    what: str
    split: str
    images: int | None
    figures: tuple[Measure, ...]
    intervals: str = USUAL_INTERVALS
    weights: tuple[str, ...] = ()

    def are_of(self, weights: str, file: Path) -> bool:
        """Return whether `weights` were measured, in the weights file `file`."""
        own = [Path(weights), file, *[file.parent] * (file.name == "model.safetensors")]
        places = {path.resolve() for path in own}
        return all(Path(name).resolve() in places for name in self.weights)


def measures_in(file: Path, metadata: WeightsMetadata) -> Measures:
    """Read the output of `eval --format json` for weights with the classes of `metadata`.

    Raises UsageError if the file is anything else, or of other classes.
    """
    flag = f"--measures {file}"
    try:
        if file.stat().st_size > MAXIMUM_BYTES:
            raise UsageError(f"{flag}: over the limit of {MAXIMUM_BYTES} bytes")
        values = json.loads(file.read_text("utf-8"))
    except OSError as error:
        raise UsageError(f"{flag}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{flag}: not what `inceptcli eval --format json` writes") from error
    try:
        classes = [entry["class"] for entry in values["per_class"]]
        found = Measures(
            _how(values),
            str(values["split"]),
            int(values["images"]),
            _figures(values),
            USUAL_INTERVALS if (drawn := values.get("bootstrap")) is None else _drawn(drawn),
            tuple(map(str, values["weights"])),
        )
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise UsageError(f"{flag}: not what `inceptcli eval --format json` writes") from error
    if classes != [entry.id for entry in metadata.classes]:
        raise UsageError(f"{flag}: its classes are not those of the weights")
    return found


def _how(values: dict[str, Any]) -> str:
    crops, skipped = int(values["crops"]), len(values["skipped"])
    how = [f"split {values['split']}"] if values["split"] != "all" else []
    how.append("1 crop of each image" if crops == 1 else f"{crops} crops of each image")
    how += [f"{_count(int(values['excluded']))} excluded"] * bool(values["excluded"])
    for name in ("unlabeled", "of_other_classes"):
        how += [f"{_count(int(n))} {name.replace('_', ' ')}"] if (n := values.get(name)) else []
    how += [f"{_count(skipped)} skipped as unreadable"] * bool(skipped)
    how += in_words(_recorded(values))
    how += [f"an ensemble of {len(values['weights'])} networks"] * (len(values["weights"]) > 1)
    return ", ".join(how)


def _recorded(values: dict[str, Any]) -> dict[str, Any]:
    """Return the options on which the figures depend, files by their names alone.

    A coverage changes none of them, nor does a threshold of two classes.
    """
    found = {name: value for name, value in values.items() if name != "coverage_level"}
    if "micro_f1" not in values:
        found.pop("threshold", None)
    return found | {name: PurePath(found[name]).name for name in FILES if name in found}


def _count(images: int) -> str:
    return f"{images} image{'s' * (images != 1)}"


def _figures(values: dict[str, Any]) -> tuple[Measure, ...]:
    """Return the measures that are defined; with a bootstrap, all have its intervals."""
    drawn = values.get("bootstrap")
    intervals = values if drawn is None else {**values, **drawn}
    return tuple(
        _figure(key, values[key], intervals.get(f"{key}_interval"), drawn is not None)
        for key in (MULTI_LABEL if "micro_f1" in values else ONE_LABEL)
        if values[key] is not None and (key != "top5" or tells_top5(len(values["per_class"])))
    )


def _figure(key: str, value: Any, interval: Any, is_drawn: bool) -> Measure:
    low, high = map(float, (value, value) if interval is None else interval)
    # A percentile interval need not contain the measure.
    inside = low <= high if is_drawn else low - ROUNDING <= float(value) <= high + ROUNDING
    if not inside or not math.isfinite(float(value)):
        raise ValueError(key)
    return Measure(key, float(value), None if interval is None else (low, high))


def _drawn(drawn: dict[str, Any]) -> str:
    number, group = int(drawn["resamples"]), drawn["group"]
    what = "images" if group is None else f"{int(drawn['groups'])} groups ({group})"
    return f"95 % percentile bootstrap, {number} resamples of {what}"


def measures_of_run(metadata: WeightsMetadata, images: int | None) -> Measures | None:
    """Return what a run measured on its `images` validation images; None if not recorded.

    It validated on fewer if its recipe limits the batches.
    """
    trainer = (metadata.recipe or {}).get("trainer")
    is_limited = isinstance(trainer, dict) and trainer.get("limit_batches") is not None
    if is_limited:
        images = None
    figures = []
    for key in NAMES:
        value = metadata.metrics.get(f"val_{key}")
        if value is None or not -1e300 < value < 1e300:
            continue
        if key == "top5" and not tells_top5(len(metadata.classes)):
            continue
        is_share = key in ("top1", "top5") and images and 0 <= value <= 1
        interval = wilson_interval(round(value * images), images) if is_share and images else None
        figures.append(Measure(key, value, interval))
    if not figures:
        return None
    how = "part of " * is_limited + "the run's validation images, 1 crop of each"
    if not validated_once(metadata):
        how += "; its best epoch was chosen on them, so the measures are slightly optimistic"
    return Measures(how, "val", images, tuple(figures))
