"""Names for arguments and shell completion. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from typer import Context


class Name(NamedTuple):
    """A name and its one-line description; recipe keys also have values and a default."""

    name: str
    about: str
    values: str | None = None


def networks() -> list[Name]:
    """Return all networks, with title and layout."""
    from inceptcli.networks.registry import NETWORKS

    return [Name(name, f"{layout.title} ({layout.layout})") for name, layout in NETWORKS.items()]


def recipes() -> list[Name]:
    """Return all bundled recipes, with the first line of their comments."""
    from inceptcli.recipe.file import bundled_names, find_recipe

    return [Name(name, _first_comment(find_recipe(name).read_text())) for name in bundled_names()]


def studies() -> list[Name]:
    """Return all bundled studies, with the first line of their comments."""
    from inceptcli.recipe.file import find_study, study_names

    return [Name(name, _first_comment(find_study(name).read_text())) for name in study_names()]


def weights() -> list[Name]:
    """Return all published weights, with network and repository."""
    from inceptcli.weights.fetched.published_names import PUBLISHED

    return [
        Name(published.shown, f"{published.network}, {repository}")
        for published, repository in PUBLISHED.items()
    ]


def keys() -> list[Name]:
    """Return all recipe keys, with meaning, values and default."""
    from inceptcli.recipe.keys import recipe_keys

    return [Name(*key) for key in recipe_keys()]


def topics() -> list[Name]:
    """Return all pages of the guide, with their titles."""
    from inceptcli.guide import pages

    return [Name(name, pages.title(name)) for name in pages.names()]


def completing(*lists: Callable[[], list[Name]]) -> Callable[[str], Iterator[tuple[str, str]]]:
    """Return a completion of names; without a match the shell offers files and folders."""

    def complete(incomplete: str) -> Iterator[tuple[str, str]]:
        for names in lists:
            yield from (name[:2] for name in names() if name.name.startswith(incomplete))

    return complete


complete_network = completing(networks)
complete_recipe = completing(recipes)
complete_key = completing(keys)
complete_study = completing(studies)
complete_weights = completing(weights)
complete_network_or_weights = completing(networks, weights)
complete_topic = completing(topics)


def complete_listed(ctx: Context, incomplete: str) -> Iterator[tuple[str, str]]:
    """Complete NAME of `list recipe NAME`."""
    if ctx.params.get("what") == "recipe":
        yield from complete_recipe(incomplete)


def _first_comment(text: str) -> str:
    first = text.partition("\n")[0]
    return first.removeprefix("# ") if first.startswith("# ") else ""
