"""`inceptcli compare`: compare runs with each other and with the paper's curves."""

from __future__ import annotations

import logging
import math
import os.path
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from typer import Argument, Option, echo

from inceptcli.cli.outputs import OutputFiles, say_written
from inceptcli.errors import UsageError, UserError
from inceptcli.text import number_of, printable

if TYPE_CHECKING:
    from inceptcli.plots.curve import By, Curve

logger = logging.getLogger(__name__)

PAPER_WINDOW = 2.0
"""Epochs over which curves are averaged beside the paper's, which are noisy."""

EPILOG = """Examples:

\b
  inceptcli compare runs/iv3 runs/irv1
  inceptcli compare runs/iv3 runs/irv1 --paper --output compare.png
  inceptcli compare runs/* --by hours --metric top1 --reach 30,25,22
  inceptcli compare --paper --reach 22,21 --format csv
"""


class MetricName(StrEnum):
    """Values of --metric; Typer does not support a list of literals."""

    TOP1 = "top1"
    TOP5 = "top5"
    LOSS = "loss"
    TRAIN_LOSS = "train-loss"


def compare(
    runs: Annotated[
        list[Path] | None,
        Argument(
            metavar="RUN",
            help="Run directories; runs may be in progress. Optional with --paper.",
            show_default=False,
        ),
    ] = None,
    by: Annotated[
        Literal["epoch", "step", "hours"],
        Option(help="Horizontal axis: epochs, optimizer steps or hours."),
    ] = "epoch",
    metric: Annotated[
        list[MetricName] | None,
        Option(
            metavar="top1|top5|loss|train-loss",
            help="Validation error (top1, top5; in percent), validation loss or training loss. "
            "Repeatable; the table shows the first. Default: all available.",
        ),
    ] = None,
    reach: Annotated[
        str | None,
        Option(
            metavar="X,Y,...",
            help="Thresholds to reach, such as 30,25,22; errors in percent. Default: round values.",
        ),
    ] = None,
    window: Annotated[
        float | None,
        Option(
            metavar="EPOCHS",
            help="Average all curves over this many epochs, up to the epoch in question, for "
            "thresholds and final values. Default: 2 with --paper, whose curves are noisy, else 0.",
            min=0,
            show_default=False,
        ),
    ] = None,
    paper: Annotated[
        bool,
        Option(
            "--paper",
            help="Add the paper's curves (from epoch 20), of ILSVRC's validation images without "
            "some 1,700. If a run measured them all, 0.3 points are added to the paper's top-1 "
            "error and 0.15 to its top-5 error, as the paper estimates. Default: off.",
        ),
    ] = False,
    output: Annotated[
        Path | None,
        Option(
            metavar="FILE.png",
            help="Plot to write; the points are written to FILE.csv. Default: none.",
        ),
    ] = None,
    output_format: Annotated[
        Literal["table", "json", "csv"],
        Option("--format", help="Output format of the thresholds reached."),
    ] = "table",
) -> None:
    """Compare runs: plot curves and list the time to reach an error.

    --paper adds the curves of the paper (Figures 21-26).
    """
    if not runs and not paper:
        raise UsageError("give run directories, or --paper to show only the paper's curves")
    if paper and by != "epoch":
        raise UsageError(f"--by {by}: the paper's curves have epochs only; omit --by or --paper")
    thresholds = _thresholds(reach)
    if output is not None:
        _check_output(output, runs or [])
    metrics = list(dict.fromkeys(map(str, metric or []))) or _all_metrics(bool(runs))
    curves = _curves(runs or [], metrics, paper)
    if not metric:  # a run of multi-label data has losses only
        drawn = {curve.metric for curve in curves}
        metrics = [name for name in metrics if name in drawn]
    of_table = [curve for curve in curves if curve.metric == metrics[0]]
    if not of_table:
        raise UserError(
            f"--metric {metrics[0]}: nothing to compare; the paper's curves are top1 and top5"
        )
    if window is None:
        window = PAPER_WINDOW if paper else 0
    _print_reached(of_table, thresholds, window, by, output_format)
    if output is not None:
        from inceptcli.plots.comparison import draw_comparison, write_comparison_csv

        try:
            draw_comparison(output, curves, metrics, by)
            write_comparison_csv(output.with_suffix(".csv"), curves)
        except OSError as error:
            raise UsageError(f"--output {output}: {error.strerror or error}") from error
        say_written(output)
        points = sum(len(curve.epochs) for curve in curves)
        say_written(output.with_suffix(".csv"), number_of(points, "point"))


def _thresholds(reach: str | None) -> list[float]:
    if reach is None:
        return []
    try:
        values = [float(field) for field in reach.split(",")]
    except ValueError:
        values = []
    if not values or not all(0 < value < math.inf for value in values):
        raise UsageError(f"--reach must be numbers over 0 such as 30,25,22, got {reach!r}")
    return list(dict.fromkeys(values))


def _check_output(path: Path, runs: list[Path]) -> None:
    from inceptcli.plots.comparison import COLUMNS

    twin = path.with_suffix(".csv")
    if path.suffix.lower() != ".png":
        raise UsageError(f"--output {path}: must end in .png")
    if not path.parent.is_dir():
        raise UsageError(f"--output {path}: there is no folder {path.parent}")
    written = OutputFiles({"--output": path, "the points of --output": twin})
    written.check(run / "metrics.csv" for run in runs)
    if os.path.exists(twin):  # noqa: PTH110 (Path raises where a folder is closed)
        with twin.open(errors="replace") as file:
            if file.readline(200).strip() != ",".join(COLUMNS):
                raise UsageError(
                    f"--output {path}: the points would replace {twin}, which holds other data"
                )


def _all_metrics(with_runs: bool) -> list[str]:
    from inceptcli.plots.curve import METRICS
    from inceptcli.plots.paper_curves import PUBLISHED_METRICS

    return list(METRICS if with_runs else PUBLISHED_METRICS)


def _curves(runs: list[Path], metrics: list[str], paper: bool) -> list[Curve]:
    """Return the curves of the runs, in the order given, then the paper's."""
    from inceptcli.plots.curve import curve_of, names_of
    from inceptcli.plots.history import read_history
    from inceptcli.plots.paper_curves import PUBLISHED_METRICS, paper_curves

    folders = list({folder.resolve(): folder for folder in runs}.values())
    wrong = [str(folder) for folder in folders if not (folder / "metrics.csv").is_file()]
    if wrong:
        raise UsageError(f"no metrics.csv in {', '.join(wrong)}; give run directories of `train`")
    curves: list[Curve] = []
    trained = False
    for name, folder in zip(names_of(folders), folders, strict=True):
        history = read_history(folder)
        trained |= bool(history.epochs)
        if not history.epochs:
            logger.info(f"{folder}: skipped, no epoch is finished yet")
        curves += [
            curve for metric in metrics if (curve := curve_of(name, history, metric)) is not None
        ]
    if runs and not curves:
        lacking = " or ".join(metrics) if trained else "finished an epoch"
        raise UserError(f"nothing to compare: no run has {lacking}")
    if paper:
        of_all_images = _measured_all_images(folders)
        for metric in metrics:
            curves += paper_curves(metric, of_all_images) if metric in PUBLISHED_METRICS else []
    return curves


def _measured_all_images(folders: list[Path]) -> bool:
    """Return whether runs measured all of ILSVRC's validation images, and none excluded some."""
    from inceptcli.plots.history import excludes_images
    from inceptcli.plots.paper_curves import OF_EXCLUDED_IMAGES

    excluded = {str(folder): excludes_images(folder) for folder in folders}
    whole = [folder for folder, excludes in excluded.items() if excludes is False]
    alike = bool(whole) and True not in excluded.values()
    if whole:
        points = " and ".join(f"{value:g} ({name})" for name, value in OF_EXCLUDED_IMAGES.items())
        logger.info(
            f"{printable(', '.join(whole))}: measured all validation images, the paper"
            + ("" if alike else " and the other runs")
            + f" excluded some, which lowers errors by about {points} points"
            + ("; they are added to the paper's errors" if alike else "; nothing is corrected")
        )
    return alike


def _print_reached(
    curves: list[Curve], thresholds: list[float], window: float, by: By, output_format: str
) -> None:
    from inceptcli.plots import reached_table
    from inceptcli.plots.reaching import default_thresholds, reach_all

    reached = reach_all(curves, thresholds or default_thresholds(curves, window), window)
    if output_format == "json":
        echo(reached_table.as_json(reached, window))
    elif output_format == "csv":
        echo(reached_table.as_csv(reached, window), nl=False)
    else:
        reached_table.print_table(reached, by, window)
