"""`inceptcli quantize`: make an int8 network and say what it costs."""

from __future__ import annotations

import json
import logging
import math
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Literal

from typer import Option, echo

from inceptcli.cli.options import Quiet, Weights
from inceptcli.cli.outputs import (
    OutputFiles,
    output_replaced,
    print_fitted,
    say_written,
    writing,
)
from inceptcli.errors import UsageError
from inceptcli.text import number_of

if TYPE_CHECKING:
    from inceptcli.quantization.quantize import Quantization

logger = logging.getLogger(__name__)

EPILOG = """Examples:

\b
  inceptcli quantize runs/flowers --images flowers/val --output flowers-int8.onnx
  inceptcli quantize imagenet --images imagenet/val --output int8.onnx --keep-float auto
  inceptcli predict photo.jpg --weights flowers-int8.onnx
"""

SHOWN_BOXES = 5


def quantize(
    weights: Weights,
    images: Annotated[
        str,
        Option(
            metavar="DIR|CSV|SHARDS",
            help="Images like those to predict: class folders, a CSV file of path,label or tar "
            "shards, as for `eval`, or a folder of unlabeled images.",
        ),
    ],
    output: Annotated[
        Path,
        Option(metavar="FILE", help="Output file, .onnx; an existing file is replaced."),
    ],
    calibration_images: Annotated[
        int,
        Option(
            min=16, help="Images that set the ranges of activations, evenly drawn from the classes."
        ),
    ] = 64,
    check_images: Annotated[
        int, Option(min=16, help="Other images, on which int8 and float32 are compared.")
    ] = 256,
    method: Annotated[
        Literal["percentile", "minmax", "entropy"],
        Option(
            help="Range of an activation: percentile leaves out extreme values, minmax covers all "
            "values, entropy minimizes the divergence from float32."
        ),
    ] = "percentile",
    percentile: Annotated[
        float | None,
        Option(
            min=90,
            max=100,
            show_default="99.999",
            help="Percent of the values covered by --method percentile.",
        ),
    ] = None,
    least_agreement: Annotated[
        float,
        Option(
            min=0,
            max=1,
            help="Smallest share of the images with the same predicted class as in float32; below "
            "it, nothing is written.",
        ),
    ] = 0.98,
    keep_float: Annotated[
        list[str] | None,
        Option(
            metavar="auto|BOX",
            help="Keep this box of the figure, stage or module in float32; repeat for more. auto: "
            "as few boxes as "
            "--least-agreement needs. Default: none.",
        ),
    ] = None,
    seed: Annotated[int, Option(min=0, help="Seed of the choice of images.")] = 0,
    format: Annotated[Literal["table", "json"], Option(help="Output format.")] = "table",
    quiet: Quiet = False,
) -> None:
    """Quantize a network to int8 for CPUs, and say what it costs.

    The output is an ONNX file that `predict` and `eval` take as weights. It is kept only if it
    predicts the same class as the float32 network for nearly all of the images that did not set
    the ranges of the activations. The pixels' normalization, the global average pool and the
    classifier stay in float32.

    JSON has agreement (share of images with the same predicted class, or labels), top1 and
    top1_float (null without labels and for multi-label weights), top1_difference_interval (95 %,
    paired), mean_change and largest_change (of the class probability that changes most in an
    image), speedup (median time per image of float32 divided by that of int8), bytes and
    bytes_float, kept_float (boxes in float32), boxes (each box, its signal_to_noise in decibels
    with this box alone in int8, null if exact, and for the worst boxes their agreement, else null),
    calibration_images, check_images and skipped (path, reason).
    """
    if output.suffix.lower() != ".onnx":
        raise UsageError(f"--output {output}: must end in .onnx")
    if percentile is not None and method != "percentile":
        raise UsageError(f"--percentile {percentile:g} needs --method percentile, got {method}")
    written = OutputFiles({"--output": output})
    from inceptcli.files.atomic_file import replacing
    from inceptcli.quantization.quantize import QuantizationRequest

    kept = _boxes(keep_float or [])
    job = QuantizationRequest(
        weights,
        images,
        calibration_images,
        check_images,
        method,
        QuantizationRequest.percentile if percentile is None else percentile,
        least_agreement,
        kept,
        seed,
    ).prepare()
    written.check([job.file, *job.found.read])
    for note in job.found.notes:
        logger.warning(note)
    with (
        writing(f"--output {output}"),
        output_replaced(output, replacing) as temporary,
        TemporaryDirectory() as folder,
    ):
        with writing(f"the temporary folder {folder}"):
            found = job.run(Path(folder))
        temporary.write_bytes(found.file.read_bytes())
    for path, reason in found.images.skipped:
        logger.warning(f"skipped {path}: {reason}")
    say_written(output)
    if job.metadata.calibration is not None:
        logger.info(
            "the calibration of the weights does not hold for int8 and was left out; make one with "
            f"inceptcli calibrate {output} --data DIR"
        )
    if format == "json":
        echo(_as_json(found))
    else:
        print_fitted(_as_table(found))
    _advise(found, weights)


def _boxes(names: list[str]) -> Literal["auto"] | tuple[str, ...]:
    if "auto" not in names:
        return tuple(names)
    if names != ["auto"]:
        raise UsageError("--keep-float auto chooses the boxes itself; omit the others")
    return "auto"


def _advise(found: Quantization, weights: str) -> None:
    """Warn if int8 is not worth it on this machine."""
    from inceptcli.processes.cores import has_int8_instructions

    speedup = found.cost.speedup
    if not found.cost.classes_differ:
        logger.warning(
            "all check images have the same predicted class, so that the agreement says little; "
            "give more kinds of images"
        )
    if has_int8_instructions() is False:
        logger.warning("this processor has no VNNI instructions, which int8 needs to be fast")
    if speedup <= 1:
        logger.warning(
            f"int8 is not faster here ({speedup:.2f} times as fast); predict with {weights} on "
            "this machine"
        )


def _as_json(found: Quantization) -> str:
    compared = asdict(found.cost)
    compared["top1_difference_interval"] = compared.pop("difference_interval")
    del compared["classes_differ"]
    values = {
        **compared,
        "bytes": found.bytes,
        "bytes_float": found.bytes_float,
        "kept_float": found.kept_float,
        "boxes": [
            {
                "box": box.box,
                "signal_to_noise": None if math.isinf(box.signal_to_noise) else box.signal_to_noise,
                "agreement": box.agreement,
            }
            for box in found.boxes
        ],
        "calibration_images": len(found.images.calibration),
        "check_images": len(found.images.check),
        "skipped": [{"path": path, "reason": reason} for path, reason in found.images.skipped],
    }
    return json.dumps(values, indent=2)


def _as_table(found: Quantization) -> str:
    """Return the cost, then the boxes with the most noise."""
    cost = found.cost
    lines = [
        f"{number_of(len(found.images.check), 'image')}: int8 and float32 predict the same class "
        f"for {cost.agreement:.2%}; probabilities change by {cost.mean_change:.3f} on average and "
        f"{cost.largest_change:.3f} at most"
    ]
    if cost.top1 is not None and cost.top1_float is not None and cost.difference_interval:
        low, high = cost.difference_interval
        lines.append(
            f"top-1 {cost.top1:.2%} in int8, {cost.top1_float:.2%} in float32, 95 % interval of "
            f"the difference {low:+.2%} to {high:+.2%}"
        )
    lines.append(
        f"{cost.speedup:.2f} times as fast per image, {found.bytes / 1e6:,.1f} MB instead of "
        f"{found.bytes_float / 1e6:,.1f} MB"
    )
    lines.append(f"boxes in float32: {', '.join(found.kept_float) or 'none'}")
    lines += ["", f"{'dB':>8}  {'agree':>8}  boxes with the most noise when alone in int8"]
    for box in sorted(found.boxes, key=lambda box: box.signal_to_noise)[:SHOWN_BOXES]:
        share = "" if box.agreement is None else f"{box.agreement:.2%}"
        lines.append(f"{box.signal_to_noise:>8.1f}  {share:>8}  {box.box}")
    return "\n".join(lines)
