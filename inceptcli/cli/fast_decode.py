"""The flag --fast-decode, the same for `predict` and `eval`."""

from __future__ import annotations

from typing import Annotated

from typer import Option

FastDecode = Annotated[
    bool,
    Option(
        "--fast-decode",
        help="Decode colour JPEGs at a half, a quarter or an eighth of their size where the "
        "networks need no more: sooner, but probabilities change, and the results say so; "
        "default: off.",
    ),
]
