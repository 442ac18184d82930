"""`inceptcli summarize`: show stages, shapes and costs of a network, or compare two networks."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from typer import Argument, Option, echo

from inceptcli.cli.completion import complete_network_or_weights
from inceptcli.cli.options import image_size_of
from inceptcli.cli.outputs import OutputFiles, print_fitted, say_written
from inceptcli.errors import UsageError
from inceptcli.tables import results_console
from inceptcli.text import printable

if TYPE_CHECKING:
    from rich.table import Table

    from inceptcli.data.pixels.preprocessing import Preprocessing
    from inceptcli.networks.difference import BoxSummary, Difference, StageDifference
    from inceptcli.networks.registry import NetworkOptions
    from inceptcli.networks.summary import LayerSummary, StageSummary, Summary
    from inceptcli.weights.metadata import WeightsMetadata


EPILOG = """Examples:

\b
  inceptcli summarize irv2
  inceptcli summarize irv2-tf --depth 2 --image-size 331
  inceptcli summarize runs/flowers --format json
  inceptcli summarize irv2 --figure irv2.svg
  inceptcli summarize iv4 iv4-tf
"""


ORIGIN = (
    "averaged", "epoch", "metrics", "source", "source_sha256", "initialized", "assumed", "unnamed",
    "quantization", "environment", "inceptcli_version",
)  # fmt: skip
"""Metadata fields about the origin of weights."""


def summarize(
    network: Annotated[
        str,
        Argument(
            metavar="NAME|WEIGHTS",
            autocompletion=complete_network_or_weights,
            help="Network (iv4, irv1, irv2, iv4-tf, irv2-tf, irv1-facenet, iv3) or weights: a "
            "weights file, a run directory, published weights (imagenet or ens-adv for irv2-tf, "
            "iv4-tf:imagenet) or hf-hub:owner/name[@revision].",
            show_default=False,
        ),
    ],
    other: Annotated[
        str | None,
        Argument(
            metavar="[OTHER]",
            autocompletion=complete_network_or_weights,
            help="Second network or weights; show only the differences.",
            show_default=False,
        ),
    ] = None,
    output_format: Annotated[
        Literal["table", "json"],
        Option("--format", help="Output format; JSON has one entry per stage."),
    ] = "table",
    depth: Annotated[
        int,
        Option(help="Detail of the table: 1 for stages, 2 for stages and layers.", min=1, max=2),
    ] = 1,
    image_size: Annotated[
        str | None,
        Option(
            metavar="N|HxW",
            help="Image size in pixels, at least 75. Default: that of the weights; 299 for a "
            "network.",
        ),
    ] = None,
    figure: Annotated[
        Path | None,
        Option(
            metavar="FILE",
            help="Also draw the network like Figures 9 and 15 of the paper: .svg, .png or .pdf; an "
            "existing file is replaced. Default: none.",
        ),
    ] = None,
    num_classes: Annotated[
        int | None,
        Option(
            help="Number of classes; only for a network, since weights define their own. Default: "
            "1000.",
            min=1,
        ),
    ] = None,
) -> None:
    """Show a network's stages, shapes and costs, or compare two.

    A comparison lists the options, stages and boxes that differ, at the image size of the first
    network. Repeated modules equal to the first are listed once.
    """
    if other is not None and (figure is not None or depth == 2):
        raise UsageError("--figure and --depth 2 need a single network; omit OTHER")
    if figure is not None:
        _check_figure(figure, network)
    given_size = None if image_size is None else image_size_of(image_size)

    from inceptcli.jobs.summarize import described_network

    options, preprocessing, metadata = described_network(network, num_classes)
    if given_size is not None:
        preprocessing = dataclasses.replace(preprocessing, image_size=given_size)

    from inceptcli.networks import summary

    summarized = summary.summarize(options, preprocessing.image_size)
    if other is not None:
        compared = described_network(other, num_classes).options
        second = summary.summarize(compared, preprocessing.image_size)
        pairs = (network, other), (options, compared), (summarized, second)
        print_difference(*pairs, as_json=output_format == "json")
        return
    if figure is not None:
        int8 = None if metadata is None else metadata.quantization
        _draw(summarized, options, figure, None if int8 is None else int8["float32"])
    if output_format == "json":
        echo(_as_json(summarized, options, preprocessing, metadata))
    else:
        _print_table(summarized, options, preprocessing, metadata, with_layers=depth == 2)


def _check_figure(figure: Path, network: str) -> None:
    from inceptcli.plots.network_figure import SUFFIXES
    from inceptcli.weights.file import WEIGHTS_NAME

    if figure.suffix.lower() not in SUFFIXES:
        raise UsageError(f"--figure {figure}: must end with {', '.join(SUFFIXES)}")
    OutputFiles({"--figure": figure}).check([network, Path(network, WEIGHTS_NAME)])


def _draw(
    summary: Summary, options: NetworkOptions, figure: Path, float32: Sequence[str] | None
) -> None:
    from inceptcli.files.atomic_file import replacing
    from inceptcli.networks.registry import NETWORKS
    from inceptcli.plots.network_figure import draw_network

    title = f"{summary.name}: {NETWORKS[summary.name].title}"
    try:
        with replacing(figure) as temporary:
            draw_network(summary, options, title, temporary, figure.suffix.lower()[1:], float32)
    except OSError as error:
        raise UsageError(f"--figure {figure}: {error.strerror}") from error
    say_written(figure)


def _as_json(
    summary: Summary,
    options: NetworkOptions,
    preprocessing: Preprocessing,
    metadata: WeightsMetadata | None,
) -> str:
    fields = dataclasses.asdict(summary)
    for stage in fields["stages"]:
        del stage["layers"]
    fields["options"] = options.as_dict()
    del fields["options"]["name"], fields["options"]["num_classes"]
    fields["preprocessing"] = preprocessing.as_dict()
    if metadata is not None:
        fields["weights"] = {name: getattr(metadata, name) for name in ORIGIN}
        fields["weights"]["metrics"] = {
            name: value if math.isfinite(value) else None
            for name, value in metadata.metrics.items()
        }
        fields["weights"]["calibration"] = None
        if metadata.calibration is not None:
            calibration = dataclasses.asdict(metadata.calibration)
            del calibration["scores"]
            fields["weights"]["calibration"] = calibration
    return json.dumps(fields, indent=2)


def _print_table(
    summary: Summary,
    options: NetworkOptions,
    preprocessing: Preprocessing,
    metadata: WeightsMetadata | None,
    with_layers: bool,
) -> None:
    from rich.table import Table

    from inceptcli.networks.registry import NETWORKS
    from inceptcli.weights.origin import origin_in_words

    print_fitted(f"{summary.name}: {NETWORKS[summary.name].title} ({summary.layout})")
    if metadata is not None:
        for line in origin_in_words(metadata):
            print_fitted(printable(line))
    height, width = summary.image_size
    print_fitted(f"{summary.num_classes} classes, images of {height}x{width} pixels")
    if changed := [f"{name} {_as_in_recipes(value)}" for name, value in options.changed().items()]:
        print_fitted(f"Not the network's defaults: {', '.join(changed)}")
    table = Table(show_footer=True)
    table.add_column("Stage", "Total", no_wrap=True)
    table.add_column("Figure, box" if with_layers else "Figure")
    table.add_column("Output, CxHxW", no_wrap=True)
    table.add_column("Parameters", f"{summary.parameters:,}", justify="right", no_wrap=True)
    giga = f"{summary.multiply_adds / 1e9:.3f} G"
    table.add_column("Multiply-adds", giga, justify="right", no_wrap=True)
    for stage in summary.stages:
        name = stage.name if stage.repeats == 1 else f"{stage.repeats} x {stage.name}"
        table.add_row(name, stage.figure, *_sizes(stage), style="bold" if with_layers else "")
        for layer in stage.layers:
            if with_layers and layer.name != stage.name:
                table.add_row(f"  {layer.name}", layer.kind, *_sizes(layer))
    results_console().print(table)
    for sentence in preprocessing.in_words():
        print_fitted(sentence)


def _sizes(part: StageSummary | LayerSummary) -> tuple[str, str, str]:
    shape = "x".join(map(str, part.output_shape))
    return shape, f"{part.parameters:,}", f"{part.multiply_adds / 1e6:,.1f} M"


def print_difference(
    names: tuple[str, str],
    options: tuple[NetworkOptions, NetworkOptions],
    summaries: tuple[Summary, Summary],
    as_json: bool,
) -> None:
    """Print the differences of two networks, shown as `names`, as a table or JSON."""
    from inceptcli.networks.difference import difference
    from inceptcli.networks.registry import NETWORKS

    found = difference(*summaries, options)
    if as_json:
        echo(_difference_as_json(*summaries, found))
        return
    for name, summary in zip(names, summaries, strict=True):
        title = NETWORKS[summary.name].title
        print_fitted(
            printable(f"{name}: {title} ({summary.layout}), {summary.parameters:,} parameters")
        )
    if found.none:
        echo("The networks are equal.")
        return
    results_console().print(_table(*summaries, names, found))
    differing = {entry.name for entry in found.stages}
    if equal := [stage.name for stage in summaries[0].stages if stage.name not in differing]:
        print_fitted(f"Equal: {', '.join(equal)}")


def _difference_as_json(first: Summary, second: Summary, found: Difference) -> str:
    def network(summary: Summary) -> dict[str, Any]:
        totals = {"parameters": summary.parameters, "multiply_adds": summary.multiply_adds}
        return {"name": summary.name, "layout": summary.layout, **totals}

    def stage(summary: StageSummary | None) -> dict[str, Any] | None:
        if summary is None:
            return None
        return {
            key: value for key, value in asdict(summary).items() if key not in ("name", "layers")
        }

    fields = {
        "first": network(first),
        "second": network(second),
        "image_size": first.image_size,
        "equal": found.none,
        "options": [asdict(option) for option in found.options],
        "stages": [
            {
                "name": entry.name,
                "first": stage(entry.first),
                "second": stage(entry.second),
                "boxes": [asdict(box) for box in entry.boxes],
            }
            for entry in found.stages
        ],
    }
    return json.dumps(fields, indent=2)


def _table(first: Summary, second: Summary, names: tuple[str, str], found: Difference) -> Table:
    """Build a table with a row per difference; boxes follow their stage."""
    from rich.table import Table

    table = Table()
    table.add_column("Difference", overflow="fold")
    for name in names:
        table.add_column(printable(name), overflow="fold")
    for option in found.options:
        table.add_row(option.option, _value(option.first), _value(option.second))
    _add_counts(table, "all", first, second)
    for entry in found.stages:
        _add_stage(table, entry)
    return table


def _add_stage(table: Table, entry: StageDifference) -> None:
    first, second = entry.first, entry.second
    figures = ("-" if stage is None else stage.figure for stage in (first, second))
    table.add_row(entry.name, *figures, style="bold")
    if first is not None and second is not None:
        if first.repeats != second.repeats:
            table.add_row("  modules", str(first.repeats), str(second.repeats))
        if first.output_shape != second.output_shape:
            shapes = ("x".join(map(str, stage.output_shape)) for stage in (first, second))
            table.add_row("  output, CxHxW", *shapes)
    _add_counts(table, " ", first, second)
    for box in entry.boxes:
        table.add_row(f"  {box.box}", _box(box.first), _box(box.second))


def _add_counts(
    table: Table,
    prefix: str,
    first: Summary | StageSummary | None,
    second: Summary | StageSummary | None,
) -> None:
    """Add rows for parameters and multiply-adds if they differ."""
    for name, unit, words in (("parameters", 1, "{:,.0f}"), ("multiply_adds", 1e6, "{:,.1f} M")):
        counts = [None if part is None else getattr(part, name) for part in (first, second)]
        if counts[0] != counts[1]:
            table.add_row(
                f"{prefix} {name.replace('_', '-')}",
                *("-" if count is None else words.format(count / unit) for count in counts),
            )


def _box(box: BoxSummary | None) -> str:
    if box is None:
        return "-"
    parameters = f", {box.parameters:,} parameters" if box.parameters else ""
    return f"{box.kind}, {box.width} wide{parameters}"


def _value(value: Any) -> str:
    return "-" if value is None else str(value)


def _as_in_recipes(value: Any) -> str:
    return json.dumps(value).strip('"')
