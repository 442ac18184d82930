"""Options shared by several subcommands, and parsers of their values."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from typer import Argument, Option

from inceptcli.cli.completion import complete_weights
from inceptcli.errors import UsageError
from inceptcli.progress.display import hush

Weights = Annotated[
    str,
    Argument(
        metavar="NAME|FILE|RUN",
        autocompletion=complete_weights,
        help="Weights: a weights file, a run directory, published weights (imagenet or ens-adv for "
        "irv2-tf, iv4-tf:imagenet) or hf-hub:owner/name[@revision].",
    ),
]

SplitFlag = Annotated[
    Literal["train", "val", "test", "all"] | None,
    Option(
        help="Split to use; all: a dataset without splits. Default: val, if the folders, the names "
        "of the shards or the run's --val-data or --val-fraction define it; all of a dataset "
        "without splits; else the only split. Of train and test without val, give one.",
    ),
]

Exclude = Annotated[
    Path | None,
    Option(
        metavar="FILE",
        help="List of images to exclude, one per line: ILSVRC validation numbers or paths. "
        "Default: none, or without --data that of the run (data.exclude).",
    ),
]

AllowOutside = Annotated[
    bool,
    Option("--allow-outside", help="Allow paths outside the folder of the CSV file. Default: off."),
]

CropsFlag = Annotated[
    Literal[1, 10, 12, 144],
    Option(
        help="Crops per image; their probabilities are averaged. 1: the crop of the weights. 10: "
        "corners and center, and their mirror images. 12: six crops of the center square at one "
        "scale, and their mirror images (the paper does not define its 12 crops). 144: GoogLeNet's."
    ),
]

Device = Annotated[
    str,
    Option(
        metavar="auto|cpu|cuda|cuda:N|mps",
        help="Device to compute on; auto: an accelerator if available, else the CPU.",
    ),
]

SkipUnreadable = Annotated[
    bool,
    Option("--skip-unreadable", help="Skip and list images that cannot be read. Default: fail."),
]

Quiet = Annotated[
    bool, Option("--quiet", callback=hush, help="Show no progress or notices. Default: off.")
]

FastDecode = Annotated[
    bool,
    Option(
        "--fast-decode",
        help="Decode large color JPEGs at 1/2, 1/4 or 1/8 size when the input size of the "
        "networks allows it. Faster, but changes the probabilities; results record fast_decode. "
        "Default: off.",
    ),
]

BatchSize = Annotated[
    int | None,
    Option(
        min=1,
        show_default="16, on CUDA 256",
        help="Crops per batch. An accelerator computes them together; a CPU divides its threads "
        "among them.",
    ),
]

Devices = Annotated[
    str,
    Option(
        metavar="N|auto",
        help="Number of GPUs to spread the batches over, starting with the first; auto: all.",
    ),
]

PrecisionFlag = Annotated[
    Literal["32-true", "bf16-mixed", "16-mixed", "bf16-true", "16-true"],
    Option(
        help="Precision of the computation, named as in Lightning; for weights files. Lower "
        "precision is faster on a GPU, but changes the probabilities; results record precision. "
        "32-true does not use TF32.",
    ),
]

Compile = Annotated[
    bool,
    Option(
        "--compile",
        help="Compile the networks with torch.compile; for weights files on a GPU. The first "
        "batch takes a minute or more, or seconds with a warm cache (TORCHINDUCTOR_CACHE_DIR); "
        "later batches are faster. Default: off.",
    ),
]

Coverage = Annotated[
    float | None,
    Option(
        metavar="SHARE",
        show_default=False,
        help="Answer with prediction sets that contain the true class for this share of new "
        "images, such as 0.95; for weights that `inceptcli calibrate` has calibrated with the same "
        "--crops, --precision and --fast-decode.",
    ),
]

OtherImageSize = Annotated[
    str | None,
    Option(
        metavar="N|HxW",
        show_default="the weights' own",
        help="Input size of the networks in pixels, at least 75; like the next four options, it "
        "replaces the preprocessing of all weights given, and results record it. Not for ONNX "
        "files, whose size is fixed.",
    ),
]

OtherCropFraction = Annotated[
    float | None,
    Option(
        metavar="F",
        show_default="the weights' own",
        help="Side of the crop as a fraction of the resized image's side, 0.01 to 1; for 1 or 10 "
        "crops.",
    ),
]

OtherInterpolation = Annotated[
    Literal["bilinear", "bicubic"] | None,
    Option(show_default="the weights' own", help="Interpolation for resizing images."),
]

OtherResize = Annotated[
    Literal["short-side", "squash"] | None,
    Option(
        show_default="the weights' own",
        help="short-side: resize the shorter side and keep the aspect ratio; squash: resize to the "
        "input size, ignoring the aspect ratio. For 1 or 10 crops.",
    ),
]

OtherAntialias = Annotated[
    Literal["true", "false"] | None,
    Option(
        show_default="the weights' own",
        help="true: average all pixels when shrinking images; false: sample pixels as TensorFlow 1 "
        "does.",
    ),
]


def antialias_of(text: Literal["true", "false"] | None) -> bool | None:
    """Parse --antialias; None keeps the weights' own."""
    return None if text is None else text == "true"


def checked_devices(devices: str) -> int | Literal["auto"]:
    """Parse --devices; raise UsageError for anything but a number or auto."""
    if devices == "auto":
        return "auto"
    if not re.fullmatch("[1-9][0-9]{0,3}", devices):
        raise UsageError(f"--devices must be a number or auto, got {devices}")
    return int(devices)


def image_size_of(text: str) -> tuple[int, int]:
    """Parse N or HxW into height and width; raise UsageError if no network takes such images."""
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
