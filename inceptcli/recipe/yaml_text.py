"""Read and write YAML 1.2 (core schema) without duplicate keys. No torch.

PyYAML alone reads YAML 1.1, where 010 is 8, 1:30 is 90, 1e-3 is text and `no` is false. The merge
key (<<) does not exist in 1.2, and PyYAML 6.0.4 merges nested merges wrongly.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import yaml

_RESOLVED = {  # by YAML 1.2.2, section 10.3.2
    "null": (r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    "bool": (r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    "int": (r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    "float": (
        r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
}
"""Pattern and possible first characters of plain scalars by tag; the first match counts."""


class _Loader(yaml.SafeLoader):
    """Load plain values only, with tags from `_RESOLVED`."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Compose a mapping; raise DuplicateKeyError when a key is repeated."""
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        lines: dict[tuple[str, str], int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            line, name = key.start_mark.line + 1, (key.tag, key.value)
            if name in lines:
                raise DuplicateKeyError(
                    f"line {line}: duplicate key {key.value}, first in line {lines[name]}"
                )
            lines[name] = line
        return node


class _Dumper(yaml.SafeDumper):
    """Quote text that YAML 1.1 or 1.2 would read as another type."""


class DuplicateKeyError(yaml.YAMLError):
    """A mapping repeats a key; the message names both lines."""


def load_yaml(text: str) -> Any:
    """Return the plain values of a YAML text.

    Raises:
        DuplicateKeyError: a mapping repeats a key.
        yaml.YAMLError, ValueError, RecursionError: the text is not valid YAML.
    """
    try:
        return yaml.load(text, _Loader)
    except AttributeError as error:  # PyYAML raises it for !!timestamp before other text
        raise yaml.YAMLError("a tag does not fit its value") from error


def dump(values: Mapping[str, Any]) -> str:
    """Return a YAML text that `load_yaml` reads as the same values in the same order."""
    return str(yaml.dump(values, Dumper=_Dumper, sort_keys=False))


def _scalar(read: Callable[[str], object], what: str) -> Callable[[_Loader, yaml.ScalarNode], Any]:
    def construct(loader: _Loader, node: yaml.ScalarNode) -> object:
        text = loader.construct_scalar(node)
        try:
            return read(text)
        except (KeyError, ValueError) as error:
            line = node.start_mark.line + 1
            raise ValueError(f"line {line}: must be {what}, got {text[:40]}") from error

    return construct


def _integer(text: str) -> int:
    return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))


def _number(text: str) -> float:
    return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))


for _tag, (_pattern, _first) in _RESOLVED.items():
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(
            f"tag:yaml.org,2002:{_tag}", re.compile(f"(?:{_pattern})$"), _first
        )
for _tag, _read, _what in (
    ("bool", lambda text: {"true": True, "false": False}[text.lower()], "true or false"),
    ("int", _integer, "a whole number"),
    ("float", _number, "a number"),
):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_tag}", _scalar(_read, _what))
