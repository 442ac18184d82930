"""Export of a folder for the Hugging Face Hub: in timm's format or with our weights file."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Any

from inceptcli.networks.registry import describe
from inceptcli.weights.file import WEIGHTS_NAME, load_network, read_metadata, save
from inceptcli.weights.foreign.declared import CROP_MODES
from inceptcli.weights.metadata import WeightsMetadata
from inceptcli.weights.timm_export import TimmExport, lacking_in_timm, to_timm

PLACES = {"data": ("path", "val_path", "exclude"), "network": ("init",)}
"""Recipe keys that contain paths of the training machine."""

_PUBLIC = ("family", "repository", "revision", "commit", "sha256")
"""Keys of a weights file's `source` that contain no paths."""


def write_for_hub(weights: Path, folder: Path) -> TimmExport | None:
    """Write model.safetensors and config.json in timm's format into an existing `folder`.

    If timm does not support the network, or its format the outputs (sigmoid), write
    model.safetensors as our weights file, without config.json, and return None.

    Raises UserError if the weights cannot be read.
    """
    metadata = read_metadata(weights)
    if why_not_timm(metadata) is not None:
        network, metadata = load_network(weights)
        save(folder / WEIGHTS_NAME, network.state_dict(), without_places(metadata))
        return None
    written = to_timm(weights, folder / WEIGHTS_NAME)
    config = json.dumps(_config(metadata, written), indent=2, ensure_ascii=False) + "\n"
    (folder / "config.json").write_text(config, "utf-8", "backslashreplace")
    return written


def why_not_timm(metadata: WeightsMetadata) -> str | None:
    """Return the reason why a repository cannot be in timm's format, or None."""
    if metadata.outputs == "sigmoid":
        return "timm's format does not say that the outputs are sigmoid"
    return lacking_in_timm(metadata.network)


def without_places(metadata: WeightsMetadata) -> WeightsMetadata:
    """Return the metadata with paths of this machine reduced to file names, for publishing."""
    source = {
        key: value if key in _PUBLIC else _without_folders(value)
        for key, value in metadata.source.items()
    }
    recipe = None
    if metadata.recipe is not None:
        recipe = {name: _without_paths(name, section) for name, section in metadata.recipe.items()}
    calibration = metadata.calibration
    if calibration is not None:
        calibration = replace(calibration, data=PurePath(calibration.data).name)
    return replace(metadata, recipe=recipe, source=source, calibration=calibration)


def _without_folders(text: str) -> str:
    """Return a flag and its value, or a path, with file names only; folders may have spaces."""
    return re.sub(r"(?<!\S)\S*/", "", re.sub(r"(?<!\S)/.*/", "", text))


def _without_paths(name: str, section: Any) -> Any:
    if not isinstance(section, dict):
        return section
    return {
        key: PurePath(value).name
        if key in PLACES.get(name, ()) and isinstance(value, str) and "hf-hub:" not in value
        else value
        for key, value in section.items()
    }


def _config(metadata: WeightsMetadata, written: TimmExport) -> dict[str, Any]:
    """Return the content of timm's config.json."""
    import timm

    known = timm.get_pretrained_cfg(written.model)
    assert known is not None
    view = metadata.preprocessing
    modes = {ours: theirs for theirs, ours in CROP_MODES.items()}
    named = written.num_classes > 0 and not metadata.unnamed
    return {
        "architecture": written.model,
        "num_classes": written.num_classes,
        "num_features": describe(metadata.network).num_features,
        **({"label_names": [entry.id for entry in metadata.classes]} if named else {}),
        **({"label_descriptions": dict(metadata.classes)} if named else {}),
        "antialias": view.antialias,  # timm refuses keys that it does not know below
        "pretrained_cfg": {
            "custom_load": False,
            "input_size": [3, *view.image_size],
            "fixed_input_size": False,
            "interpolation": view.interpolation,
            "crop_pct": view.crop_fraction,
            "crop_mode": modes[view.resize],
            "mean": list(view.mean),
            "std": list(view.std),
            "num_classes": written.num_classes,
            "pool_size": None,
            "first_conv": known.first_conv,
            "classifier": known.classifier,
        },
    }
