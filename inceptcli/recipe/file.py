"""Find recipes by name or path, read them as YAML and apply flags. No torch."""

from __future__ import annotations

import os.path
import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from inceptcli.errors import UsageError
from inceptcli.recipe.section import NAMED_SECTIONS, with_names
from inceptcli.recipe.yaml_text import DuplicateKeyError, load_yaml

MAXIMUM_BYTES = 100_000
"""Largest size of a recipe file."""

MAXIMUM_BASES = 10
"""Largest number of recipes in a chain of bases."""

STUDIES = "studies/"
"""Folder of the studies, relative to the recipes."""


def parse_yaml(text: str, place: str) -> dict[str, Any]:
    """Return the mapping in a YAML text.

    Raises UsageError when the text is no mapping of sections, is too long or repeats a key.
    """
    if len(text.encode(errors="surrogateescape")) > MAXIMUM_BYTES:
        raise UsageError(f"{place}: a recipe has at most {MAXIMUM_BYTES} bytes")
    try:
        values = load_yaml(text)
    except (DuplicateKeyError, ValueError) as error:
        raise UsageError(f"{place} {error}") from error
    except (yaml.YAMLError, RecursionError) as error:
        raise UsageError(f"{place}: not YAML: {' '.join(str(error).split())}") from error
    if values is None:
        return {}
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise UsageError(f"{place}: a recipe is a mapping of sections, got {reprlib.repr(values)}")
    return values


def override(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return `values` with dotted keys changed; missing sections are added.

    A key without a dot (schedule: cosine) replaces the whole section and is applied first.

    Raises UsageError when a key is not `section.name`.
    """
    values = {**values, **{key: value for key, value in changes.items() if key in NAMED_SECTIONS}}
    result = {
        key: dict(part) if isinstance(part, dict) else part
        for key, part in with_names(values).items()
    }
    for dotted, value in changes.items():
        section, _, key = dotted.partition(".")
        if dotted in NAMED_SECTIONS:
            continue
        if not key or "." in key:
            raise UsageError(f"--set {dotted}: a key is section.name, such as trainer.epochs")
        part = result.setdefault(section, {})
        if not isinstance(part, dict):
            raise UsageError(f"{section} must be a mapping, got {reprlib.repr(part)}")
        part[key] = value
    return result


def read_with_bases(path: Path) -> tuple[dict[str, Any], list[Path]]:
    """Return a recipe merged over its chain of `base` recipes, and all files that were read.

    A base is the name of a bundled recipe, or a path relative to the recipe that names it.

    Raises UsageError when a file cannot be read, or when a base is missing, is not a valid recipe
    itself, forms a cycle or makes the chain too long.
    """
    return _with_bases(path, {})


def _with_bases(path: Path, above: dict[Path, Path]) -> tuple[dict[str, Any], list[Path]]:
    """Merge `path` over its bases; `above` maps resolved paths to the recipes that led here."""
    from inceptcli.recipe.schema import check

    values = read_recipe(path)
    if "base" not in values:
        return values, [path]
    name = values.pop("base")
    if not isinstance(name, str) or not name:
        raise UsageError(
            f"{path}: base must be the name or the path of a recipe, got {reprlib.repr(name)}"
        )
    above = {**above, path.resolve(): path}
    base = _found(name, f"{path}: base", "recipe", bundled_names(), bundled_folder(), path.parent)
    if base.resolve() in above:
        raise UsageError(f"{path}: base {name}: leads back to {above[base.resolve()]}")
    if len(above) > MAXIMUM_BASES:
        raise UsageError(f"{path}: base {name}: a chain of more than {MAXIMUM_BASES} bases")
    below, files = _with_bases(base, above)
    check(below, str(base))  # report an error in the base under its own path
    return laid_over(below, values), [path, *files]


def laid_over(below: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Merge `values` over `below`, key by key within a section.

    An optimizer or schedule with another name replaces the section: keys belong to one method. So
    does a section that is only a name.
    """
    from inceptcli.recipe.schema import Recipe

    usual = {section: getattr(Recipe(), section).name for section in ("optimizer", "schedule")}
    result = with_names(below)
    for section, part in values.items():
        under = result.get(section)
        if isinstance(part, dict) and isinstance(under, dict):
            before = under.get("name", usual.get(section))
            is_other = section in usual and part.get("name", before) != before
            result[section] = part if is_other else {**under, **part}
        else:
            result[section] = part
    return with_names(result)


def bundled_folder() -> Path:
    """Return the folder of bundled recipes: in the package (wheel) or beside it (checkout)."""
    package = Path(__file__).parents[1]
    inside = package / "recipes"
    return inside if inside.is_dir() else package.parent / "recipes"


def bundled_names() -> list[str]:
    """Return the names of bundled recipes, such as demo and paper/iv4."""
    return [name for name in _names() if not name.startswith(STUDIES)]


def study_names() -> list[str]:
    """Return the names of bundled studies, such as warm-up."""
    return [name.removeprefix(STUDIES) for name in _names() if name.startswith(STUDIES)]


def find_recipe(name_or_path: str) -> Path:
    """Return the file of a recipe, given by name (demo, paper/iv4) or path.

    Raises UsageError when there is none.
    """
    return _found(name_or_path, "--recipe", "recipe", bundled_names(), bundled_folder())


def find_study(name_or_path: str) -> Path:
    """Return the file of a study, given by name or path; raise UsageError when there is none."""
    return _found(name_or_path, "study", "study", study_names(), bundled_folder() / STUDIES)


def _names() -> list[str]:
    folder = bundled_folder()
    return sorted(
        path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.yaml")
    )


def _found(
    name_or_path: str, flag: str, kind: str, names: list[str], folder: Path, start: Path = Path()
) -> Path:
    """Look up a name in `names`, else a path relative to `start`."""
    if name_or_path in names:
        return folder / f"{name_or_path}.yaml"
    path = start / os.path.expanduser(name_or_path)  # noqa: PTH111 (Path raises without a home)
    if path.is_file():
        return path
    known = ", ".join(names)
    raise UsageError(f"{flag} {name_or_path}: no such {kind} or file; known: {known}")


def read_recipe(path: Path) -> dict[str, Any]:
    """Read the mapping in a recipe file; raise UsageError when it cannot be read."""
    try:
        with path.open("rb") as file:
            text = file.read(MAXIMUM_BYTES + 1).decode()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise UsageError(f"{path}: cannot be read: {reason}") from error
    return parse_yaml(text, str(path))
