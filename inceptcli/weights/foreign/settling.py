"""Choice of an imported network's classes and preprocessing: declared or assumed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inceptcli.data.pixels.preprocessing import Preprocessing
from inceptcli.errors import UserError
from inceptcli.weights.foreign.declared import Declared
from inceptcli.weights.imagenet_classes import imagenet_classes
from inceptcli.weights.keys.key_table import KeyTable
from inceptcli.weights.metadata import ClassName
from inceptcli.weights.timm_export import TIMM

NUM_IMAGENET_CLASSES = 1000

FLAGS = {
    "image_size": "--image-size",
    "crop_fraction": "--crop-fraction",
    "interpolation": "--interpolation",
    "mean": "--mean",
    "std": "--std",
}


@dataclass(frozen=True)
class Settled:
    """Classes and preprocessing of an imported network.

    `assumed` lists the assumed fields ("classes", "mean", ...), `origins` maps the other fields to
    their source, and `remarks` are notices for the user.
    """

    classes: tuple[ClassName, ...]
    preprocessing: Preprocessing
    unnamed: bool
    assumed: list[str]
    origins: dict[str, str]
    remarks: tuple[str, ...]


def settle(
    source: Path, table: KeyTable, count: int, declared: Sequence[Declared], headless: bool
) -> Settled:
    """Choose each value from the first of `declared` that states it, else assume the family's.

    `count` is the number of classifier rows. A `headless` network has no trained classifier.

    Raises UserError if the number of declared classes differs from `count` or a preprocessing value
    is invalid.
    """
    fitting, remarks = [], []
    for entry in declared:
        if describes(entry, table):
            fitting.append(entry)
        else:
            remarks.append(f"skipped {entry.origin}: it describes {entry.architecture}")
    classes, origin = next(((e.classes, e.origin) for e in fitting if e.classes), (None, ""))
    if classes is not None and len(classes) != count:
        raise UserError(
            f"{source}: {origin} lists {len(classes)} classes, but the classifier has {count}; "
            "list them in the order of its rows with --classes FILE|FOLDER"
        )
    taken = {e.origin: dict(e.preprocessing) for e in fitting}
    if classes is not None:
        taken[origin]["classes"] = classes
    preprocessing, origins = _preprocessing(source, table, fitting)
    assumed = [name for name in vars(preprocessing) if name not in origins]
    is_imagenet = table.imagenet and count == NUM_IMAGENET_CLASSES
    unnamed = classes is None and not is_imagenet
    if classes is None:
        assumed.insert(0, "classes")
        classes = imagenet_classes() if is_imagenet else _numbered(count)
    else:
        origins["classes"] = origin
    for name in dict.fromkeys(origins.values()):
        what = [key for key, value in origins.items() if value == name]
        remarks.append(f"from {name}: {_in_words(what, preprocessing, count)}")
    if words := _in_words([n for n in assumed if n != "classes"], preprocessing, count):
        flags = ", ".join(FLAGS[name] for name in assumed if name in FLAGS)
        remarks.append(f"assumed for {table.family}: {words}{f' ({flags})' * bool(flags)}")
    if "classes" in assumed and is_imagenet:
        remarks.append("assumed: the 1000 classes are ImageNet's, by synset id (--classes)")
    elif unnamed and not headless:
        remarks.append(
            f"the {count} classes are unnamed and cannot be matched by name; name them with "
            "--classes FILE|FOLDER"
        )
    return Settled(classes, preprocessing, unnamed, assumed, origins, tuple(remarks))


def describes(entry: Declared, table: KeyTable) -> bool:
    """Return whether an entry is about the network of `table`, or may be."""
    return entry.architecture in (None, TIMM.get(table.network, ("", None))[0])


def _numbered(count: int) -> tuple[ClassName, ...]:
    return tuple(ClassName(str(index), f"class {index}") for index in range(count))


def _preprocessing(
    source: Path, table: KeyTable, declared: Sequence[Declared]
) -> tuple[Preprocessing, dict[str, str]]:
    values: dict[str, Any] = dict(vars(table.preprocessing))
    origins: dict[str, str] = {}
    for entry in reversed(declared):
        values |= entry.preprocessing
        origins |= dict.fromkeys(entry.preprocessing, entry.origin)
    try:
        found = Preprocessing(**values)
        for name in ("mean", "std"):
            if max(getattr(found, name)) > 1:
                raise ValueError(f"{name} must be at most 1; divide by 255")
    except ValueError as error:
        name = str(error).partition(" ")[0]
        place = origins.get(name, str(source))
        flag = FLAGS.get(name, "a flag")
        raise UserError(f"{place}: {error}; override it with {flag}") from error
    return found, {name: origins[name] for name in values if name in origins}


def _in_words(names: Sequence[str], preprocessing: Preprocessing, count: int) -> str:
    height, width = preprocessing.image_size
    words = {
        "classes": f"{count} classes",
        "image_size": f"images of {height}x{width}",
        "resize": f"resize {preprocessing.resize}",
        "crop_fraction": f"crop fraction {preprocessing.crop_fraction:g}",
        "interpolation": preprocessing.interpolation,
        "antialias": "" if preprocessing.antialias else "not antialiased",
        "mean": f"mean {_numbers(preprocessing.mean)}",
        "std": f"std {_numbers(preprocessing.std)}",
    }
    return ", ".join(text for name, text in words.items() if text and name in names)


def _numbers(values: tuple[float, ...]) -> str:
    shown = [f"{value:.4g}" for value in values]
    return shown[0] if len({*shown}) == 1 else "/".join(shown)
