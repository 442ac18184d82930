"""`inceptcli calibrate`: fit a temperature and thresholds of prediction sets."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated, Literal

from typer import Option, echo

from inceptcli.cli.options import (
    AllowOutside,
    BatchSize,
    Compile,
    Device,
    Devices,
    Exclude,
    FastDecode,
    OtherAntialias,
    OtherCropFraction,
    OtherImageSize,
    OtherInterpolation,
    OtherResize,
    PrecisionFlag,
    Quiet,
    SkipUnreadable,
    SplitFlag,
    Weights,
    antialias_of,
    checked_devices,
    image_size_of,
)
from inceptcli.cli.outputs import OutputFiles, input_files, print_fitted, say_written
from inceptcli.progress.display import Display

logger = logging.getLogger(__name__)

EPILOG = """Examples:

\b
  inceptcli calibrate runs/flowers --data flowers/calibration
  inceptcli predict photos/ --weights runs/flowers --coverage 0.95
  inceptcli eval runs/flowers --data flowers/test --coverage 0.9
  inceptcli calibrate imagenet --data imagenet/calibration --output irv2-calibrated.safetensors
"""


def calibrate(
    weights: Weights,
    data: Annotated[
        str | None,
        Option(
            metavar="DIR|CSV|SHARDS",
            help="Labeled images that the network was not trained on, in any form that `inceptcli "
            "eval` accepts. Default: the run's validation images, with a warning.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        Option(
            metavar="FILE",
            show_default="the weights themselves",
            help="Write a calibrated copy to this file (.safetensors, or .onnx for an ONNX file); "
            "needed for published weights.",
        ),
    ] = None,
    split: SplitFlag = None,
    crops: Annotated[
        Literal[1, 10, 12, 144],
        Option(help="Crops per image, as in `predict`. Sets hold for this number only."),
    ] = 1,
    image_size: OtherImageSize = None,
    crop_fraction: OtherCropFraction = None,
    interpolation: OtherInterpolation = None,
    resize: OtherResize = None,
    antialias: OtherAntialias = None,
    exclude: Exclude = None,
    allow_outside: AllowOutside = False,
    batch_size: BatchSize = None,
    device: Device = "auto",
    devices: Devices = "1",
    precision: PrecisionFlag = "32-true",
    fast_decode: FastDecode = False,
    compile_networks: Compile = False,
    format: Annotated[Literal["table", "json"], Option(help="Output format.")] = "table",
    skip_unreadable: SkipUnreadable = False,
    quiet: Quiet = False,
) -> None:
    """Calibrate probabilities and prediction sets of weights.

    Both come from labeled images that the network was not trained on, and are written into the
    weights file, whose tensors stay the same. From then on, `predict` and `eval` apply the
    temperature to all probabilities, which never changes the most probable class of a network, and
    take `--coverage`.

    The temperature minimizes the loss between 0.05 and 20; a warning is shown if it is one of these
    limits, as the minimum is beyond. If there is none, since all images are predicted correctly, it
    is 1 and a warning is shown.

    A coverage of 0.95 needs at least 19 images, 0.99 needs 99; with a few hundred, the coverage of
    new images is close to the one asked for. The images must be like those to predict.

    JSON has weights, output (the file written), images, split, crops, temperature, loss_before,
    loss_after, calibration_error_before, calibration_error_after (on the same images), levels
    (coverage_level, threshold, mean_set_size; null if there are too few images) and skipped (path,
    reason).
    """
    from inceptcli.evaluation.calibrating import calibration_as_json, calibration_as_table
    from inceptcli.evaluation.evaluate import EvaluationRequest
    from inceptcli.evaluation.images import Wanted
    from inceptcli.jobs.calibrate import prepare_calibration
    from inceptcli.prediction.ensemble import EnsembleRequest

    networks = EnsembleRequest(
        (weights,),
        crops,
        device,
        checked_devices(devices),
        batch_size,
        precision,
        fast_decode,
        compile_networks,
        None if image_size is None else image_size_of(image_size),
        crop_fraction,
        interpolation,
        resize,
        antialias_of(antialias),
    )
    images = Wanted(data, split, exclude, allow_outside)
    request = EvaluationRequest(networks, images, skip_unreadable)
    job = prepare_calibration(request, output)
    source = job.evaluation.images.source
    read = [*job.evaluation.networks.files, *job.evaluation.images.read]
    OutputFiles({"--output": output}).check(input_files(read, data, source))
    for note in job.evaluation.images.notes:
        logger.warning(note)
    with Display().task("calibrate", len(source)) as task:
        found = job.run(task.advance)
    for name, reason in found.after.skipped:
        logger.warning(f"skipped {name}: {reason}")
    say_written(job.output)
    if format == "json":
        echo(calibration_as_json(found, weights, str(job.output)))
    else:
        print_fitted(calibration_as_table(found))
