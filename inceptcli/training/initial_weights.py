"""Find the initial weights of a run and take network and preprocessing from them. No torch."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

from inceptcli.data.pixels.preprocessing import Preprocessing
from inceptcli.errors import UsageError
from inceptcli.networks.registry import WEIGHTS_NETWORK, NetworkOptions, network_options
from inceptcli.recipe.file import override
from inceptcli.recipe.schema import Recipe, check
from inceptcli.training.resuming import EarlierRun
from inceptcli.weights.fetched.published import (
    find_weights,
    published_name,
    published_preprocessing,
)
from inceptcli.weights.file import read_metadata
from inceptcli.weights.onnx_file import is_onnx

LAYOUT = (
    "width", "repeats", "residual_scales", "shortcut", "batch_norm_on_sums", "batch_norm_eps",
    "count_padding",
)  # fmt: skip
"""Network options that must match the weights."""

INHERITED = (
    *LAYOUT, "dropout", "batch_norm_momentum", "batch_norm_scale", "initialization", "in_channels"
)  # fmt: skip
"""Network options taken from the weights if the recipe does not set them."""

PREPROCESSING = tuple(field.name for field in fields(Preprocessing))


def completed(recipe: Recipe, earlier: EarlierRun) -> Recipe:
    """Fill unset network and preprocessing keys of `recipe` from its `network.init`.

    An `earlier` run with a checkpoint provides them instead, since the weights may be gone. Only
    `hf-hub:` weights are downloaded.

    Raises UsageError when the weights are missing or have another network, UserError when they
    cannot be read.
    """
    init = recipe.network.init
    if init is None:
        return recipe
    run = earlier.recipe if earlier.has_weights else None
    if run is not None and run.network.init == init:
        network = {key: getattr(run.network, key) for key in ("name", *INHERITED)}
        data = {key: getattr(run.data, key) for key in PREPROCESSING}
    else:
        options, preprocessing = _network_and_preprocessing(
            init, _explicit(recipe.network, "name") or WEIGHTS_NETWORK
        )
        network = {key: getattr(options, key) for key in ("name", *INHERITED)}
        data = _as_recipe(preprocessing)
    if (named := _explicit(recipe.network, "name")) not in (None, network["name"]):
        raise _contradiction("name", named, init, network["name"])
    changes = {
        f"{section}.{key}": list(value) if isinstance(value, tuple) else value
        for section, values in (("network", network), ("data", data))
        for key, value in values.items()
        if _explicit(getattr(recipe, section), key) is None
    }
    return check(override(recipe.as_dict(), changes), f"recipe completed from {init}")


def _network_and_preprocessing(init: str, name: str) -> tuple[NetworkOptions, Preprocessing]:
    published = published_name(init, name)
    if published is None:
        metadata = read_metadata(find_weights(init))
        return metadata.network, metadata.preprocessing
    return network_options(published.network), published_preprocessing(published.network)


def starting_file(init: str, network: NetworkOptions) -> Path:
    """Return the weights file that `init` names, with the layout of `network`.

    Classes and input channels may differ. Raises UsageError when there is no such file or it has
    another network, and what `obtain` raises.
    """
    published = published_name(init, network.name)
    if published is not None:  # before the download
        _check_layout(network, network_options(published.network), init)
    path = find_weights(init, network.name)
    if is_onnx(path):
        raise UsageError(f"--init {init}: an ONNX file; give the weights it was exported from")
    _check_layout(network, read_metadata(path).network, init)
    return path


def _check_layout(network: NetworkOptions, of_weights: NetworkOptions, init: str) -> None:
    """Raise UsageError if `network` is not of the layout that the weights `init` have."""
    for key in ("name", *LAYOUT):
        ours, theirs = getattr(network, key), getattr(of_weights, key)
        if ours != theirs:
            raise _contradiction(key, ours, init, theirs)


def _contradiction(key: str, ours: Any, init: str, theirs: Any) -> UsageError:
    flag = "--arch or network.name" if key == "name" else f"network.{key}"
    return UsageError(
        f"{flag} {_shown(ours)}: --init {init} has weights of {key} {_shown(theirs)}; leave it "
        "out to use that of the weights"
    )


def _shown(value: Any) -> str:
    return str(list(value) if isinstance(value, tuple) else value).lower()


def _explicit(section: Any, key: str) -> Any:
    """Return a value that the recipe sets explicitly, or None."""
    return getattr(section, key) if key in section.model_fields_set else None


def _as_recipe(preprocessing: Preprocessing) -> dict[str, Any]:
    height, width = preprocessing.image_size
    return {
        "image_size": height if height == width else [height, width],
        "resize": preprocessing.resize,
        "crop_fraction": preprocessing.crop_fraction,
        "interpolation": preprocessing.interpolation,
        "mean": _one_or_three(preprocessing.mean),
        "std": _one_or_three(preprocessing.std),
        "antialias": preprocessing.antialias,
    }


def _one_or_three(values: tuple[float, ...]) -> float | list[float]:
    return values[0] if len({*values}) == 1 else list(values)
