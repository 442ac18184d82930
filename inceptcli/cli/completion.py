"""The names that arguments take, and their completion. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from typer import Context


class Name(NamedTuple):
    """A name and one line about it; of a recipe's key, also its values and default."""

    name: str
    about: str
    values: str | None = None


def networks() -> list[Name]:
    """Every registered network."""
    from inceptcli.networks.registry import NETWORKS

    return [Name(name, f"{layout.title} ({layout.layout})") for name, layout in NETWORKS.items()]


def recipes() -> list[Name]:
    """Every recipe that came along, with the first line of its comment."""
    from inceptcli.recipe.file import bundled_names, find_recipe

    return [Name(name, _first_comment(find_recipe(name).read_text())) for name in bundled_names()]


def studies() -> list[Name]:
    """Every study that came along, with the first line of its comment."""
    from inceptcli.recipe.file import find_study, study_names

    return [Name(name, _first_comment(find_study(name).read_text())) for name in study_names()]


def weights() -> list[Name]:
    """Every published weights file, and the repository that has it."""
    from inceptcli.weights.fetched.published_names import PUBLISHED

    return [
        Name(published.shown, f"{published.network}, {repository}")
        for published, repository in PUBLISHED.items()
    ]


def keys() -> list[Name]:
    """Every key of a recipe, with its meaning and the values that it takes."""
    from inceptcli.recipe.keys import recipe_keys

    return [Name(*key) for key in recipe_keys()]


def topics() -> list[Name]:
    """Every page of the guide with its title."""
    from inceptcli.guide import pages

    return [Name(name, pages.title(name)) for name in pages.names()]


def complete_network(incomplete: str) -> Iterator[tuple[str, str]]:
    """For --arch."""
    yield from _matching(networks(), incomplete)


def complete_recipe(incomplete: str) -> Iterator[tuple[str, str]]:
    """For --recipe; where nothing matches the shell offers files."""
    yield from _matching(recipes(), incomplete)


def complete_listed(ctx: Context, incomplete: str) -> Iterator[tuple[str, str]]:
    """For the NAME of `list recipe NAME`."""
    if ctx.params.get("what") == "recipe":
        yield from _matching(recipes(), incomplete)


def complete_key(incomplete: str) -> Iterator[tuple[str, str]]:
    """For --set."""
    yield from _matching(keys(), incomplete)


def complete_study(incomplete: str) -> Iterator[tuple[str, str]]:
    """For what `study` takes; where nothing matches the shell offers files."""
    yield from _matching(studies(), incomplete)


def complete_weights(incomplete: str) -> Iterator[tuple[str, str]]:
    """For weights; where nothing matches the shell offers files and run directories."""
    yield from _matching(weights(), incomplete)


def complete_network_or_weights(incomplete: str) -> Iterator[tuple[str, str]]:
    """For what `summarize` takes."""
    yield from _matching([*networks(), *weights()], incomplete)


def complete_topic(incomplete: str) -> Iterator[tuple[str, str]]:
    """For `guide`."""
    yield from _matching(topics(), incomplete)


def _matching(names: Iterable[Name], incomplete: str) -> Iterator[tuple[str, str]]:
    yield from (name[:2] for name in names if name.name.startswith(incomplete))


def _first_comment(text: str) -> str:
    first = text.partition("\n")[0]
    return first.removeprefix("# ") if first.startswith("# ") else ""
