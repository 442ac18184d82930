"""The schema of a recipe: all that defines a training run, checked without torch.

The sections are network, data, augmentation, optimizer, schedule, averaging, trainer, checkpoint.
An unknown key is an error with its dotted place.
"""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Discriminator, Tag, ValidationError

from inceptcli.errors import UsageError
from inceptcli.recipe import methods
from inceptcli.recipe.section import Section
from inceptcli.recipe.sections import (
    Augmentation,
    Averaging,
    Checkpoint,
    Data,
    Network,
    Trainer,
)


def _named(default: str) -> Discriminator:
    def name(value: Any) -> Any:
        return dict(value).get("name", default) if isinstance(value, dict | Section) else default

    return Discriminator(name)


class Recipe(Section):
    """A whole run. Every key has a default, so that a recipe states only what matters to it."""

    network: Network = Network()
    data: Data = Data()
    augmentation: Augmentation = Augmentation()
    optimizer: Annotated[
        Annotated[methods.AdamW, Tag("adamw")]
        | Annotated[methods.MomentumSGD, Tag("sgd")]
        | Annotated[methods.RMSPropTF, Tag("rmsprop_tf")]
        | Annotated[methods.Lamb, Tag("lamb")],
        _named("adamw"),
    ] = methods.AdamW()
    schedule: Annotated[
        Annotated[methods.OneCycle, Tag("one-cycle")]
        | Annotated[methods.Cosine, Tag("cosine")]
        | Annotated[methods.Staircase, Tag("staircase")]
        | Annotated[methods.Constant, Tag("constant")],
        _named("one-cycle"),
    ] = methods.OneCycle()
    averaging: Averaging = Averaging()
    trainer: Trainer = Trainer()
    checkpoint: Checkpoint = Checkpoint()

    def as_dict(self) -> dict[str, Any]:
        """Plain values with every default filled in; `check` accepts them again."""
        return self.model_dump(mode="json")


def check(values: Mapping[str, Any], place: str = "recipe") -> Recipe:
    """The recipe that plain `values` describe.

    Raises UsageError that names `place`, the dotted key, the rule and the value.
    """
    try:
        return Recipe.model_validate(dict(values))
    except ValidationError as error:
        raise UsageError(f"{place}: {explain(error)}") from error


def explain(error: ValidationError) -> str:
    """The first thing that is wrong: dotted key, rule and value."""
    first, *others = error.errors(include_url=False)
    tags = {"adamw", "sgd", "rmsprop_tf", "lamb", "one-cycle", "cosine", "staircase", "constant"}
    # A place is section.key; what pydantic adds to it are the members of a union.
    key = ".".join([str(part) for part in first["loc"] if part not in tags][:2])
    if first["type"] == "extra_forbidden":
        return f"unknown key {key}"
    if first["type"] == "union_tag_invalid":
        found, known = first["ctx"]["tag"], first["ctx"]["expected_tags"]
        return f"{key}.name must be one of {known}, got {reprlib.repr(found)}"
    rule = first["msg"].removeprefix("Value error, ").removeprefix("Input ")
    rule = rule.replace("should", "must").replace(" after validation", "")
    if others and others[0]["type"] == "literal_error" and others[0]["loc"][:2] == first["loc"][:2]:
        rule += f" or {others[0]['ctx']['expected']}"  # a number or a word
    return f"{key} {rule}, got {reprlib.repr(first['input'])}"
