"""Classes and preprocessing declared for another library's weights, outside the weights file.

Sources are flags, a file or folder of classes, and the config.json that timm and transformers
write next to the weights. No torch.
"""

from __future__ import annotations

import json
import logging
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from inceptcli.data.text_files import read_text
from inceptcli.errors import UsageError, UserError
from inceptcli.text import composed, printable
from inceptcli.weights.metadata import ClassName

logger = logging.getLogger(__name__)

PLACEHOLDER = re.compile(r"LABEL_\d+")
"""Placeholder class names of transformers."""

SLIM_LINE = re.compile(r"(\d{1,9}):(.+)")

NUMBER = re.compile("[0-9]{1,9}")
CROP_MODES = {"center": "short-side", "squash": "squash"}


@dataclass(frozen=True)
class Declared:
    """Classes and preprocessing declared by one source; anything missing is not declared.

    `origin` names the source, `architecture` is timm's name of the network, if any, and
    `preprocessing` contains fields of Preprocessing. Timm's networks for embeddings have no
    classifier.
    """

    origin: str
    classes: tuple[ClassName, ...] | None = None
    preprocessing: Mapping[str, Any] = field(default_factory=dict)
    architecture: str | None = None
    has_classifier: bool = True


def config_beside(source: Path) -> Declared | None:
    """Read the config.json in the folder of `source`; return None if there is none."""
    path = source.with_name("config.json")
    return declared_in(path, str(path)) if path.is_file() else None


def declared_in(path: Path, origin: str) -> Declared | None:
    """Read a config.json of timm or transformers; return None for any other config.json.

    Raises UserError if its classes or sizes are malformed.
    """
    try:
        config = json.loads(read_text(path))
    except (ValueError, RecursionError):
        config = None
    known = ("pretrained_cfg", "architecture", "label_names", "id2label")
    if not isinstance(config, dict) or not any(key in config for key in known):
        logger.info(f"{origin}: skipped, not in the format of timm or transformers")
        return None
    nested = config.get("pretrained_cfg")
    fields = nested if isinstance(nested, dict) else config
    architecture = config.get("architecture")
    return Declared(
        origin,
        _labels(origin, config, fields),
        _preprocessing(origin, config, fields),
        architecture.partition(".")[0] if isinstance(architecture, str) else None,
        config.get("num_classes", fields.get("num_classes")) != 0,
    )


def _labels(
    path: Path | str, config: dict[str, Any], fields: dict[str, Any]
) -> tuple[ClassName, ...] | None:
    labels = config.get("label_names") or fields.get("label_names") or config.get("id2label")
    if not labels:
        return None
    names = _ordered(path, labels)
    if all(map(PLACEHOLDER.fullmatch, names)):
        return None
    described = config.get("label_descriptions") or fields.get("label_descriptions") or {}
    if not isinstance(described, dict):
        described = {}
    return _named(path, [(name, str(described.get(name, name))) for name in names])


def _preprocessing(
    path: Path | str, config: dict[str, Any], fields: dict[str, Any]
) -> dict[str, Any]:
    """Return the fields stated; `antialias` is our own, since timm and transformers always do."""
    stated: dict[str, Any] = {}
    if (size := fields.get("input_size")) is not None:
        if not isinstance(size, list) or len(size) != 3:
            raise UserError(f"{path}: input_size must be [channels, height, width], got {size!r}")
        stated["image_size"] = tuple(size[1:])
    if (mode := fields.get("crop_mode")) is not None:
        if not isinstance(mode, str) or mode not in CROP_MODES:
            known = " and ".join(CROP_MODES)
            raise UserError(f"{path}: crop_mode {mode!r} is not supported; only {known} are")
        stated["resize"] = CROP_MODES[mode]
    for theirs, ours in (("crop_pct", "crop_fraction"), ("interpolation", "interpolation")):
        if fields.get(theirs) is not None:
            stated[ours] = fields[theirs]
    for name in ("mean", "std"):
        if (value := fields.get(name)) is not None:
            stated[name] = tuple(value) if isinstance(value, list) else value
    return stated | ({"antialias": config.get("antialias") is not False} if stated else {})


def declared_classes(path: Path) -> tuple[ClassName, ...]:
    """Read the classes in the order of the classifier's rows from a file or a dataset folder.

    A text file has one name per line, or a row and a name (`0:daisy`) as in TF-slim. JSON is a list
    of names, or an object mapping names to rows or rows to names. Class folders are sorted as in
    torchvision's ImageFolder.

    Raises UsageError if there are no classes or a name appears twice.
    """
    if path.is_dir():
        from inceptcli.data.open_data import open_dataset  # slow: imports the readers of shards

        dataset = open_dataset(str(path))
        which = dataset.training or dataset.default or "all"
        names = list(dataset.images(which, None).classes)
        if names != sorted(names, key=_natural):
            logger.info(
                f"{path}: classes in the order {', '.join(map(printable, names[:4]))}, ..., sorted "
                "as by torchvision; timm's loader sorts numbers by value, so for a network trained "
                "with timm use a file that lists the classes"
            )
        return tuple(ClassName(name, name) for name in names)
    if not path.is_file():
        raise UsageError(f"--classes {path}: no such file or folder")
    if path.suffix.lower() == ".json":
        try:
            names = _ordered(path, json.loads(read_text(path)))
        except (ValueError, RecursionError) as error:
            raise UsageError(f"--classes {path}: not JSON: {error}") from error
    else:
        names = _names_in_lines(path, [line.strip() for line in read_text(path).splitlines()])
    if not names:
        raise UsageError(f"--classes {path}: lists no classes")
    return _named(path, [(name, name) for name in names])


def _names_in_lines(path: Path, lines: Sequence[str]) -> list[str]:
    """Return the names by row; in TF-slim's labels.txt lines start with the row (`0:daisy`)."""
    names = [line for line in lines if line]
    numbered = [found for name in names if (found := SLIM_LINE.fullmatch(name))]
    if not names or len(numbered) < len(names):
        return names
    rows = {found[1]: found[2] for found in numbered}
    if len(rows) < len(names) or set(map(int, rows)) != set(range(len(names))):
        raise UserError(
            f"{path}: its {len(names)} classes must have the rows 0 to {len(names) - 1}"
        )
    return [name for _, name in sorted(rows.items(), key=lambda row: int(row[0]))]


def _natural(name: str) -> list[tuple[int, int | str]]:
    parts = re.split(r"(\d+)", name.lower())
    return [(0, int(part)) if part.isdecimal() else (1, part) for part in parts]


def _ordered(path: Path | str, labels: Any) -> list[str]:
    """Return the names by row from a list, {row: name} or {name: row}."""
    rows = labels
    if isinstance(labels, dict):
        if all(isinstance(value, int) for value in labels.values()):
            numbered = {row: name for name, row in labels.items()}
        else:
            numbered = {
                int(row) if NUMBER.fullmatch(row) else row: name for row, name in labels.items()
            }
        if len(numbered) != len(labels) or set(numbered) != set(range(len(labels))):
            raise UserError(
                f"{path}: its {len(labels)} classes must have the rows 0 to {len(labels) - 1}"
            )
        rows = [numbered[row] for row in range(len(labels))]
    if not isinstance(rows, list) or not all(isinstance(name, str) and name for name in rows):
        raise UserError(f"{path}: classes must be a list of names, or an object of names and rows")
    return rows


def _named(path: Path | str, entries: Sequence[tuple[str, str]]) -> tuple[ClassName, ...]:
    classes = tuple(ClassName(*map(composed, entry)) for entry in entries)
    ids = [entry.id for entry in classes]
    if len(set(ids)) != len(ids):
        twice = next(key for key, count in Counter(ids).items() if count > 1)
        raise UsageError(f"{path}: names the class {twice} twice")
    return classes
