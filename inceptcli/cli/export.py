"""`inceptcli export`: weights for another library, a runtime or the hub."""

from __future__ import annotations

import logging
import re
import shlex
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

from typer import Argument, Option

from inceptcli.cli.completion import complete_weights
from inceptcli.cli.outputs import OutputFiles, say_written
from inceptcli.errors import UsageError, UserError
from inceptcli.progress.display import Display, hush

if TYPE_CHECKING:
    from inceptcli.evaluation.model_card import TrainedImages
    from inceptcli.prediction.export import Check
    from inceptcli.weights.metadata import WeightsMetadata

logger = logging.getLogger(__name__)

EPILOG = """Examples:

\b
  inceptcli export runs/flowers --to onnx --output flowers.onnx
  inceptcli export imagenet --to onnx --output irv2-tf.onnx --images photos
  inceptcli export model.safetensors --to timm --output timm.safetensors
  inceptcli export runs/pets --to hub --output pets-hub --license mit
"""

NEEDED = {"timm": ("timm",)}
"""Packages by target, which the extra of the same name installs."""

SUFFIXES = {"timm": ".safetensors", "onnx": ".onnx"}
"""Of the file written, by target."""


def export(
    weights: Annotated[
        str,
        Argument(
            metavar="NAME|FILE|RUN",
            autocompletion=complete_weights,
            help="Weights file or run directory, or published weights: imagenet or ens-adv of "
            "irv2-tf, iv4-tf:imagenet; or hf-hub:owner/name[@revision].",
        ),
    ],
    to: Annotated[
        Literal["timm", "onnx", "hub"],
        Option(
            help="timm's inception_v4, inception_resnet_v2 or inception_v3, ONNX for any runtime, "
            "or a folder for the Hugging Face hub."
        ),
    ],
    output: Annotated[
        Path,
        Option(
            metavar="FILE|FOLDER",
            help="File to write, .safetensors for timm, .onnx; one that is there is replaced. For "
            "the hub a new or empty folder.",
        ),
    ],
    images: Annotated[
        Path | None,
        Option(
            metavar="FOLDER",
            show_default="drawn pictures",
            help="Compare on the first 32 images in it and below.",
        ),
    ] = None,
    opset: Annotated[
        int | None,
        Option(
            min=18,
            max=23,
            show_default="20, which ONNX Runtime reads since 1.17",
            help="Version of ONNX's operators, for --to onnx.",
        ),
    ] = None,
    license_id: Annotated[
        str | None,
        Option(
            "--license",
            metavar="NAME",
            show_default=UNKNOWN,
            help="License of the weights as the hub calls it, such as apache-2.0, for --to hub.",
        ),
    ] = None,
    measures: Annotated[
        Path | None,
        Option(
            metavar="FILE",
            show_default="the run's own, on its validation images",
            help="Figures for the model card: what eval --format json wrote, for --to hub.",
        ),
    ] = None,
    quiet: Annotated[
        bool,
        Option("--quiet", callback=hush, help="Do not print the largest difference; default: off."),
    ] = False,
) -> None:
    """Write weights for timm, ONNX or the Hugging Face hub.

    The file is kept only when it gives the same logits as the network, compared in timm or ONNX
    Runtime; the largest difference is printed on standard error.

    An ONNX file takes images (N, H, W, 3), RGB of 0 to 255, uint8, of any number N, and gives
    logits (N, classes), if the classifier was trained, and features (N, width), the embeddings:
    normalization is part of it, the crop is not. Its metadata has class names
    and preprocessing as JSON under `inceptcli`; predict and eval take it as --weights or WEIGHTS.

    A folder for the hub has model.safetensors and config.json, as timm loads them, and README.md,
    the model card: data, measures with intervals, preprocessing, recipe and license, without the
    places of this machine. Of a network that timm lacks it has our weights file. Nothing is
    uploaded: the command that does it is printed.
    """
    from inceptcli.cli.outputs import writing
    from inceptcli.data.folders import find_images
    from inceptcli.weights.fetched.published import find_weights
    from inceptcli.weights.file import read_metadata
    from inceptcli.weights.onnx_file import is_onnx

    card = ModelCardFlags(license_id, measures)
    written = OutputFiles({"--output": None if to == "hub" else output})
    _check_flags(to, output, opset, card)
    found = [] if images is None else find_images(images)
    written.check(found)
    if images is not None and not found:
        raise UsageError(f"--images {images}: no images in this folder")
    with writing(f"--output {output}"), _replacing(output, to) as temporary:
        file = find_weights(weights)
        written.check([file])
        read_metadata(file)  # refuses a wrong file before torch is imported
        if is_onnx(file):
            raise UsageError(f"{file}: an ONNX file; give the weights that it was exported from")
        if to == "hub":
            check = export_hub(weights, file, temporary, found, card)
        else:
            from inceptcli.prediction.export import export as write

            with Display().task("write and compare", unit=""):
                check = write(file, to, temporary, found, opset)
    drawn = "" if found else " drawn"
    logger.info(
        f"largest difference of the logits on {check.num_pictures}{drawn} pictures: "
        f"{check.difference:.2g} (their standard deviation is {check.spread:.2g})"
    )
    say_written(output)
    if to == "hub":
        logger.info(f"upload it with: {upload_command(output)}")


def _check_flags(to: str, output: Path, opset: int | None, card: ModelCardFlags) -> None:
    """UsageError for flags of another target, UserError where a package is missing."""
    card.check(to)
    if to == "hub":
        check_new_folder(output)
    elif output.suffix.lower() != SUFFIXES[to]:
        raise UsageError(f"--output {output}: --to {to} writes {SUFFIXES[to]}; name it so")
    if opset is not None and to != "onnx":
        raise UsageError(f"--opset {opset} is for --to onnx")
    if missing := [name for name in NEEDED.get(to, ()) if find_spec(name) is None]:
        raise UserError(f"--to {to} needs {', '.join(missing)}; pip install 'inceptcli[{to}]'")


@contextmanager
def _replacing(output: Path, to: str) -> Iterator[Path]:
    """What takes the place of `output` when the block ends; UsageError when there can be none."""
    from inceptcli.files.atomic_file import replacing, replacing_folder

    with ExitStack() as stack:
        try:
            place = replacing_folder(output) if to == "hub" else replacing(output)
            temporary = stack.enter_context(place)
        except OSError as error:
            raise UsageError(f"--output {output}: {error.strerror}") from error
        yield temporary


UNKNOWN = "unknown"
"""The hub's own word for a license that nobody has stated."""

LICENSE = re.compile(r"[a-z0-9][a-z0-9.-]*")


class ModelCardFlags(NamedTuple):
    """The flags --license and --measures."""

    license_id: str | None
    measures: Path | None

    def check(self, to: str) -> None:
        """UsageError for a target without a model card, and for what is no license's name."""
        for flag, value in (("--license", self.license_id), ("--measures", self.measures)):
            if value is not None and to != "hub":
                raise UsageError(f"{flag} {value} is for --to hub")
        if self.license_id is not None and not LICENSE.fullmatch(self.license_id):
            raise UsageError(
                f"--license {self.license_id}: must be a license's name on the hub, such as "
                "apache-2.0, mit or cc-by-4.0"
            )


def check_new_folder(output: Path) -> None:
    """UsageError where --output is neither new nor an empty folder."""
    if output.is_symlink() or (output.exists() and not output.is_dir()):
        raise UsageError(f"--output {output}: --to hub writes a folder; name one that is not there")
    if output.is_dir() and any(output.iterdir()):
        raise UsageError(f"--output {output}: is not empty; give a new or empty folder")


def export_hub(
    weights: str, file: Path, output: Path, images: Sequence[Path], card: ModelCardFlags
) -> Check:
    """Write the folder, compare what timm loads from it, and add the model card.

    Raises UserError when timm is missing, for what cannot be exported or what differs.
    """
    from inceptcli.evaluation.measures import measures_in, measures_of_run
    from inceptcli.evaluation.model_card import model_card
    from inceptcli.weights.exporting import lacking_in_timm
    from inceptcli.weights.file import read_metadata
    from inceptcli.weights.hub_folder import without_places

    metadata = read_metadata(file)
    lacking = lacking_in_timm(metadata.network)
    if lacking is None and find_spec("timm") is None:
        raise UserError("--to hub needs timm; pip install 'inceptcli[timm]'")
    trained = _trained(Path(weights), metadata)
    measures = measures_of_run(metadata, trained.validation)
    if card.measures is not None:
        measures = measures_in(card.measures, metadata)

    from inceptcli.prediction.export import export as write

    with Display().task("write and compare", unit=""):
        check = write(file, "hub", output, images)
    license_id = card.license_id or UNKNOWN
    text = model_card(without_places(metadata), lacking is None, license_id, measures, trained)
    (output / "README.md").write_text(text, "utf-8", "backslashreplace")
    if lacking is not None:
        logger.info(f"{lacking}: the folder holds a weights file of inceptcli, for it alone")
    if measures is None:
        logger.info("no measures are recorded; --measures FILE takes those of eval --format json")
    if card.license_id is None:
        logger.info("license: unknown; --license states it")
    return check


def upload_command(output: Path) -> str:
    """How to upload the folder with the hub's own client."""
    return f"hf upload OWNER/NAME {shlex.quote(str(output))}"


def _trained(run: Path, metadata: WeightsMetadata) -> TrainedImages:
    """How many images a run trained and validated on, but for those it could not read."""
    from inceptcli.data.identity import KeptIdentity
    from inceptcli.evaluation.model_card import TrainedImages
    from inceptcli.training.skipped import read_skipped

    data = (metadata.recipe or {}).get("data")
    if not isinstance(data, dict):
        return TrainedImages()
    if data.get("path") is None:
        sizes = [data.get(name) for name in ("train_size", "val_size")]
        return TrainedImages(*(size if isinstance(size, int) else None for size in sizes))
    if not run.is_dir():
        return TrainedImages()
    try:
        parts = [image.part for image in KeptIdentity(run / "data.jsonl.gz").images]
        skipped = [part for part, _ in read_skipped(run / "skipped.csv")]
    except (UserError, OSError, ValueError, TypeError, KeyError):
        return TrainedImages()
    return TrainedImages(*(parts.count(part) - skipped.count(part) for part in ("train", "val")))
