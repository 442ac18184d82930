"""Schema of a recipe, which defines a training run. No torch.

The sections are network, data, augmentation, loss, optimizer, schedule, averaging, trainer and
checkpoint.
Unknown keys are errors that name the dotted key.
"""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Annotated, Any, get_args

from pydantic import Discriminator, Tag, ValidationError

from inceptcli.errors import UsageError
from inceptcli.recipe import methods
from inceptcli.recipe.section import Section, with_names
from inceptcli.recipe.sections import (
    AugmentationSection,
    AveragingSection,
    CheckpointSection,
    DataSection,
    LossSection,
    NetworkSection,
    TrainerSection,
)


def _named(default: str) -> Discriminator:
    def name(value: Any) -> Any:
        return dict(value).get("name", default) if isinstance(value, dict | Section) else default

    return Discriminator(name)


class Recipe(Section):
    """All settings of a training run; every key has a default."""

    network: NetworkSection = NetworkSection()
    data: DataSection = DataSection()
    augmentation: AugmentationSection = AugmentationSection()
    loss: LossSection = LossSection()
    optimizer: Annotated[
        Annotated[methods.AdamWSettings, Tag("adamw")]
        | Annotated[methods.MomentumSGDSettings, Tag("sgd")]
        | Annotated[methods.RMSPropTFSettings, Tag("rmsprop_tf")]
        | Annotated[methods.LambSettings, Tag("lamb")],
        _named("adamw"),
    ] = methods.AdamWSettings()
    schedule: Annotated[
        Annotated[methods.OneCycle, Tag("one-cycle")]
        | Annotated[methods.Cosine, Tag("cosine")]
        | Annotated[methods.Staircase, Tag("staircase")]
        | Annotated[methods.Constant, Tag("constant")],
        _named("one-cycle"),
    ] = methods.OneCycle()
    averaging: AveragingSection = AveragingSection()
    trainer: TrainerSection = TrainerSection()
    checkpoint: CheckpointSection = CheckpointSection()

    def as_dict(self) -> dict[str, Any]:
        """Return plain values with every default filled in, valid input for `check`."""
        return self.model_dump(mode="json")


def check(values: Mapping[str, Any], place: str = "recipe") -> Recipe:
    """Validate plain `values` as a recipe; `schedule: cosine` means {name: cosine}.

    Raises UsageError with `place`, the dotted key, the rule and the value.
    """
    try:
        return Recipe.model_validate(with_names(values))
    except ValidationError as error:
        raise UsageError(f"{place}: {explain(error)}") from error


def section_kinds(section: str) -> dict[str | None, type[Section]]:
    """Return the classes of a section by method name; the key is None when there is only one."""
    annotation = Recipe.model_fields[section].annotation
    if isinstance(annotation, type):
        return {None: annotation}
    return {tag.tag: kind for kind, tag in map(get_args, get_args(annotation))}


def explain(error: ValidationError, model: type[Section] = Recipe) -> str:
    """Describe the first error in a `model`: dotted key, rule and value."""
    first, *others = error.errors(include_url=False)
    place = [str(part) for part in first["loc"] if part != "[key]"]
    if model is Recipe:  # section.key; pydantic inserts the member of a union
        tags = {tag for section in Recipe.model_fields for tag in section_kinds(section)}
        place = [part for part in place if part not in tags][:2]
    key = ".".join(place)
    if first["type"] == "extra_forbidden":
        return f"unknown key {key}{_suggestion(model, first['loc'])}"
    if first["type"] == "union_tag_invalid":
        found, known = first["ctx"]["tag"], first["ctx"]["expected_tags"]
        return f"{key}.name must be one of {known}, got {reprlib.repr(found)}"
    rule = first["msg"].removeprefix("Value error, ").removeprefix("Input ")
    rule = rule.replace("should", "must").replace(" after validation", "")
    if first["type"] == "bool_type":
        rule = "must be true or false"
    if others and others[0]["type"] == "literal_error" and others[0]["loc"][:2] == first["loc"][:2]:
        rule += f" or {others[0]['ctx']['expected']}"  # a number or a word
    return f"{key} {rule}, got {reprlib.repr(first['input'])}"


def _suggestion(model: type[Section], place: tuple[int | str, ...]) -> str:
    """Suggest the closest known key, or list the known keys."""
    section, *name, wrong = ("", *place) if len(place) == 1 else place
    if not section:
        known = list(model.model_fields)
    elif model is Recipe:
        known = list(section_kinds(str(section))[str(name[0]) if name else None].model_fields)
    else:
        return ""
    meant = get_close_matches(str(wrong), known, n=1)
    if meant:
        return f"; did you mean {section}{'.' if section else ''}{meant[0]}?"
    return f"; known{' of ' if name else ''}{''.join(map(str, name))}: {', '.join(known)}"
