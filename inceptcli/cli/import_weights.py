"""`inceptcli import`: other people's weights become a weights file of this program."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from inceptcli.cli.output_files import OutputFiles
from inceptcli.errors import UsageError, UserError
from inceptcli.progress.display import Display

if TYPE_CHECKING:
    from inceptcli.weights.importing import ImportReport

EPILOG = """Examples:

\b
  inceptcli import inceptionv4-8e4777a0.pth --output iv4.safetensors
  inceptcli import 20180402-114759-vggface2.pt --output faces.safetensors
  inceptcli import irv2.weights.h5 --output irv2.safetensors
"""

NUM_LISTED = 10


def import_weights(
    source: Annotated[
        Path,
        Argument(
            help="Weights of timm or Cadene (.safetensors, .pth, .bin), facenet-pytorch (.pt) or "
            "Keras's InceptionResNetV2 (.weights.h5, .h5); recognised by what is in the file.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path, Option(help="Weights file to write (.safetensors).", show_default=False)
    ],
    partial: Annotated[
        bool, Option("--partial", help="Initialise tensors that the source lacks; default: refuse.")
    ] = False,
    quiet: Annotated[
        bool, Option("--quiet", help="Say nothing on standard error but errors.")
    ] = False,
) -> None:
    """Convert other people's weights into a file of ours.

    Files of timm, Cadene, facenet-pytorch and Keras's InceptionResNetV2 are recognised by what is
    in them; no code in them is run.
    """
    _check_paths(source, output)

    from inceptcli.weights.importing import convert

    try:
        report = convert(source, output, partial=partial)
    except OSError as error:
        raise UserError(f"{output}: {error.strerror or error}") from error
    for line in _in_words(report, source, output):
        Display(quiet).say(line)


def _check_paths(source: Path, output: Path) -> None:
    if not source.is_file():
        state = "is a folder" if source.is_dir() else "no such file"
        raise UsageError(f"{source}: {state}; give the weights file itself")
    if output.is_dir():
        raise UsageError(f"--output {output}: is a folder; give the name of a file in it")
    if not output.parent.is_dir():
        raise UsageError(f"--output {output}: no folder {output.parent}")
    OutputFiles({"--output": output}).check([source])
    if output.suffix.lower() != ".safetensors":
        raise UsageError(f"--output {output}: must end in .safetensors, which is what is written")
    if not os.access(output.parent, os.W_OK) or (
        output.exists() and not os.access(output, os.W_OK)
    ):
        raise UsageError(f"--output {output}: not writable")


def _in_words(report: ImportReport, source: Path, output: Path) -> list[str]:
    classes = f"{report.num_classes} class{'' if report.num_classes == 1 else 'es'}"
    lines = [f"{source}: {report.family}, {classes}", *report.remarks]
    if report.initialised:
        listed = ", ".join(report.initialised[:NUM_LISTED])
        more = ", ..." if len(report.initialised) > NUM_LISTED else ""
        lines.append(f"{len(report.initialised)} missing tensors initialised: {listed}{more}")
    lines.append(f"sha256 of the source: {report.source_sha256}")
    return [*lines, f"written as {report.network}: {output}"]
