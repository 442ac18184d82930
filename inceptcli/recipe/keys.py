"""List every recipe key with its values and default, from the schema."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from inceptcli.recipe.schema import Recipe, section_kinds

TYPES = {
    "boolean": "true|false",
    "integer": "whole number",
    "null": "null",
    "number": "number",
    "string": "text",
}
UNBROKEN = 60
"""Longest choices without spaces, at which a terminal breaks lines."""

LIMITS = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}
"""Limits by their names in JSON Schema."""


def recipe_keys() -> Iterator[tuple[str, str, str]]:
    """Yield (dotted key, description, values and default) in the schema's order.

    For sections whose keys depend on their name, one default is listed per name.
    """
    for section in Recipe.model_fields:
        properties: dict[str, dict[str | None, dict[str, Any]]] = {}
        for name, kind in section_kinds(section).items():
            for key, values in kind.model_json_schema()["properties"].items():
                properties.setdefault(key, {})[name] = values
        for key, by_name in properties.items():
            meaning = next(iter(by_name.values()))["description"]
            yield f"{section}.{key}", meaning, _values_and_default(by_name)


def _values_and_default(by_name: Mapping[str | None, Mapping[str, Any]]) -> str:
    shown = " or ".join(dict.fromkeys(map(_values, by_name.values())))
    if all("const" in values for values in by_name.values()):
        default = next(values["default"] for values in by_name.values() if "default" in values)
        return f"{shown.replace(' or ', '|')}; default {default}"
    defaults = [
        " ".join(filter(None, (name, json.dumps(values["default"]))))
        for name, values in by_name.items()
    ]
    return f"{shown}; default {', '.join(defaults)}"


def _values(schema: Mapping[str, Any]) -> str:
    if "anyOf" in schema:
        return " or ".join(map(_values, schema["anyOf"]))
    if "const" in schema:
        return str(schema["const"])
    if "enum" in schema:
        choices = "|".join(map(str, schema["enum"]))
        return choices if len(choices) <= UNBROKEN else choices.replace("|", " | ")
    if schema["type"] == "array":
        items = _values(schema["items"])
        return f"[{schema['minItems']} of {items}]" if "minItems" in schema else f"[{items}, ...]"
    limits = [f"{sign} {schema[word]}" for word, sign in LIMITS.items() if word in schema]
    return " ".join([TYPES[schema["type"]], ", ".join(limits)]).rstrip()
