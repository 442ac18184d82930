"""Network options and preprocessing of a recipe. No torch."""

from __future__ import annotations

from inceptcli.data.pixels.preprocessing import Preprocessing
from inceptcli.networks.registry import NetworkOptions, network_options
from inceptcli.recipe.schema import Recipe


def network_of(recipe: Recipe, num_classes: int) -> NetworkOptions:
    """Return the recipe's network options with `num_classes`; raise ValueError if invalid."""
    options = recipe.network.model_dump(exclude={"name", "init", "freeze", "auxiliary_weight"})
    return network_options(recipe.network.name, num_classes=num_classes, **options)


def preprocessing_of(recipe: Recipe, channels: int) -> Preprocessing:
    """Return the recipe's preprocessing for images with `channels` channels."""
    data = recipe.data
    return Preprocessing(
        data.height_and_width,
        data.resize,
        data.crop_fraction,
        data.interpolation,
        _by_channel(data.mean, channels),
        _by_channel(data.std, channels),
        data.antialias,
    )


def _by_channel(value: float | list[float], channels: int) -> tuple[float, ...]:
    """Return one value per channel; average three values for gray images."""
    values = value if isinstance(value, list) else [value] * channels
    return tuple(values) if len(values) == channels else (sum(values) / len(values),)
