"""`inceptcli list`: the names of networks, recipes and their keys, studies, published weights."""

from __future__ import annotations

import json
from typing import Annotated, Literal

from typer import Argument, Option, echo

from inceptcli.cli.completion import keys, networks, recipes, studies, weights

EPILOG = """Examples:

\b
  inceptcli list networks
  inceptcli list recipes --format json
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
        Literal["networks", "recipes", "keys", "studies", "weights"],
        Argument(
            metavar="networks|recipes|keys|studies|weights",
            help="Names for --arch, for --recipe, for --set, for `study`, or for --weights and "
            "--init.",
            show_default=False,
        ),
    ],
    format: Annotated[
        Literal["table", "json", "plain"],
        Option(help="Names with a line about each, JSON of the same, or the names alone."),
    ] = "table",
) -> None:
    """List names of networks, recipes, keys, studies or weights.

    JSON is a list of objects with name and about.
    """
    names = LISTS[what]()
    if format == "json":
        echo(json.dumps([name._asdict() for name in names], indent=2))
        return
    widest = max(len(name.name) for name in names)
    for name in names:
        echo(name.name if format == "plain" else f"{name.name:<{widest}}  {name.about}".rstrip())
