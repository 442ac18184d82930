"""Flags by which `predict` and `eval` take less time."""

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

Compile = Annotated[
    bool,
    Option(
        "--compile",
        help="Compile the networks with torch.compile: a minute or more before the first answer, "
        "seconds once its cache (TORCHINDUCTOR_CACHE_DIR) has them, then faster; for weights "
        "files. Default: off.",
    ),
]
