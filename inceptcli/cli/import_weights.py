"""`inceptcli import`: other people's weights become a weights file of this program."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from typer import Argument, Option

from inceptcli.cli.options import image_size_of
from inceptcli.cli.outputs import OutputFiles, say_written
from inceptcli.errors import UsageError, UserError
from inceptcli.progress.display import hush

if TYPE_CHECKING:
    from inceptcli.weights.foreign.importing import ImportReport

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

FROM_CONFIG = "config.json beside the source; else the family's"
VALUES = "NUMBER|R,G,B"

ImageSize = Annotated[
    str | None,
    Option(
        metavar="N|HxW",
        show_default=FROM_CONFIG,
        help="Side, or height x width, of the images that the network was trained on, pixels.",
    ),
]
Mean = Annotated[
    str | None,
    Option(
        metavar=VALUES,
        show_default=FROM_CONFIG,
        help="What is subtracted from pixel values of 0 to 1: one number, or three for red, green "
        "and blue (ImageNet's: 0.485,0.456,0.406).",
    ),
]
Std = Annotated[
    str | None,
    Option(
        metavar=VALUES,
        show_default=FROM_CONFIG,
        help="What divides the rest (ImageNet's: 0.229,0.224,0.225).",
    ),
]
CropFraction = Annotated[
    float | None,
    Option(show_default=FROM_CONFIG, help="Part of the shorter side that is kept, above 0 to 1."),
]
InterpolationFlag = Annotated[
    Literal["bilinear", "bicubic"] | None,
    Option(show_default=FROM_CONFIG, help="How images are resized."),
]


def import_weights(
    source: Annotated[
        Path,
        Argument(
            help="Weights of timm, torchvision or Cadene (.safetensors, .pth, .bin), "
            "facenet-pytorch (.pt), TF-slim (.ckpt, or its .index) or Keras (.keras, "
            ".weights.h5, .h5), or a run's checkpoints/step-N.ckpt; recognized by what is in the "
            "file. Or hf-hub:owner/name[@revision].",
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
            show_default="config.json beside the source; else ImageNet's 1000, or unnamed",
            help="Names of the classes in the order of the classifier's rows: a text file with one "
            "a line (or TF-slim's 0:daisy), JSON (a list, or names and rows), or the folder of "
            "class folders that the network was trained on.",
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
            "--raw", help="Take the weights as trained; default: their average, if it is there."
        ),
    ] = False,
    auxiliary_head: Annotated[
        bool,
        Option(
            "--auxiliary-head",
            help="Keep TF-slim's or torchvision's auxiliary head, from which `train --init` with "
            "network.auxiliary_weight starts; default: leave it out.",
        ),
    ] = False,
    partial: Annotated[
        bool, Option("--partial", help="Initialize tensors that the source lacks; default: refuse.")
    ] = False,
    quiet: Annotated[
        bool, Option("--quiet", callback=hush, help="Say nothing on standard error but errors.")
    ] = False,
) -> None:
    """Convert other people's weights into a file of ours.

    Files of timm, torchvision, Cadene, facenet-pytorch, TF-slim (the authors' release) and Keras
    (InceptionResNetV2, Inception-v4) are recognized by what is in them; no code in them is run.
    Training checkpoints, Lightning's .ckpt and an index of shards (model.safetensors.index.json)
    are read, too: the dictionary and the prefix of the keys that fit are found, and what is passed
    over is said.

    Classes and preprocessing come from the flags, else from the config.json that timm or
    transformers wrote beside the source; what neither says is assumed, which is printed and kept in
    the file. Classes without names are unnamed: `eval` matches no folder to them.

    RUN/checkpoints/step-N.ckpt of a training run gives the weights after that step, averaged where
    the run averages; network, classes and preprocessing come from the run directory.
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
        report = convert(
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
    for line in _in_words(report, source):
        logger.info(line)
    say_written(output, report.network)


def _check_source(source: Path) -> None:
    if not source.is_file():
        state = "is a folder" if source.is_dir() else "no such file"
        raise UsageError(f"{source}: {state}; give the weights file itself")


def _check_output(output: Path, read: Iterable[Path]) -> None:
    if os.path.isdir(output):  # noqa: PTH112 (Path raises where a folder is closed)
        raise UsageError(f"--output {output}: is a folder; give the name of a file in it")
    if not output.parent.is_dir():
        raise UsageError(f"--output {output}: no folder {output.parent}")
    OutputFiles({"--output": output}).check(read)
    if output.suffix.lower() != ".safetensors":
        raise UsageError(f"--output {output}: must end in .safetensors, which is what is written")
    if not os.access(output.parent, os.W_OK) or (
        output.exists() and not os.access(output, os.W_OK)
    ):
        raise UsageError(f"--output {output}: not writable")


def _read(source: Path, classes: Path | None) -> list[Path]:
    """All files that may be read: shards of an index, and what the run of a checkpoint says."""
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
    """Fields of Preprocessing that the flags state."""
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
            f"(divide by 255 where pixels count to 255), got {text}"
        )
    return values * 3 if len(values) == 1 else values


def _in_words(report: ImportReport, source: Path) -> list[str]:
    classes = f"{report.num_classes} class{'' if report.num_classes == 1 else 'es'}"
    lines = [f"{source}: {report.family}, {classes}", *report.remarks]
    if report.initialized:
        listed = ", ".join(report.initialized[:NUM_LISTED])
        more = ", ..." if len(report.initialized) > NUM_LISTED else ""
        lines.append(f"{len(report.initialized)} missing tensors initialized: {listed}{more}")
    lines.append(f"sha256 of the source: {report.source_sha256}")
    return lines
