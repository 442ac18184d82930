"""Options that several subcommands share, and what their values mean."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from typer import Option

from inceptcli.errors import UsageError
from inceptcli.text import printable

FastDecode = Annotated[
    bool,
    Option(
        "--fast-decode",
        help="Decode color JPEGs at a half, a quarter or an eighth of their size where the "
        "networks need no more: sooner, but probabilities change, and the results say so; "
        "default: off.",
    ),
]

BatchSize = Annotated[
    int | None,
    Option(
        min=1,
        show_default="16, on CUDA 256",
        help="Number of crops at once: an accelerator computes them together, a CPU divides "
        "its threads among them.",
    ),
]

Devices = Annotated[
    str,
    Option(
        metavar="N|auto",
        help="How many GPUs of this machine take turns, from the first on; auto takes all. "
        "Default: 1.",
    ),
]

PrecisionFlag = Annotated[
    Literal["32-true", "bf16-mixed", "16-mixed", "bf16-true", "16-true"],
    Option(
        help="What the networks compute in, by Lightning's names. A GPU takes less time in all "
        "others, but probabilities change, and the results say so; for weights files. Of 32-true "
        "TF32 is no part. Default: 32-true.",
    ),
]

Compile = Annotated[
    bool,
    Option(
        "--compile",
        help="On a GPU, compile the networks with torch.compile: a minute or more before the first "
        "answer, seconds once its cache (TORCHINDUCTOR_CACHE_DIR) has them, then faster; for "
        "weights files. Default: off.",
    ),
]


def checked_devices(devices: str) -> int | Literal["auto"]:
    """What --devices says; UsageError when it says nothing."""
    if devices == "auto":
        return "auto"
    if not re.fullmatch("[1-9][0-9]{0,3}", devices):
        raise UsageError(f"--devices must be a number or auto, got {printable(devices)}")
    return int(devices)


def image_size_of(text: str) -> tuple[int, int]:
    """Height and width of N or HxW; UsageError when a network takes no such images."""
    from inceptcli.networks.registry import check_image_size

    match = re.fullmatch(r"(\d{1,6})(?:x(\d{1,6}))?", text, re.ASCII)
    if match is None:
        raise UsageError(f"--image-size must be N or HxW pixels (299 or 240x320), got {text!r}")
    size = int(match[1]), int(match[2] or match[1])
    try:
        check_image_size(size)
    except ValueError as error:
        raise UsageError(str(error)) from error
    return size
