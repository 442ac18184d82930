"""`inceptcli list`: names of networks, recipes, recipe keys, studies and published weights."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Literal

from typer import Argument, Option, echo

from inceptcli.cli.completion import complete_listed, keys, networks, recipes, studies, weights
from inceptcli.errors import UsageError
from inceptcli.text import fitted

EPILOG = """Examples:

\b
  inceptcli list networks
  inceptcli list recipes --format json
  inceptcli list recipe scratch-small > mine.yaml
  inceptcli list keys
  for network in $(inceptcli list networks --format plain); do inceptcli summarize "$network"; done
"""

LISTS = {
    "networks": networks,
    "recipes": recipes,
    "keys": keys,
    "studies": studies,
    "weights": weights,
}


def list_names(
    what: Annotated[
        Literal["networks", "recipes", "keys", "studies", "weights", "recipe"],
        Argument(
            metavar="networks|recipes|keys|studies|weights|recipe",
            help="networks for --arch, recipes for --recipe, keys for --set, studies for `study`, "
            "weights for --weights and --init; `recipe NAME` prints a recipe.",
            show_default=False,
        ),
    ],
    name: Annotated[
        str | None,
        Argument(
            metavar="NAME",
            autocompletion=complete_listed,
            help="Recipe to print; only for `recipe`.",
            show_default=False,
        ),
    ] = None,
    format: Annotated[
        Literal["table", "json", "plain"],
        Option(
            help="table: names with descriptions; json: the same as JSON; plain: names only. Not "
            "for `recipe`."
        ),
    ] = "table",
) -> None:
    """List networks, recipes, keys, studies or published weights.

    `recipe NAME` prints the file of a recipe, as a starting point for your own. `list keys` shows
    the defaults of the keys that a recipe omits.

    JSON is a list of objects with name and about. Recipe keys also have values, including the
    default.
    """
    if what == "recipe":
        if format != "table":
            raise UsageError(f"list recipe prints the file itself; omit --format {format}")
        echo(_recipe(name), nl=False)
        return
    if name is not None:
        raise UsageError(
            f"list {what} takes no name, got {name}; print a recipe with `list recipe NAME`"
        )
    names = LISTS[what]()
    if format == "json":
        entries = [entry._asdict() for entry in names]
        shown = [{k: v for k, v in entry.items() if v is not None} for entry in entries]
        echo(json.dumps(shown, indent=2))
        return
    widest = max(len(entry.name) for entry in names)
    for entry in names:
        about = f"{entry.about} ({entry.values})" if entry.values else entry.about
        line = f"{entry.name:<{widest}}  {about}".rstrip()
        echo(entry.name if format == "plain" else fitted(line, sys.stdout, indent=widest + 2))


def _recipe(name: str | None) -> bytes:
    """Read the file of a bundled recipe; raise UsageError for an unknown name."""
    from inceptcli.recipe.file import bundled_folder, bundled_names

    known = bundled_names()
    if name not in known:
        got = "which recipe? give a NAME" if name is None else f"no such recipe {name}"
        raise UsageError(f"list recipe: {got}; known: {', '.join(known)}")
    return (bundled_folder() / f"{name}.yaml").read_bytes()
