"""`inceptcli import`: convert third-party weights to an inceptcli weights file."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from typer import Argument, Option

from inceptcli.cli.options import Quiet, image_size_of
from inceptcli.cli.outputs import OutputFiles, say_written
from inceptcli.errors import UsageError, UserError
from inceptcli.text import listed

if TYPE_CHECKING:
    from inceptcli.weights.foreign.importing import Imported

logger = logging.getLogger(__name__)

EPILOG = """Examples:

\b
  inceptcli import inceptionv4-8e4777a0.pth --output iv4.safetensors
  inceptcli import 20180402-114759-vggface2.pt --output faces.safetensors
  inceptcli import hf-hub:timm/inception_v4.tf_in1k --output iv4.safetensors
  inceptcli import irv2.weights.h5 --output irv2.safetensors
  inceptcli import inception_resnet_v2_2016_08_30.ckpt --output irv2.safetensors
  inceptcli import model_best.pth.tar --output pets.safetensors --classes pets/train --mean 0.5
  inceptcli import runs/pets/checkpoints/step-000000500.ckpt --output step-500.safetensors
"""

NUM_LISTED = 10

FROM_CONFIG = "config.json next to the source, else the default of the source library"
VALUES = "NUMBER|R,G,B"

ImageSize = Annotated[
    str | None,
    Option(
        metavar="N|HxW",
        show_default=FROM_CONFIG,
        help="Image size that the network was trained with, in pixels.",
    ),
]
Mean = Annotated[
    str | None,
    Option(
        metavar=VALUES,
        show_default=FROM_CONFIG,
        help="Mean subtracted from pixel values in [0, 1]: one number, or three for red, green and "
        "blue (ImageNet: 0.485,0.456,0.406).",
    ),
]
Std = Annotated[
    str | None,
    Option(
        metavar=VALUES,
        show_default=FROM_CONFIG,
        help="Standard deviation to divide by, in the same form (ImageNet: 0.229,0.224,0.225).",
    ),
]
CropFraction = Annotated[
    float | None,
    Option(show_default=FROM_CONFIG, help="Fraction of the shorter side kept by the crop, (0, 1]."),
]
InterpolationFlag = Annotated[
    Literal["bilinear", "bicubic"] | None,
    Option(show_default=FROM_CONFIG, help="Interpolation for resizing images."),
]


def import_weights(
    source: Annotated[
        Path,
        Argument(
            help="Weights of timm, torchvision or Cadene (.safetensors, .pth, .bin), "
            "facenet-pytorch (.pt), TF-slim (.ckpt, or its .index) or Keras (.keras, "
            ".weights.h5, .h5); a checkpoint of a run (checkpoints/step-N.ckpt); or "
            "hf-hub:owner/name[@revision]. The format is recognized by the contents.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path, Option(help="Weights file to write (.safetensors).", show_default=False)
    ],
    classes: Annotated[
        Path | None,
        Option(
            metavar="FILE|FOLDER",
            show_default="config.json next to the source, else ImageNet's 1000, or unnamed",
            help="Class names in the order of the outputs: a text file with one name per line (or "
            "TF-slim's 0:daisy), JSON (a list, or a mapping of names and indices), or the folder "
            "of class folders that the network was trained on.",
        ),
    ] = None,
    image_size: ImageSize = None,
    mean: Mean = None,
    std: Std = None,
    crop_fraction: CropFraction = None,
    interpolation: InterpolationFlag = None,
    raw: Annotated[
        bool,
        Option(
            "--raw",
            help="Import the raw weights. Default: their moving average, if the source has one.",
        ),
    ] = False,
    auxiliary_head: Annotated[
        bool,
        Option(
            "--auxiliary-head",
            help="Keep the auxiliary head of TF-slim or torchvision, for `train --init` with "
            "network.auxiliary_weight. Default: drop it.",
        ),
    ] = False,
    partial: Annotated[
        bool,
        Option("--partial", help="Initialize tensors missing from the source. Default: fail."),
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Convert third-party weights to an inceptcli weights file.

    Files of timm, torchvision, Cadene, facenet-pytorch, TF-slim (the authors' release) and Keras
    (InceptionResNetV2, Inception-v4) are recognized by their contents; no code in them is executed.
    Training checkpoints, Lightning's .ckpt files and sharded weights (model.safetensors.index.json)
    are supported: the matching dictionary and key prefix are found, and skipped entries are listed.

    Classes and preprocessing come from the flags, else from a config.json of timm or transformers
    next to the source. Values in neither are assumed; the assumptions are printed and stored in the
    file. Classes without names stay unnamed, and `eval` cannot match class folders to them.

    RUN/checkpoints/step-N.ckpt is converted to the weights after that step, or to their moving
    average if the run uses one. Network, classes and preprocessing come from the run directory.
    """
    from inceptcli.weights.fetched.hub import hub_name
    from inceptcli.weights.formats.tensorflow_checkpoint import meant

    repository = hub_name(str(source))
    if repository is None:
        source = meant(source)
        _check_source(source)
    _check_output(output, _read(source, classes) if repository is None else [])
    stated = _preprocessing(image_size, mean, std, crop_fraction, interpolation)

    from inceptcli.weights.foreign.declared import Declared, config_beside, declared_classes

    named = None if classes is None else declared_classes(classes)
    declared = [Declared("the preprocessing flags", preprocessing=stated)] if stated else []
    declared += [Declared(f"--classes {classes}", named)] if named else []
    file, note = source, None
    if repository is not None:
        from inceptcli.weights.fetched.hub_weights import fetched

        file, others, note = fetched(repository)
        declared += others
    elif (config := config_beside(source)) is not None:
        declared.append(config)

    from inceptcli.weights.foreign.importing import convert

    try:
        found = convert(
            file,
            output,
            partial=partial,
            raw=raw,
            auxiliary_head=auxiliary_head,
            declared=declared,
            source_note=note,
        )
    except OSError as error:
        raise UserError(f"{output}: {error.strerror or error}") from error
    for line in _in_words(found, source):
        logger.info(line)
    say_written(output, found.metadata.network.name)


def _check_source(source: Path) -> None:
    if not source.is_file():
        state = "is a folder" if source.is_dir() else "no such file"
        raise UsageError(f"{source}: {state}; give a weights file")


def _check_output(output: Path, read: Iterable[Path]) -> None:
    if os.path.isdir(output):  # noqa: PTH112 (Path raises where a folder is closed)
        raise UsageError(f"--output {output}: is a folder; give a file name")
    if not output.parent.is_dir():
        raise UsageError(f"--output {output}: there is no folder {output.parent}")
    OutputFiles({"--output": output}).check(read)
    if output.suffix.lower() != ".safetensors":
        raise UsageError(f"--output {output}: must end in .safetensors")
    if not os.access(output.parent, os.W_OK) or (
        output.exists() and not os.access(output, os.W_OK)
    ):
        raise UsageError(f"--output {output}: not writable")


def _read(source: Path, classes: Path | None) -> list[Path]:
    """Return all input files: shards of an index, config.json and files of a run directory."""
    from inceptcli.weights.foreign.run_checkpoint import files_beside
    from inceptcli.weights.formats.foreign_file import files_of

    beside = [source.with_name("config.json"), *files_beside(source)]
    return [*files_of(source), *beside, *([] if classes is None else [classes])]


def _preprocessing(
    image_size: str | None,
    mean: str | None,
    std: str | None,
    crop_fraction: float | None,
    interpolation: str | None,
) -> dict[str, Any]:
    """Return the fields of Preprocessing that are set by flags."""
    from inceptcli.data.pixels.preprocessing import Preprocessing

    stated: dict[str, Any] = {
        "image_size": None if image_size is None else image_size_of(image_size),
        "mean": None if mean is None else _values("--mean", mean, 0.0),
        "std": None if std is None else _values("--std", std, 1e-6),
        "crop_fraction": crop_fraction,
        "interpolation": interpolation,
    }
    stated = {name: value for name, value in stated.items() if value is not None}
    try:
        Preprocessing(**{"image_size": (299, 299), **stated})
    except ValueError as error:
        raise UsageError(f"--{str(error).replace('_', '-', 1)}") from error
    return stated


def _values(flag: str, text: str, least: float) -> tuple[float, ...]:
    try:
        values = tuple(map(float, text.split(",")))
    except ValueError:
        values = ()
    if len(values) not in (1, 3) or not all(least <= value <= 1 for value in values):
        raise UsageError(
            f"{flag} must be one number or three from {least:g} to 1, such as 0.485,0.456,0.406 "
            f"(divide values for pixels of 0 to 255 by 255), got {text}"
        )
    return values * 3 if len(values) == 1 else values


def _in_words(found: Imported, source: Path) -> list[str]:
    metadata = found.metadata
    count, initialized = metadata.network.num_classes, metadata.initialized
    classes = f"{count} class{'' if count == 1 else 'es'}"
    lines = [f"{source}: {metadata.source['family']}, {classes}", *found.remarks]
    if initialized:
        names = listed(initialized, NUM_LISTED)
        lines.append(f"{len(initialized)} missing tensors initialized: {names}")
    return [*lines, f"sha256 of the source: {metadata.source_sha256}"]
