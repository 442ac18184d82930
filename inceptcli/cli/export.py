"""`inceptcli export`: export weights to timm, ONNX or the Hugging Face hub."""

from __future__ import annotations

import logging
import re
import shlex
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

from typer import Option

from inceptcli.cli.options import Quiet, Weights
from inceptcli.cli.outputs import OutputFiles, output_replaced, say_written
from inceptcli.errors import UsageError, UserError
from inceptcli.progress.display import Display
from inceptcli.text import listed

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
"""Required packages by target; the extra of the same name installs them."""

SUFFIXES = {"timm": ".safetensors", "onnx": ".onnx"}
"""File extensions by target."""


def export(
    weights: Weights,
    to: Annotated[
        Literal["timm", "onnx", "hub"],
        Option(
            help="Target: timm (inception_v4, inception_resnet_v2 or inception_v3), onnx, or hub "
            "(a folder for the Hugging Face hub)."
        ),
    ],
    output: Annotated[
        Path,
        Option(
            metavar="FILE|FOLDER",
            help="Output file: .safetensors for timm, .onnx for ONNX; an existing file is "
            "replaced. For the hub, a new or empty folder.",
        ),
    ],
    images: Annotated[
        Path | None,
        Option(
            metavar="FOLDER",
            show_default="generated images",
            help="Compare on the first 32 images of this folder and its subfolders.",
        ),
    ] = None,
    opset: Annotated[
        int | None,
        Option(
            min=18,
            max=23,
            show_default="20, readable by ONNX Runtime 1.17 or later",
            help="ONNX opset version, for --to onnx.",
        ),
    ] = None,
    license_id: Annotated[
        str | None,
        Option(
            "--license",
            metavar="NAME",
            show_default=UNKNOWN,
            help="License of the weights by its name on the hub, such as apache-2.0; for --to hub.",
        ),
    ] = None,
    measures: Annotated[
        Path | None,
        Option(
            metavar="FILE",
            show_default="the metrics of the run on its validation images",
            help="Metrics for the model card: the output of `eval --format json`; for --to hub.",
        ),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Export weights to timm, ONNX or the Hugging Face hub.

    The export is kept only if its logits, computed by timm or ONNX Runtime, match those of the
    network. The largest difference is printed on standard error.

    An ONNX model takes images (N, H, W, 3), RGB, uint8, with any batch size N. It returns logits
    (N, classes), if the classifier was trained, and features (N, width), the embeddings. It
    includes normalization, but not resizing and cropping. Class names and preprocessing are stored
    as JSON in the metadata entry `inceptcli`. `predict` and `eval` also accept ONNX files as
    weights.

    A folder for the hub has model.safetensors and config.json, which timm loads, and README.md, the
    model card: data, metrics with intervals, preprocessing, recipe and license, without paths of
    this machine. For networks that timm does not have, it contains an inceptcli weights file.
    Nothing is uploaded; the upload command is printed.
    """
    from inceptcli.cli.outputs import writing
    from inceptcli.data.folders import find_images
    from inceptcli.files.atomic_file import replacing, replacing_folder
    from inceptcli.prediction.export import calibration_for_onnx
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
    replace = replacing_folder if to == "hub" else replacing
    with writing(f"--output {output}"), output_replaced(output, replace) as temporary:
        file = find_weights(weights)
        written.check([file])
        metadata = read_metadata(file)  # refuses a wrong file before torch is imported
        if is_onnx(file):
            raise UsageError(f"{file}: an ONNX file; give the weights it was exported from")
        if to == "hub":
            check = export_hub(weights, file, temporary, found, card)
        else:
            from inceptcli.prediction.export import export as write

            with Display().task("write and compare", unit=""):
                check = write(file, to, temporary, found, opset)
    generated = "" if found else " generated"
    logger.info(
        f"largest logit difference on {check.num_pictures}{generated} images: "
        f"{check.difference:.2g} (standard deviation of the logits: {check.spread:.2g})"
    )
    say_written(output)
    if metadata.calibration is not None and (to == "timm" or (output / "config.json").exists()):
        logger.info("timm's format has no place for the calibration: probabilities are without it")
    if to == "onnx" and metadata.calibration != calibration_for_onnx(metadata):
        logger.info(
            "the calibration was left out: it was made with another --image-size or --precision "
            "than the ONNX file's own, which is fixed; make one with "
            f"inceptcli calibrate {output} --data DIR"
        )
    if to == "hub":
        logger.info(f"upload with: {upload_command(output)}")


def _check_flags(to: str, output: Path, opset: int | None, card: ModelCardFlags) -> None:
    """Raise UsageError for flags of another target, UserError for a missing package."""
    card.check(to)
    if to == "hub":
        check_new_folder(output)
    elif output.suffix.lower() != SUFFIXES[to]:
        raise UsageError(f"--output {output}: must end in {SUFFIXES[to]} for --to {to}")
    if opset is not None and to != "onnx":
        raise UsageError(f"--opset {opset} needs --to onnx")
    if missing := [name for name in NEEDED.get(to, ()) if find_spec(name) is None]:
        raise UserError(f"--to {to} needs {', '.join(missing)}; pip install 'inceptcli[{to}]'")


UNKNOWN = "unknown"
"""The hub's name for an unstated license."""

LICENSE = re.compile(r"[a-z0-9][a-z0-9.-]*")


class ModelCardFlags(NamedTuple):
    """The flags --license and --measures."""

    license_id: str | None
    measures: Path | None

    def check(self, to: str) -> None:
        """Raise UsageError for a target without a model card, and for an invalid license name."""
        for flag, value in (("--license", self.license_id), ("--measures", self.measures)):
            if value is not None and to != "hub":
                raise UsageError(f"{flag} {value} needs --to hub")
        if self.license_id is not None and not LICENSE.fullmatch(self.license_id):
            raise UsageError(
                f"--license {self.license_id}: must be a license name of the hub, such as "
                "apache-2.0, mit or cc-by-4.0"
            )


def check_new_folder(output: Path) -> None:
    """Raise UsageError unless --output is a new or empty folder."""
    if output.is_symlink() or (output.exists() and not output.is_dir()):
        raise UsageError(f"--output {output}: not a folder; --to hub needs a new or empty folder")
    if output.is_dir() and any(output.iterdir()):
        raise UsageError(f"--output {output}: not empty; --to hub needs a new or empty folder")


def export_hub(
    weights: str, file: Path, output: Path, images: Sequence[Path], card: ModelCardFlags
) -> Check:
    """Write the folder, compare the logits of timm, and add the model card.

    Raises UserError if timm is missing, if the weights cannot be exported, or if logits differ.
    """
    from inceptcli.evaluation.model_card import model_card
    from inceptcli.evaluation.recorded_measures import measures_in, measures_of_run
    from inceptcli.weights.file import read_metadata
    from inceptcli.weights.hub_folder import why_not_timm, without_places

    metadata = read_metadata(file)
    lacking = why_not_timm(metadata)
    if lacking is None and find_spec("timm") is None:
        raise UserError("--to hub needs timm; pip install 'inceptcli[timm]'")
    trained = _trained(Path(weights), metadata)
    measures = measures_of_run(metadata, trained.validation)
    if card.measures is not None:
        measures = measures_in(card.measures, metadata)
        if not measures.are_of(weights, file):
            logger.warning(
                f"--measures {card.measures}: are of {listed(measures.weights)}, not of {weights}"
            )

    from inceptcli.prediction.export import export as write

    with Display().task("write and compare", unit=""):
        check = write(file, "hub", output, images)
    license_id = card.license_id or UNKNOWN
    text = model_card(without_places(metadata), lacking is None, license_id, measures, trained)
    (output / "README.md").write_text(text, "utf-8", "backslashreplace")
    if lacking is not None:
        logger.info(
            f"{lacking}: the folder holds an inceptcli weights file, which timm cannot load"
        )
    elif not metadata.preprocessing.antialias:
        logger.warning(
            "these weights are not for antialiased images: inceptcli follows this in config.json, "
            "but timm antialiases when it shrinks images"
        )
    if measures is None:
        logger.info("the model card has no metrics; add them with --measures FILE")
    if card.license_id is None:
        logger.info("the model card has no license; add one with --license NAME")
    return check


def upload_command(output: Path) -> str:
    """Return the command of the hub's client that uploads the folder."""
    return f"hf upload OWNER/NAME {shlex.quote(str(output))}"


def _trained(run: Path, metadata: WeightsMetadata) -> TrainedImages:
    """Count the readable training and validation images of a run."""
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
